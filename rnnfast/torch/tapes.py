"""Tapes of calls in a graph: the operator that leaves one gives a key, the one that plays it takes the key.

A graph has tensors alone. So a key is a tensor of one byte, and the place of that byte in memory finds the
tape. A tape is let go of with its key. A graph may also copy or move tensors, and use a key twice. Then there
is no tape for the key, and the caller runs the forward pass again.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from rnnfast.torch.call import Call
from rnnfast.torch.memory import Places, View

__all__ = ["keep", "retained", "take"]

# Whether the graph stays after the backward pass that runs now; where torch does not say, it may.
retained = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", lambda: True)


class _Kept(NamedTuple):
    call: Call
    tape: Any
    places: Places  # of x and of the first result, which the tape refers to


_tapes: dict[int, _Kept] = {}  # by the place of the key's byte


def keep(call: Call, tape: Any, x: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
    """The key of a tape, which a call of x made, and whose first result is `first`."""
    byte = np.zeros(1, np.uint8)
    key = torch.from_numpy(byte)  # holds `byte` for as long as any tensor has its memory
    _tapes[key.data_ptr()] = _Kept(call, tape, Places(x, first))
    weakref.finalize(byte, _tapes.pop, key.data_ptr(), None).atexit = False
    return key


def take(
    key: torch.Tensor, x: torch.Tensor, first: torch.Tensor, weights: Sequence[torch.Tensor], retain: bool
) -> tuple[Call, Any] | None:
    """The call and the tape of a key, if these tensors are where they were; without `retain`, just once."""
    place = key.data_ptr()
    kept = _tapes.get(place) if retain else _tapes.pop(place, None)
    if kept is None or not kept.places.are_of(x, first):
        return None
    view = kept.call.view
    assert isinstance(view, View)
    return (kept.call, kept.tape) if view.shows(weights) else None
