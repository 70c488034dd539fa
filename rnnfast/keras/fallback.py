"""The warning that Keras's own code runs a layer in place of the kernels."""

from __future__ import annotations

import warnings
from typing import NamedTuple

__all__ = ["FallbackWarning", "Obstacle", "warn_of"]

# Python's own memory of warnings is lost whenever some code, Keras's too, changes filters.
_said: set[str] = set()


class FallbackWarning(UserWarning):
    """Keras's own code ran a layer of `rnnfast.keras`.

    The message gives the reason and the remedy, once for each reason. As an error it finds the place::

        warnings.simplefilter("error", rnnfast.keras.FallbackWarning)
    """


class Obstacle(NamedTuple):
    """Why the kernels cannot run, and what to do about it, in a few words; no reason needs no warning."""

    reason: str
    remedy: str = "take Keras's own layer"


def warn_of(what: Obstacle) -> None:
    """Say that Keras's own code runs, why, and what to do, unless it has been said."""
    if what.reason and what.reason not in _said:
        warnings.warn(
            "rnnfast.keras: Keras's own code runs, not rnnfast's kernels, because of "
            f"{what.reason}: {what.remedy}",
            FallbackWarning,
            stacklevel=1,
        )
        _said.add(what.reason)
