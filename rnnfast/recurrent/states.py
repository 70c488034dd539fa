"""The state of a stack and the layout of its sequences: the caller's form, and the form of the passes.

The passes read sequences [T, B, ·], and a state as a tuple of parts, h first, each [passes, B, width].
A caller may put the batch first or leave it out, and gives a state of one part as an array.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rnnfast import _core, checks
from rnnfast.functional.passes import Input

__all__ = ["Layout", "StateForm", "StateGradients"]


class Layout(NamedTuple):
    """The caller's layout of sequences: [T, B, ·]; batch first [B, T, ·]; not batched [T, ·]."""

    batched: bool
    batch_first: bool

    def time_major(self, array: np.ndarray) -> np.ndarray:
        """A sequence in the caller's layout, viewed as [T, B, ·]."""
        if not self.batched:
            return array[:, None]
        return array.swapaxes(0, 1) if self.batch_first else array

    def as_given(self, array: np.ndarray) -> np.ndarray:
        """A sequence [T, B, ·], viewed in the caller's layout."""
        if not self.batched:
            return array[:, 0]
        return array.swapaxes(0, 1) if self.batch_first else array


class StateGradients(NamedTuple):
    """The gradients of the final state and of the state at every step, where `backward` is given both."""

    last: Any
    every: Any


class StateForm(NamedTuple):
    """The form of a stack's state.

    Attributes
    ----------
    parts : tuple of str
        The names of its parts, h first: ("h",), ("h", "c"), …
    widths : tuple of int
        The last axis of each part; that of h is also the width of the output of one direction.
    passes : int
        The first axis: num_layers * D.
    dtype : numpy.dtype
    """

    parts: tuple[str, ...]
    widths: tuple[int, ...]
    passes: int
    dtype: np.dtype

    def checked(self, name: str, value: Any, leading: tuple[int, ...]) -> Any:
        """`value`, a state in the caller's form, as floats of the dtype; a part of several may be None.

        `leading` are its axes but the last.
        """
        if len(self.parts) == 1:
            if isinstance(value, tuple):
                raise TypeError(f"{name}: expected one array {self.parts[0]}, got a tuple")
            return checks.shaped(name, value, self.dtype, (*leading, *self.widths))
        if not isinstance(value, (tuple, list)) or len(value) != len(self.parts):
            came = f"{len(value)} of them" if isinstance(value, (tuple, list)) else type(value).__name__
            raise TypeError(f"{name}: expected {checks.tuple_of(self.parts)} of arrays, got {came}")
        return tuple(
            [
                None
                if array is None
                else checks.shaped(f"{name} {part}", array, self.dtype, (*leading, width))
                for part, array, width in zip(self.parts, value, self.widths, strict=True)
            ]
        )

    def blank(self, B: int) -> tuple[np.ndarray, ...]:
        """Uninitialised parts of a state."""
        return tuple([_core.blank(self.passes, B, width, self.dtype) for width in self.widths])

    def blank_steps(self, x: Input, layout: Layout) -> tuple[np.ndarray, ...]:
        """Zeros for the parts of the state at every step of x [T, B, I]: [passes, T, B, width].

        Their memory has the caller's layout.
        """
        T, B, _ = x.shape
        if layout.batch_first:
            return tuple(
                [np.zeros((self.passes, B, T, width), self.dtype).swapaxes(1, 2) for width in self.widths]
            )
        return tuple([np.zeros((self.passes, T, B, width), self.dtype) for width in self.widths])

    def parts_of(self, state: Any, batched: bool) -> tuple[Any, ...]:
        """The parts of a checked state in the caller's form, each C-contiguous [passes, B, width] or None."""
        parts = state if len(self.parts) > 1 else (state,)
        return tuple(
            [None if part is None else checks.block(part if batched else part[:, None]) for part in parts]
        )

    def steps_of(self, states: Any, layout: Layout) -> list[np.ndarray | None]:
        """The parts of checked states at every step: each [passes, T, B, width] or None."""
        parts = states if isinstance(states, (tuple, list)) else (states,) * len(self.parts)
        steps: list[np.ndarray | None] = []
        for part in parts:
            if part is not None:
                part = checks.rows(part)
                if not layout.batched:
                    part = part[:, :, np.newaxis]
                part = part.swapaxes(1, 2) if layout.batch_first else part
            steps.append(part)
        return steps

    def state_as_given(self, parts: tuple[np.ndarray, ...], layout: Layout) -> Any:
        """A state in the caller's form."""
        if not layout.batched:
            parts = tuple([part[:, 0] for part in parts])
        return parts if len(parts) > 1 else parts[0]

    def steps_as_given(self, parts: tuple[np.ndarray, ...], layout: Layout) -> Any:
        """The states at every step, [passes, T, B, width] each, in the caller's form."""
        if not layout.batched:
            parts = tuple([part[:, :, 0] for part in parts])
        elif layout.batch_first:
            parts = tuple([part.swapaxes(1, 2) for part in parts])
        return parts if len(parts) > 1 else parts[0]
