"""The table of cells (csrc/cells/table.h) in Python: gates, parts of the state, weights, shapes."""

from __future__ import annotations

from typing import Any, NamedTuple

from rnnfast._core.loops import cell_rows, find_row

__all__ = ["CellInfo", "cell_info", "layer_names"]


class CellInfo(NamedTuple):
    """One row of the table of cells.

    Attributes
    ----------
    number : int
        Of the row, from 0.
    name : str
        Of the row: "lstm", "lstm_coupled", …
    layer : str
        The name of its pair of functions, and of its class in lower case.
    option : str or None
        The keyword argument of the layer that selects this row.
    option_value : bool
        The value of that argument which selects it.
    layer_norm : bool
        Whether layer normalization surrounds the cell.
    gates : str
        The blocks of the weights, one letter each, in their order: "ifgo".
    parts : str
        The parts of the state, one letter each, h first: "hc".
    slots : tuple of str
        The gate in each slot that the input fills, in the order in which a pass saves them.
    saved : int
        How many numbers a pass saves for the backward pass, for each step, row and unit.
    heads : bool
        Whether its units may be divided into heads.
    required, optional : tuple of str
        The weights that it must have, and those that it may have.
    vectors : tuple of str
        Those of them that multiply element by element, ``[H]``.
    axes : dict of str to tuple
        Of each axis of a weight a pair such as ``(4, "H")``, which is 4*H; sizes are I, H, P and D.
    """

    number: int
    name: str
    layer: str
    option: str | None
    option_value: bool
    layer_norm: bool
    gates: str
    parts: str
    slots: tuple[str, ...]
    saved: int
    heads: bool
    required: tuple[str, ...]
    optional: tuple[str, ...]
    vectors: tuple[str, ...]
    axes: dict[str, tuple[tuple[int, str], ...]]

    def weight_shape(self, weight: str, I: int, H: int, P: int, heads: int = 1) -> tuple[int, ...]:
        """The shape of a weight; H hidden units in so many heads of D units, P numbers of h."""
        sizes = {"I": I, "H": H, "P": P, "D": H // heads}
        return tuple([times * sizes[size] for times, size in self.axes[weight]])

    def widths(self, H: int, P: int) -> tuple[int, ...]:
        """The width of each part of the state: P of h, H of the others."""
        return (P, *(H for _ in self.parts[1:]))


_TABLE = [CellInfo(*row) for row in cell_rows()]


def cell_info(layer: str, **options: Any) -> CellInfo:
    """The row of a layer with these options.

    An option that is left out has the value of the layer's first row; `layer_norm` is False then.
    """
    return _TABLE[find_row(layer, options)]


def layer_names() -> list[str]:
    """The layers that the table has, in its order."""
    return list(dict.fromkeys(row.layer for row in _TABLE))
