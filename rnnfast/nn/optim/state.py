"""Reads the state dict of an optimizer: every entry is checked, and nothing of the optimizer is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast import checks
from rnnfast.nn.optim.settings import checked_setting

__all__ = ["StateReader"]


class StateReader:
    """Takes entry after entry out of a state dict; each error is a ValueError that names the entry.

    Parameters
    ----------
    state : mapping
        As `Optimizer.state_dict` gives it.
    """

    def __init__(self, state: Mapping[str, Any]) -> None:
        if not isinstance(state, Mapping):
            raise TypeError(f"state: expected a mapping as state_dict() gives it, got {type(state).__name__}")
        self._state = state
        self._unread = set(state)

    def _take(self, name: str) -> NDArray:
        if name not in self._state:
            raise ValueError(f"optimizer state: expected an entry {name!r}, got none")
        self._unread.discard(name)
        return checks.as_array(f"optimizer state {name}", self._state[name])

    def check_kind(self, expected: str) -> None:
        """Refuse the state of another class."""
        kind = str(self._take("kind"))
        if kind != expected:
            raise ValueError(f"optimizer state: expected that of {expected}, got that of {kind}")

    def check_constraints(self, expected: list[str]) -> None:
        """Refuse the state of an optimizer with other constraints."""
        given = self._take("constraints").tolist() if "constraints" in self._state else []
        if given != expected:
            raise ValueError(f"optimizer state constraints: expected {expected}, got {given}")

    def settings(
        self, present: Mapping[str, Any], check_together: Callable[[Mapping[str, Any]], None]
    ) -> dict[str, Any]:
        """The settings by name, each of the form of the present one, and accepted by `check_together`."""
        settings = {name: self._setting(name, value) for name, value in present.items()}
        try:
            check_together(settings)
        except ValueError as error:
            raise ValueError(f"optimizer state {error}") from error
        return settings

    def _setting(self, name: str, present: Any) -> Any:
        value = self._take(name)
        if value.shape != np.shape(present) or value.dtype.kind not in "biuf" or not np.isfinite(value).all():
            raise ValueError(f"optimizer state {name}: expected finite numbers like {present!r}, got {value}")
        read = tuple(value.tolist()) if isinstance(present, tuple) else value.item()
        try:
            return type(present)(checked_setting(name, read))
        except (TypeError, ValueError) as error:
            raise ValueError(f"optimizer state {error}") from error

    def steps(self, count: int) -> list[int]:
        """The number of updates of each of `count` parameters."""
        steps = self._take("steps")
        if steps.shape != (count,) or steps.dtype.kind not in "iu" or (steps < 0).any():
            raise ValueError(
                f"optimizer state steps: expected {count} counts (one for each parameter), "
                f"got {steps.dtype} of shape {steps.shape}"
            )
        return steps.tolist()

    def averages(
        self,
        index: int,
        like: NDArray,
        required: Sequence[str],
        optional: Sequence[str],
        squares: Sequence[str],
    ) -> dict[str, NDArray]:
        """Copies of the averages kept for the parameter `index`, whose data is `like`."""
        kept: dict[str, NDArray] = {}
        for name in (*required, *optional):
            key = f"{name}.{index}"
            if name in required or key in self._state:
                kept[name] = self._average(key, like, name in squares)
        return kept

    def _average(self, key: str, like: NDArray, squares: bool) -> NDArray:
        array = self._take(key)
        if array.shape != like.shape or array.dtype != like.dtype:
            raise ValueError(
                f"optimizer state {key}: expected {like.dtype} of shape {like.shape}, "
                f"got {array.dtype} of shape {array.shape}"
            )
        if squares and (array < 0).any():
            raise ValueError(f"optimizer state {key}: expected squares, got a negative number")
        return np.array(array, order="C")

    def check_all_read(self) -> None:
        """Refuse entries that nothing has taken."""
        if self._unread:
            raise ValueError(f"optimizer state: unexpected entries {', '.join(sorted(self._unread))}")
