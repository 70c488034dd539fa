"""What the operators have in common: the arguments that say which layer is called, and with what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

__all__ = ["Inputs"]


class Inputs(NamedTuple):
    """The arguments of a call in their order; or what belongs to each of them, such as the axes of vmap.

    Attributes
    ----------
    x : torch.Tensor
        [T, B, I], as the layer or the cell takes it.
    state : sequence of torch.Tensor
        The parts of the initial state; none of them: zero.
    weights : sequence of torch.Tensor
        In the order of the layer's parameters.
    lengths, reset : torch.Tensor or None
        The layer's keywords.
    seed : torch.Tensor or None
        One integer, of the dropout masks; None drops nothing.
    layer : str
        What `naming.text_of` gives.
    """

    x: Any
    state: Sequence[Any]
    weights: Sequence[Any]
    lengths: torch.Tensor | None
    reset: torch.Tensor | None
    seed: torch.Tensor | None
    layer: Any
