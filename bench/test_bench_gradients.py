"""The gradient of a weight, dy^T x over many rows: rnnfast's product and NumPy's BLAS.

A group is one shape. Both results are compared with the product in float64 before they are timed.
"""

from __future__ import annotations

import numpy as np
import pytest

from rnnfast import _core
from rnnfast.benchmark.contenders import limited_threads

ROWS = (128, 256, 512, 3200)
WEIGHTS = {"LSTM of 64 units": (256, 64), "LSTM of 256": (1024, 256), "LSTM of 512": (2048, 512)}


@pytest.mark.parametrize("who", ["rnnfast", "numpy"])
@pytest.mark.parametrize("M", ROWS)
@pytest.mark.parametrize("weight", WEIGHTS)
def test_bench_weight_gradient(timed, threads, weight, M, who):
    N, K = WEIGHTS[weight]
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal((M, size), dtype=np.float32) for size in (K, N))
    W, dW = np.zeros((N, K), np.float32), np.empty((N, K), np.float32)
    expected = dy.T.astype(float) @ x.astype(float)

    def rnnfast() -> None:
        _core.linear_backward(x, W, dy, None, dW, None)

    def numpy() -> None:
        np.matmul(dy.T, x, out=dW)

    call = {"rnnfast": rnnfast, "numpy": numpy}[who]
    with limited_threads(threads):
        call()
        np.testing.assert_allclose(dW, expected, rtol=1e-4, atol=1e-4 * np.sqrt(M))
        timed(f"dW of an {weight}, {M} rows, threads: {threads}", who, call)
