"""The recurrent layers whose gates see the input alone: MinGRU and MinLSTM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from rnnfast import _core, checks
from rnnfast.recurrent.base import Recurrent

if TYPE_CHECKING:
    from numpy.typing import DTypeLike


__all__ = ["MinGRU", "MinLSTM"]


class _Minimal(Recurrent):
    """What MinGRU and MinLSTM share: a candidate and no weight that multiplies the state."""

    options: ClassVar[dict[str, Any]] = {"candidate": "identity"}

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        candidate: str = "identity",
        dtype: DTypeLike = "float32",
        rng: checks.Rng = None,
        matmul_precision: str = "float32",
    ) -> None:
        self.candidate = checks.one_of("candidate", candidate, _core.CANDIDATES)
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            dtype=dtype,
            rng=rng,
            matmul_precision=matmul_precision,
        )


class MinGRU(_Minimal):
    """The minimal gated recurrent unit.

    ::

        z = sigmoid(W_z x_t + b_z)
        n = g(W_h x_t + b_h)
        h_t = (1 - z) h_{t-1} + z n

    The gate z and the candidate n depend on x_t alone, so no product waits for the step before. All products
    are computed for many steps at once, and a step costs a few operations for each unit. Layers above one
    another let the gates see the past.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H, the sizes of the last axis of x and h.
    num_layers : int
        How many layers: each above the first reads the outputs of the layer below.
    bias : bool
        Whether there are b_z and b_h.
    batch_first : bool
        x and y are ``[B, T, ·]`` instead of ``[T, B, ·]``; states are ``[num_layers*D, B, H]`` either way.
    dropout : float
        The probability, in training, that an output of a layer other than the last is zero for the layer
        above.
    bidirectional : bool
        Each layer also runs from the last step to the first, with weights of its own; D = 2 instead of 1.
    candidate : {"identity", "positive", "tanh"}
        The function g on the candidate. "positive" is that of the paper's form in log space: x + 0.5 for x of
        at least 0, else sigmoid(x). The steps run one after another here and need no logarithms, so a
        candidate of either sign is as stable.
    dtype : {"float32", "float64"}
        Of parameters, states and y.
    rng : int, numpy.random.Generator or None
        Seeds the parameters (uniform in ±1/sqrt(hidden_size)) and the dropout masks.
    matmul_precision : {"float32", "bfloat16", "int8"}
        Of the operands of products: rounded to bfloat16, or to int8, which evaluates alone. Sums, parameters,
        states and gradients stay float32. It is a property too.

    Attributes
    ----------
    weight_ih_l0, bias_ih_l0, … : Parameter
        ``[2*H, I]``, ``[2*H]``, blocks in the order z, h; then ``…_l0_reverse``, ``…_l1`` (its I is D*H), and
        so on. There is no ``weight_hh``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    References
    ----------
    L. Feng, F. Tung, M. O. Ahmed, Y. Bengio and H. Hajimirsadeghi, "Were RNNs all we needed?",
    arXiv:2410.01201 (2024).

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> layer = rf.MinGRU(3, 5, num_layers=2, rng=0)
    >>> x = np.ones((7, 2, 3), np.float32)
    >>> y, h, tape = layer.forward(x)
    >>> y.shape, h.shape
    ((7, 2, 5), (2, 2, 5))
    >>> dx, dh = layer.backward(tape, np.ones_like(y))
    >>> dx.shape, layer.weight_ih_l0.grad.shape
    ((7, 2, 3), (10, 3))
    """

    cell = "mingru"
    zoned = False


class MinLSTM(_Minimal):
    """The minimal long short-term memory.

    ::

        f = sigmoid(W_f x_t + b_f)        i likewise
        n = g(W_h x_t + b_h)
        h_t = f / (f + i) h_{t-1} + i / (f + i) n

    The gates f and i and the candidate n depend on x_t alone, as those of `MinGRU`. The state is h alone.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H, the sizes of the last axis of x and h.
    num_layers : int
        How many layers: each above the first reads the outputs of the layer below.
    bias : bool
        Whether there are b_f, b_i and b_h.
    batch_first : bool
        x and y are ``[B, T, ·]`` instead of ``[T, B, ·]``; states are ``[num_layers*D, B, H]`` either way.
    dropout : float
        The probability, in training, that an output of a layer other than the last is zero for the layer
        above.
    bidirectional : bool
        Each layer also runs from the last step to the first, with weights of its own; D = 2 instead of 1.
    candidate : {"identity", "positive", "tanh"}
        The function g on the candidate, as for `MinGRU`.
    dtype : {"float32", "float64"}
        Of parameters, states and y.
    rng : int, numpy.random.Generator or None
        Seeds the parameters (uniform in ±1/sqrt(hidden_size)) and the dropout masks.
    matmul_precision : {"float32", "bfloat16", "int8"}
        Of the operands of products: rounded to bfloat16, or to int8, which evaluates alone. Sums, parameters,
        states and gradients stay float32. It is a property too.

    Attributes
    ----------
    weight_ih_l0, bias_ih_l0, … : Parameter
        ``[3*H, I]``, ``[3*H]``, blocks in the order f, i, h; then ``…_l0_reverse``, ``…_l1`` (its I is D*H),
        and so on. There is no ``weight_hh``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    References
    ----------
    L. Feng, F. Tung, M. O. Ahmed, Y. Bengio and H. Hajimirsadeghi, "Were RNNs all we needed?",
    arXiv:2410.01201 (2024).

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> layer = rf.MinLSTM(3, 5, candidate="positive", rng=0)
    >>> x = np.ones((7, 2, 3), np.float32)
    >>> y, h, tape = layer.forward(x)
    >>> y.shape, h.shape, bool((y > 0).all())
    ((7, 2, 5), (1, 2, 5), True)
    >>> dx, dh = layer.backward(tape, np.ones_like(y))
    >>> dx.shape, layer.weight_ih_l0.grad.shape
    ((7, 2, 3), (15, 3))
    """

    cell = "minlstm"
    zoned = False
