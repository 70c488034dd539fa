"""A header in the making: its arrays, the struct of the state, functions, and the calls of a step."""

from __future__ import annotations

from importlib.resources import files

from numpy.typing import NDArray

from rnnfast.c_export.arrays import array_of_c

__all__ = ["FLUSH", "KEEP", "Source"]

FLUSH, KEEP = (
    "NAME_FLUSH",
    "NAME_KEEP",
)  # modes of the floating-point unit: subnormal numbers are zero, or kept

# In the order in which the header has them, each with those that it calls.
_TEMPLATES: dict[str, tuple[str, ...]] = {
    "arithmetic": (),
    "vectors": ("arithmetic",),
    "exponential": (),
    "logarithm": ("exponential",),
    "float32": (),
    "bfloat16": (),
    "int8": (),
    "root": (),
    "partials": (),
    "moments": ("root", "partials"),
    "zoneout": (),
    "layer_norm": ("root", "partials"),
    "residual": (),
    "relu": (),
    "tanh": ("exponential",),
    "sigmoid": ("exponential",),
    "silu": ("exponential",),
    "gelu": ("exponential",),
}
_MODULES = ("residual", "relu", "tanh", "sigmoid", "silu", "gelu")


class Source:
    """Collects what the modules of a model need. In all text, names begin with ``NAME_``, for the prefix."""

    def __init__(self) -> None:
        self.arrays: dict[str, str] = {}  # by name
        self.nbytes = 0  # of all weights
        self.parts: dict[str, tuple[int, int]] = {}  # of the state: layers and width, by name
        self.work: dict[str, tuple[str, int]] = {}  # scratch memory of a step: type and size, by name
        self.functions: list[str] = []
        self.calls: list[tuple[str | None, str]] = []  # a mode, None: any; and a statement
        self.tokens = 0  # how many there are, if the model reads tokens
        self._needed: set[str] = set()

    def array(self, name: str, values: NDArray, comment: str) -> str:
        """Add a static array of weights; its name in C is returned."""
        self.constants(name, values, comment)
        self.nbytes += values.nbytes
        return f"NAME_{name}"

    def constants(self, name: str, values: NDArray, comment: str) -> None:
        """Add a static array of coefficients, once."""
        if name not in self.arrays:
            self.arrays[name] = array_of_c(f"NAME_{name}", values, comment)

    def part(self, name: str, layers: int, width: int) -> str:
        """Add a part of the state, [layers][width]; the expression for it is returned."""
        self.parts[name] = layers, width
        return f"s->{name}"

    def scratch(self, name: str, size: int, kind: str = "float") -> str:
        """Ask for scratch memory of at least this size; the expression for it is returned."""
        _, before = self.work.get(name, (kind, 0))
        self.work[name] = kind, max(size, before)
        return f"s->work.{name}"

    def need(self, *templates: str) -> None:
        """Use functions of these templates."""
        for name in templates:
            self._needed.add(name)
            self.need(*_TEMPLATES[name])

    def function(self, comment: list[str], signature: str, body: list[str]) -> None:
        """Add a function. Its body has one statement a line."""
        text = ["/* " + comment[0], *(f" * {line}".rstrip() for line in comment[1:])]
        text[-1] += " */"
        self.functions.append(
            "\n".join([*text, f"NAME_APART void NAME_{signature}", "{", *_indented(body), "}"])
        )

    def call(self, mode: str | None, statement: str) -> None:
        """Add a statement to the step, run in this mode."""
        self.calls.append((mode, statement))

    def templates(self, of_modules: bool) -> list[str]:
        """The texts of the templates that are needed: whole modules, which may read arrays, or all others."""
        self.need("vectors")
        folder = files(__package__) / "templates"
        names = [name for name in _TEMPLATES if name in self._needed and (name in _MODULES) == of_modules]
        return [(folder / f"{name}.h").read_text(encoding="utf-8").rstrip() for name in names]


def _indented(body: list[str]) -> list[str]:
    """Lines with the indentation of their braces."""
    lines, depth = [], 1
    for line in body:
        depth -= line.startswith("}")
        lines.append(("    " * depth + line).rstrip())
        depth += line.endswith("{")
    return lines
