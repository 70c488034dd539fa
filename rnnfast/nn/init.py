"""Weight initialisation, in place on a `Parameter` or an array; nothing is returned."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast import checks
from rnnfast.arithmetic import to_nearest
from rnnfast.nn.parameter import Parameter, check_writeable, unwritable

__all__ = ["forget_bias", "identity", "orthogonal", "recurrent", "xavier_normal", "xavier_uniform"]

Target = Parameter | np.ndarray


@to_nearest
def orthogonal(
    target: Target, gain: float = 1.0, *, blocks: int = 1, rng: int | np.random.Generator | None = None
) -> None:
    """A random orthogonal matrix, uniform over all of them, times `gain`.

    Square or tall, its columns are orthonormal (UᵀU = I); wide, its rows are. Computed in float64 whatever
    the dtype of `target`.

    Parameters
    ----------
    target : Parameter or ndarray, shape [rows, columns]
        What to fill.
    gain : float, default 1.0
        Factor on the whole.
    blocks : int, default 1
        Cut the rows into this many equal blocks, each orthogonal on its own: the gates of a recurrent weight.
    rng : int, numpy.random.Generator or None
        The seed or generator of the random numbers.

    Raises
    ------
    TypeError, ValueError
        `target` is no float matrix that can be written, its rows do not divide into `blocks`, or another
        argument is of the wrong kind.

    References
    ----------
    Saxe et al., "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks", 2014;
    the signs of R's diagonal make Q uniform: Mezzadri, "How to generate random matrices from the classical
    compact groups", 2007.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.nn import init
    >>> u = np.empty((5, 3))
    >>> init.orthogonal(u, rng=0)
    >>> bool(np.allclose(u.T @ u, np.eye(3)))
    True
    """
    rng = checks.generator(rng)
    gain, parts = _row_blocks(target, blocks, gain)
    for block in parts:
        rows, columns = block.shape
        q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
        q *= np.where(np.diagonal(r) < 0, -gain, gain)
        block[...] = q if rows >= columns else q.T


@to_nearest
def xavier_uniform(
    target: Target, gain: float = 1.0, *, blocks: int = 1, rng: int | np.random.Generator | None = None
) -> None:
    """Uniform over ±gain·sqrt(6 / (fan_in + fan_out)).

    Parameters
    ----------
    target : Parameter or ndarray, shape [fan_out, fan_in]
        What to fill.
    gain : float, default 1.0
        Factor on the bound.
    blocks : int, default 1
        Count each of this many equal blocks of rows as a matrix of its own: fan_out = rows / blocks.
    rng : int, numpy.random.Generator or None
        The seed or generator of the random numbers.

    Raises
    ------
    TypeError, ValueError
        `target` is no float matrix that can be written, its rows do not divide into `blocks`, or another
        argument is of the wrong kind.

    References
    ----------
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.nn import init
    >>> weight = np.empty((4, 2), np.float32)
    >>> init.xavier_uniform(weight, rng=0)
    >>> bool(np.abs(weight).max() <= 1.0)
    True
    """
    rng = checks.generator(rng)
    gain, parts = _row_blocks(target, blocks, gain)
    for block in parts:
        bound = gain * math.sqrt(6.0 / sum(block.shape))
        block[...] = rng.uniform(-bound, bound, block.shape)


@to_nearest
def xavier_normal(
    target: Target, gain: float = 1.0, *, blocks: int = 1, rng: int | np.random.Generator | None = None
) -> None:
    """Normal with mean 0 and standard deviation gain·sqrt(2 / (fan_in + fan_out)).

    Parameters
    ----------
    target : Parameter or ndarray, shape [fan_out, fan_in]
        What to fill.
    gain : float, default 1.0
        Factor on the standard deviation.
    blocks : int, default 1
        Count each of this many equal blocks of rows as a matrix of its own: fan_out = rows / blocks.
    rng : int, numpy.random.Generator or None
        The seed or generator of the random numbers.

    Raises
    ------
    TypeError, ValueError
        `target` is no float matrix that can be written, its rows do not divide into `blocks`, or another
        argument is of the wrong kind.

    References
    ----------
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.nn import init
    >>> weight = np.empty((300, 300))
    >>> init.xavier_normal(weight, rng=0)
    >>> round(float(weight.std()), 3)    # sqrt(2 / 600) = 0.0577
    0.058
    """
    rng = checks.generator(rng)
    gain, parts = _row_blocks(target, blocks, gain)
    for block in parts:
        block[...] = gain * math.sqrt(2.0 / sum(block.shape)) * rng.standard_normal(block.shape)


@to_nearest
def identity(target: Target, gain: float = 1.0, *, blocks: int = 1) -> None:
    """`gain` on the diagonal, zero elsewhere.

    Parameters
    ----------
    target : Parameter or ndarray, shape [rows, columns]
        What to fill.
    gain : float, default 1.0
        The value on the diagonal.
    blocks : int, default 1
        Cut the rows into this many equal blocks, each with a diagonal of its own.

    Raises
    ------
    TypeError, ValueError
        `target` is no float matrix that can be written, its rows do not divide into `blocks`, or another
        argument is of the wrong kind.

    References
    ----------
    Le, Jaitly and Hinton, "A simple way to initialize recurrent networks of rectified linear units", 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.nn import init
    >>> weight = np.empty((2, 2))
    >>> init.identity(weight, 0.5)
    >>> weight.tolist()
    [[0.5, 0.0], [0.0, 0.5]]
    """
    gain, parts = _row_blocks(target, blocks, gain)
    for block in parts:
        block[...] = gain * np.eye(*block.shape)


@to_nearest
def forget_bias(layer: Any, value: float = 1.0) -> None:
    """Set the forget gate's bias of every layer and direction of an LSTM: `value` in bias_ih, 0 in bias_hh.

    Parameters
    ----------
    layer : LSTM
        With ``bias=True``.
    value : float, default 1.0
        The bias that the gate then has in all.

    Raises
    ------
    TypeError, ValueError
        `layer` is no recurrent layer, no LSTM, or has no biases that can be written; `value` is no number.

    References
    ----------
    Jozefowicz et al., "An empirical exploration of recurrent network architectures", 2015.

    Examples
    --------
    >>> import rnnfast as rf
    >>> lstm = rf.LSTM(2, 1)
    >>> rf.init.forget_bias(lstm, 1.0)
    >>> float(lstm.bias_ih_l0.data[1] + lstm.bias_hh_l0.data[1])
    1.0
    """
    hidden = _hidden_size(layer)
    value = checks.fitting("value", value, layer.dtype)
    biases = [(name, param) for name, param in layer.named_parameters() if name.startswith("bias_")]
    if not biases:
        raise ValueError("layer: expected an LSTM with biases, got one with bias=False")
    if any(param.shape[0] != 4 * hidden for _, param in biases):
        raise ValueError(f"layer: expected an LSTM with gates i, f, g, o, got {type(layer).__name__}")
    check_writeable(dict(biases), "data")
    for name, param in biases:
        param.data[hidden : 2 * hidden] = value if name.startswith("bias_ih") else 0.0


@to_nearest
def recurrent(layer: Any, *, rng: int | np.random.Generator | None = None) -> None:
    """Weights that let a recurrent layer remember: weight_hh orthogonal, weight_ih Xavier uniform.

    Both gate by gate. Biases become zero.

    Parameters
    ----------
    layer : RNN, LSTM or GRU
        All its layers and directions are filled. For an LSTM, :func:`forget_bias` may follow.
    rng : int, numpy.random.Generator or None
        The seed or generator of the random numbers.

    Raises
    ------
    TypeError
        `layer` is no recurrent layer.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> gru = rf.GRU(2, 4)
    >>> rf.init.recurrent(gru, rng=0)
    >>> candidate = gru.weight_hh_l0.data[8:]
    >>> bool(np.allclose(candidate.T @ candidate, np.eye(4), atol=1e-6))
    True
    """
    hidden = _hidden_size(layer)
    rng = checks.generator(rng)
    check_writeable(dict(layer.named_parameters()), "data")
    for name, param in layer.named_parameters():
        if name.startswith("weight_hh"):
            orthogonal(param, blocks=param.shape[0] // hidden, rng=rng)
        elif name.startswith("weight_ih"):
            xavier_uniform(param, blocks=param.shape[0] // hidden, rng=rng)
        elif name.startswith("bias"):
            param.data[...] = 0.0


def _row_blocks(target: Target, blocks: int, gain: float) -> tuple[float, list[NDArray]]:
    """The gain, and views of the equal blocks of rows of a float matrix; no block where it is empty."""
    array = target.data if isinstance(target, Parameter) else target
    checks.refuse_masked("target", array)
    if not isinstance(array, np.ndarray) or array.dtype not in (np.float32, np.float64):
        got = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"target: expected a Parameter or a float32 or float64 array, got {got}")
    if array.ndim != 2:
        raise ValueError(f"target: expected a matrix, got shape {array.shape}")
    if not array.flags.writeable:
        problem = unwritable(target) if isinstance(target, Parameter) else "a read-only one"
        raise ValueError(f"target: expected an array that can be written, got {problem}")
    if array.shape[0] % checks.positive("blocks", blocks):
        raise ValueError(f"blocks: expected a divisor of the {array.shape[0]} rows, got {blocks!r}")
    return checks.fitting("gain", gain, array.dtype), np.split(array, blocks) if array.size else []


def _hidden_size(layer: Any) -> int:
    hidden = getattr(layer, "hidden_size", None)
    weight = getattr(layer, "weight_hh_l0", None)
    if hidden is None or weight is None or len(weight.shape) != 2:  # IndRNN's is a vector
        raise TypeError(f"layer: expected an RNN, LSTM or GRU, got {type(layer).__name__}")
    return int(hidden)
