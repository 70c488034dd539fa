"""Last: gradients, and each direction's final state."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.arrays import normal
from helpers.differences import assert_gradients

import rnnfast as rf

T, B, N = 5, 3, 4


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(
    ("batch_first", "shape"), [(False, (4, 3, 2)), (True, (3, 4, 2)), (True, (4, 2)), (False, (1, 2))]
)
def test_last_gradients_agree_with_finite_differences(
    batch_first: bool, shape: tuple[int, ...], bidirectional: bool
) -> None:
    assert_gradients(rf.Last(batch_first, bidirectional), normal(*shape, dtype=float))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_last_gives_each_directions_final_state(bidirectional: bool) -> None:
    layer = rf.GRU(N, 6, batch_first=True, bidirectional=bidirectional, rng=0)
    y, h = layer(normal(B, T, N))
    last = rf.Last(batch_first=True, bidirectional=bidirectional)
    np.testing.assert_array_equal(last(y)[0], np.concatenate(list(h), axis=-1))
    np.testing.assert_array_equal(last(y[0])[0], np.concatenate(list(h[:, 0]), axis=-1))
    assert repr(last) == f"Last(batch_first=True, bidirectional={bidirectional})"
