"""Models as C headers: each module is a C function with its weights, and a step calls them in their order."""

from rnnfast.c_export.export import export_c

__all__ = ["export_c"]
