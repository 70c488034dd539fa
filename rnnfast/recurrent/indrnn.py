"""The recurrent layer IndRNN."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from rnnfast import _core, checks
from rnnfast.recurrent.base import Recurrent

if TYPE_CHECKING:
    from numpy.typing import DTypeLike


__all__ = ["IndRNN"]


class IndRNN(Recurrent):
    """The independently recurrent network, h_t = f(W_ih x_t + b_ih + w_hh h_{t-1}) with a vector w_hh.

    Each unit sees only its own past; layers above one another mix the units. A step costs no matrix product,
    so it is the fastest of the recurrent layers.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H, the sizes of the last axis of x and h.
    num_layers : int
        How many layers: each above the first reads the outputs of the layer below.
    bias : bool
        Whether there is b_ih.
    batch_first : bool
        x and y are ``[B, T, ·]`` instead of ``[T, B, ·]``; states are ``[num_layers*D, B, H]`` either way.
    dropout : float
        The probability, in training, that an output of a layer other than the last is zero for the layer
        above.
    bidirectional : bool
        Each layer also runs from the last step to the first, with weights of its own; D = 2 instead of 1.
    nonlinearity : {"relu", "tanh", "sigmoid", "identity"}
        What f is.
    dtype : {"float32", "float64"}
        Of parameters, states and y.
    rng : int, numpy.random.Generator or None
        Seeds the parameters (w_hh uniform in 0..1, the others in ±1/sqrt(hidden_size)) and the dropout masks.
    matmul_precision : {"float32", "bfloat16", "int8"}
        Of the operands of products: rounded to bfloat16, or to int8, which evaluates alone. Sums, parameters,
        states and gradients stay float32. It is a property too.
    zoneout : float
        The probability p, in training, that a unit keeps its h in a step (a random mask of each step and
        sequence). Evaluation has the expectation, p h_{t-1} + (1 - p) h'_t, where h'_t is what the cell
        computes. It is a property too.

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0, bias_ih_l0, … : Parameter
        ``[H, I]``, ``[H]``, ``[H]``; then ``…_l0_reverse``, ``…_l1`` (its I is D*H), and so on.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    References
    ----------
    S. Li, W. Li, C. Cook, C. Zhu and Y. Gao, "Independently recurrent neural network (IndRNN): building a
    longer and deeper RNN", CVPR (2018).
    Zoneout: D. Krueger et al., "Zoneout: regularizing RNNs by randomly preserving hidden activations", ICLR
    (2017).

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> layer = rf.IndRNN(3, 5, num_layers=2, rng=0)
    >>> x = np.ones((7, 2, 3), np.float32)
    >>> y, h, tape = layer.forward(x)
    >>> y.shape, h.shape
    ((7, 2, 5), (2, 2, 5))
    >>> dx, dh = layer.backward(tape, np.ones_like(y))
    >>> dx.shape, layer.weight_hh_l0.grad.shape
    ((7, 2, 3), (5,))
    """

    cell = "indrnn"
    options: ClassVar[dict[str, Any]] = {"nonlinearity": "relu"}

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
        nonlinearity: str = "relu",
        dtype: DTypeLike = "float32",
        rng: checks.Rng = None,
        matmul_precision: str = "float32",
        zoneout: float = 0.0,
    ) -> None:
        self.nonlinearity = checks.one_of("nonlinearity", nonlinearity, _core.NONLINEARITIES)
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
            zoneout=zoneout,
        )

    def _range(self, weight: str) -> tuple[float, float]:
        return (0.0, 1.0) if weight == "weight_hh" else super()._range(weight)
