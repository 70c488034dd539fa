"""The recurrent layer SLSTM: its heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnfast import checks
from rnnfast.recurrent.base import Recurrent

if TYPE_CHECKING:
    from numpy.typing import DTypeLike


__all__ = ["SLSTM"]


class SLSTM(Recurrent):
    """The sLSTM of the xLSTM: exponential gates, a normalizer n and a stabilizer m.

    ::

        i, f, z, o = W x_t + b + W_h h_{t-1}
        m_t = max(log sigmoid(f) + m_{t-1}, i)
        i' = exp(i - m_t),    f' = exp(log sigmoid(f) + m_{t-1} - m_t)
        c_t = f' c_{t-1} + i' tanh(z),    n_t = f' n_{t-1} + i'
        h_t = sigmoid(o) c_t / n_t

    The state is (h, c, n, m), which starts at zero. A state whose n is 0 is empty: there m_t = i. The units
    form heads, and W_h has a block for each head, so that a unit sees only the h of its own head.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H, the sizes of the last axis of x and h.
    num_layers : int
        How many layers: each above the first reads the outputs of the layer below.
    bias : bool
        Whether there is b.
    batch_first : bool
        x and y are ``[B, T, ·]`` instead of ``[T, B, ·]``; states are ``[num_layers*D, B, H]`` either way.
    dropout : float
        The probability, in training, that an output of a layer other than the last is zero for the layer
        above.
    bidirectional : bool
        Each layer also runs from the last step to the first, with weights of its own; D = 2 instead of 1.
    num_heads : int
        A divisor of hidden_size. With more heads, a step takes fewer products.
    dtype : {"float32", "float64"}
        Of parameters, states and y.
    rng : int, numpy.random.Generator or None
        Seeds the parameters (uniform in ±1/sqrt(hidden_size)) and the dropout masks.
    matmul_precision : {"float32", "bfloat16", "int8"}
        Of the operands of products: rounded to bfloat16, or to int8, which evaluates alone. Sums, parameters,
        states and gradients stay float32. It is a property too.

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0, bias_ih_l0, … : Parameter
        ``[4*H, I]``, ``[4*H, H/num_heads]``, ``[4*H]``, blocks in the order i, f, z, o; then
        ``…_l0_reverse``, ``…_l1`` (its I is D*H), and so on.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    References
    ----------
    M. Beck, K. Pöppel, M. Spanring, A. Auer, O. Prudnikova, M. Kopp, G. Klambauer, J. Brandstetter and
    S. Hochreiter, "xLSTM: extended long short-term memory", NeurIPS (2024).

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> layer = rf.SLSTM(3, 8, num_heads=2, rng=0)
    >>> x = np.ones((7, 2, 3), np.float32)
    >>> y, state, tape = layer.forward(x)
    >>> h, c, n, m = state
    >>> y.shape, n.shape, layer.weight_hh_l0.data.shape
    ((7, 2, 8), (1, 2, 8), (32, 4))
    >>> dx, dstate = layer.backward(tape, np.ones_like(y))
    >>> dx.shape, len(dstate)
    ((7, 2, 3), 4)
    """

    cell = "slstm"
    zoned = False

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
        num_heads: int = 1,
        dtype: DTypeLike = "float32",
        rng: checks.Rng = None,
        matmul_precision: str = "float32",
    ) -> None:
        self.num_heads = checks.positive("num_heads", num_heads)
        if checks.positive("hidden_size", hidden_size) % self.num_heads:
            raise ValueError(
                f"num_heads: expected a divisor of hidden_size, which is {hidden_size}, got {num_heads}"
            )
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
