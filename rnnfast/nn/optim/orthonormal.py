"""A constraint of optimizers: matrices that stay orthonormal, by a retraction after every step.

W is one block of a parameter, [m, n] with m >= n, before the step of the optimizer. D is the step:

    D = D - W (WᵀD + DᵀW) / 2      its part that is tangent to the matrices with WᵀW = I (Stiefel manifold)
    W = Q, where Q R = W + D       R has a diagonal above zero

Without the first line, steps that are not tangent would turn W, and training could not rest at a minimum.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from rnnfast import checks
from rnnfast.nn.parameter import Parameter

__all__ = ["Orthonormal"]


class Orthonormal:
    """Keep matrices orthonormal during training; one of the `constraints` of an optimizer.

    After every step of the optimizer, each block W of the parameters is put back on the matrices with
    WᵀW = I (with fewer rows than columns: WWᵀ = I). The step is first projected on the tangent space at the
    weights before it. A QR decomposition of their sum then gives the new weights (the QR retraction). Both
    are computed in float64, whatever the dtype of the parameter, so rounding errors do not add up over steps.

    Parameters
    ----------
    parameters : iterable of Parameter
        Matrices that the optimizer trains, such as the recurrent weights of a layer.
    blocks : int, optional
        Cut the rows of each matrix into this many equal blocks, each orthonormal on its own. None: into
        square blocks. These are the gates of a ``weight_hh``; with a projection, give the number of gates.

    Attributes
    ----------
    parameters : list of Parameter

    Raises
    ------
    TypeError, ValueError
        `parameters` holds no Parameter, one of them twice, one that is no matrix, or one whose rows do not
        divide into the blocks.

    See Also
    --------
    rnnfast.init.orthogonal : Initial weights that are orthonormal.

    Notes
    -----
    Weights that are not orthonormal become so at the first step that changes them. A parameter that a step
    leaves as it was, because it has no gradient or because the learning rate is 0, keeps its bits. The weight
    decay of AdamW has no effect on orthonormal blocks, because its step has no tangent part.

    References
    ----------
    P.-A. Absil, R. Mahony and R. Sepulchre, "Optimization algorithms on matrix manifolds", Princeton
    University Press (2008), for the projection and the retraction. M. Arjovsky, A. Shah and Y. Bengio,
    "Unitary evolution recurrent neural networks", ICML (2016), and S. Wisdom et al., "Full-capacity unitary
    recurrent neural networks", NIPS (2016), for recurrent weights that keep norms.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> rnn = rf.RNN(1, 16, rng=0)
    >>> rf.init.orthogonal(rnn.weight_hh_l0, rng=1)
    >>> keep = rf.optim.Orthonormal([rnn.weight_hh_l0])
    >>> optimizer = rf.optim.Adam(rnn.parameters(), lr=0.01, constraints=[keep])
    >>> x = np.random.default_rng(2).standard_normal((30, 8, 1), np.float32)
    >>> for _ in range(5):
    ...     optimizer.zero_grad()
    ...     loss, state = rf.loss_and_grad(rnn, rf.losses.mse, x, np.zeros((30, 8, 16), np.float32))
    ...     optimizer.step()
    >>> W = rnn.weight_hh_l0.data
    >>> bool(np.abs(W.T @ W - np.eye(16)).max() < 1e-5)
    True
    """

    def __init__(self, parameters: Iterable[Parameter], *, blocks: int | None = None) -> None:
        each = checks.iterated("parameters", parameters, "Parameters such as [rnn.weight_hh_l0]")
        self.parameters = [checks.instance(f"parameters[{at}]", p, Parameter) for at, p in enumerate(each)]
        if not self.parameters:
            raise ValueError("parameters: expected at least one Parameter, got none")
        if len({id(parameter) for parameter in self.parameters}) < len(self.parameters):
            raise ValueError("parameters: expected each Parameter once, got one of them twice")
        if blocks is not None:
            blocks = checks.positive("blocks", blocks)
        self._blocks = [
            _blocks_of(f"parameters[{at}]", parameter, blocks) for at, parameter in enumerate(self.parameters)
        ]

    def described(self, params: list[Parameter]) -> list[str]:
        """What is constrained, for the state of the optimizer of `params`: a line for each parameter."""
        places = {id(parameter): place for place, parameter in enumerate(params)}
        return [
            f"params[{places[id(parameter)]}] orthonormal in {blocks} block{'s' if blocks > 1 else ''}"
            for parameter, blocks in zip(self.parameters, self._blocks, strict=True)
        ]

    def points(self) -> list[NDArray]:
        """Copies of the weights, to be taken before a step."""
        return [parameter.data.copy() for parameter in self.parameters]

    def retract(self, points: list[NDArray]) -> None:
        """Put the weights back, after the step that led away from `points`."""
        for parameter, blocks, point in zip(self.parameters, self._blocks, points, strict=True):
            data = parameter.data
            if np.array_equal(point, data, equal_nan=True):
                continue
            m, n = data.shape[0] // blocks, data.shape[1]
            before, after = (array.reshape(blocks, m, n).astype(np.float64) for array in (point, data))
            if m < n:
                before, after = before.swapaxes(1, 2), after.swapaxes(1, 2)
            moved = _moved(before, after - before)
            data[...] = (moved if m >= n else moved.swapaxes(1, 2)).reshape(data.shape)


def _moved(
    W: NDArray[np.float64],  # IN  [blocks, m, n], m >= n
    D: NDArray[np.float64],  # IN  [blocks, m, n]  the step
) -> NDArray[np.float64]:
    """W after the tangent part of the step D, retracted."""
    WtD = W.swapaxes(1, 2) @ D
    Q, R = np.linalg.qr(W + D - W @ (0.5 * (WtD + WtD.swapaxes(1, 2))))
    signs = np.where(np.diagonal(R, axis1=1, axis2=2) < 0, -1.0, 1.0)
    return Q * signs[:, np.newaxis, :]


def _blocks_of(name: str, parameter: Parameter, blocks: int | None) -> int:
    """The number of blocks of a parameter: the one that is given, or that of square blocks."""
    if len(parameter.shape) != 2 or not parameter.size:
        raise ValueError(f"{name}: expected a matrix, got shape {parameter.shape}")
    rows, columns = parameter.shape
    if blocks is not None:
        if rows % blocks:
            raise ValueError(f"blocks: expected a divisor of the {rows} rows of {name}, got {blocks}")
        return blocks
    if rows % columns:
        raise ValueError(
            f"{name}: expected square blocks of {columns} x {columns}, got shape {parameter.shape}; "
            "blocks= says how many there are"
        )
    return rows // columns
