"""Steps of the update of one block that several optimizers share; each block has n elements."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["root_of_average", "with_decay"]


def with_decay(
    g: NDArray,  # IN  [n]  the gradient
    p: NDArray,  # IN  [n]  the parameter
    weight_decay: float,
    out: NDArray,  # scratch [n]
) -> NDArray:
    """``g + weight_decay p``, in `out` where there is a decay and else g itself."""
    if not weight_decay:
        return g
    np.multiply(p, weight_decay, out=out)
    out += g
    return out


def root_of_average(
    v: NDArray,  # INOUT [n]  the running average of the gradient's squares
    g: NDArray,  # IN    [n]  the gradient
    keep: float,  # the part of the average that is kept, in 0..1
    out: NDArray,  # OUT  [n]  sqrt(v)
) -> None:
    """``v = keep v + (1 - keep) g²``, and its square root."""
    np.multiply(g, g, out=out)
    out *= 1.0 - keep
    v *= keep
    v += out
    np.sqrt(v, out=out)
