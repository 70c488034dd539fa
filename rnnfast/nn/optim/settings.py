"""What each setting of an optimizer may be, from a constructor, an assignment or a state dict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rnnfast import checks

__all__ = ["checked_setting"]


def _betas(name: str, value: Any) -> tuple[float, float]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"{name}: expected a pair of numbers, got {value!r}")
    return checks.below_one(f"{name}[0]", value[0]), checks.below_one(f"{name}[1]", value[1])


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "lr": checks.at_least_zero,
    "betas": _betas,
    "alpha": checks.below_one,
    "eps": checks.at_least_zero,
    "momentum": checks.at_least_zero,
    "nesterov": checks.flag,
    "weight_decay": checks.at_least_zero,
}


def checked_setting(name: str, value: Any) -> Any:
    """The value as it is kept; a ValueError or TypeError if it is out of range. Other names have no check."""
    return _CHECKS[name](name, value) if name in _CHECKS else value
