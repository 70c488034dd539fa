"""The named shapes: those of `rnnfast bench --suite`."""

from rnnfast.cli.measure.cases import CASES, CELLS, Case

__all__ = ["CASES", "CELLS", "Case"]
