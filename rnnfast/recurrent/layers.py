"""The recurrent layers RNN, LSTM, GRU and IndRNN: their options, and what is theirs alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from rnnfast import _core, checks
from rnnfast.arithmetic import to_nearest
from rnnfast.recurrent.base import Recurrent

if TYPE_CHECKING:
    from numpy.typing import DTypeLike


__all__ = ["GRU", "LSTM", "RNN"]


class RNN(Recurrent):
    """The vanilla (Elman) recurrent network, h_t = f(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh).

    Parameters
    ----------
    input_size, hidden_size : int
        I and H, the sizes of x's and h's last axis.
    num_layers : int
        How many layers: each above the first reads the outputs of the one below.
    bias : bool
        Whether there are b_ih and b_hh.
    batch_first : bool
        x and y are ``[B, T, ·]`` instead of ``[T, B, ·]``; states are ``[num_layers*D, B, H]`` either way.
    dropout : float
        The probability, in training, that an output of a layer other than the last is zero for the layer
        above.
    bidirectional : bool
        Each layer also runs from the last step to the first, with weights of its own; D = 2 instead of 1.
    nonlinearity : {"tanh", "relu", "sigmoid", "identity"}
        What f is.
    layer_norm : bool
        Whether each product is normalized over its H numbers before the biases are added (Ba, Kiros and
        Hinton 2016). Adds the parameters ``ln_…``, weights from 1 and biases from 0; a bias-free layer has
        them too.
    dtype : {"float32", "float64"}
        Of parameters, states and y.
    rng : int, numpy.random.Generator or None
        Seeds the parameters (uniform in ±1/sqrt(hidden_size), as PyTorch's) and the dropout masks.
    matmul_precision : {"float32", "bfloat16", "int8"}
        Of the operands of products: rounded to bfloat16, or to int8, which evaluates alone. Sums, parameters,
        states and gradients stay float32. It is a property too.
    zoneout : float
        The probability p, in training, that a unit keeps its h in a step (a random mask of each step and
        sequence). Evaluation has the expectation, p h_{t-1} + (1 - p) h'_t, where h'_t is what the cell
        computes. It is a property too. Not with layer_norm.
    recurrent_dropout : float
        The probability p, in training, that products of the state read zero for a unit of h. A sequence has
        one mask for all steps; the other units are scaled by 1 / (1 - p).
    weight_dropout : float
        The probability p, in training, that an entry of ``weight_hh`` is zero during a call. The others are
        scaled by 1 / (1 - p).

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, … : Parameter
        ``[H, I]``, ``[H, H]``, ``[H]``, ``[H]``; then ``…_l0_reverse``, ``…_l1`` (its I is D*H), and so on:
        the names and shapes of `torch.nn.RNN`.
        With layer_norm also ``ln_ih_weight_l0``, ``ln_ih_bias_l0``, ``ln_hh_weight_l0``,
        ``ln_hh_bias_l0`` ``[H]``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    References
    ----------
    Elman, "Finding structure in time", Cognitive Science 14 (1990).
    Zoneout: D. Krueger et al., "Zoneout: regularizing RNNs by randomly preserving hidden activations", ICLR
    (2017).
    Recurrent dropout: Y. Gal and Z. Ghahramani, "A theoretically grounded application of dropout in recurrent
    neural networks", NIPS (2016). Weight dropout: S. Merity, N. S. Keskar and R. Socher, "Regularizing and
    optimizing LSTM language models", ICLR (2018).
    Layer normalization: J. L. Ba, J. R. Kiros and G. E. Hinton, "Layer normalization", arXiv:1607.06450
    (2016).

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> rnn = rf.RNN(3, 5, nonlinearity="relu", rng=0)
    >>> x = np.ones((7, 2, 3), np.float32)
    >>> y, h, tape = rnn.forward(x)
    >>> y.shape, h.shape
    ((7, 2, 5), (1, 2, 5))
    >>> dx, dh = rnn.backward(tape, np.ones_like(y))
    >>> dx.shape, rnn.weight_hh_l0.grad.shape
    ((7, 2, 3), (5, 5))
    """

    cell = "rnn"
    options: ClassVar[dict[str, Any]] = {"nonlinearity": "tanh", "layer_norm": False}

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
        nonlinearity: str = "tanh",
        dtype: DTypeLike = "float32",
        rng: checks.Rng = None,
        matmul_precision: str = "float32",
        zoneout: float = 0.0,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        layer_norm: bool = False,
    ) -> None:
        self.layer_norm = checks.flag("layer_norm", layer_norm)
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
            recurrent_dropout=recurrent_dropout,
            weight_dropout=weight_dropout,
        )


class LSTM(Recurrent):
    """The long short-term memory.

    ::

        i = sigmoid(W_ii x_t + b_ii + W_hi h_{t-1} + b_hi [+ w_ci c_{t-1}])        f likewise
        g = tanh(W_ig x_t + b_ig + W_hg h_{t-1} + b_hg)
        c_t = [clip] f c_{t-1} + i g
        o = sigmoid(W_io x_t + b_io + W_ho h_{t-1} + b_ho [+ w_co c_t])
        h_t = [W_hr] o tanh(c_t)

    What is in brackets is there on request. The state is the pair (h, c).

    Parameters
    ----------
    input_size, hidden_size : int
        I and H, the sizes of x's and h's last axis.
    num_layers : int
        How many layers: each above the first reads the outputs of the one below.
    bias : bool
        Whether there are b_ih and b_hh.
    batch_first : bool
        x and y are ``[B, T, ·]`` instead of ``[T, B, ·]``; states are ``[num_layers*D, B, H]`` either way.
    dropout : float
        The probability, in training, that an output of a layer other than the last is zero for the layer
        above.
    bidirectional : bool
        Each layer also runs from the last step to the first, with weights of its own; D = 2 instead of 1.
    proj_size : int
        P, to which h is projected by ``weight_hr``; 0: not at all. y and h are then P wide, c is H wide.
    dtype : {"float32", "float64"}
        Of parameters, states and y.
    rng : int, numpy.random.Generator or None
        Seeds the parameters (uniform in ±1/sqrt(hidden_size), as PyTorch's) and the dropout masks.
    matmul_precision : {"float32", "bfloat16", "int8"}
        Of the operands of products: rounded to bfloat16, or to int8, which evaluates alone. Sums, parameters,
        states and gradients stay float32. It is a property too.
    zoneout : float or pair of float
        The probability p, in training, that a unit keeps its h or c in a step (a random mask of each step and
        sequence). A pair is for h and c; their masks always differ. Evaluation has the expectation,
        p h_{t-1} + (1 - p) h'_t, where h'_t is what the cell computes. tanh reads c before zoneout; zoneout
        of h follows the projection. It is a property too. Not with layer_norm.
    recurrent_dropout : float
        The probability p, in training, that products of the state read zero for a unit of h. A sequence has
        one mask for all steps; the other units are scaled by 1 / (1 - p).
    weight_dropout : float
        The probability p, in training, that an entry of ``weight_hh`` is zero during a call. The others are
        scaled by 1 / (1 - p).
    forget_bias : float, optional
        The initial bias of the forget gate: f's slice of every ``bias_ih``, that of ``bias_hh`` being zero.
        1 helps a network to remember from the start. Without it f is initialised as the other gates.
    peephole : bool
        Whether the gates also see the cell: i and f the one before, o the new one.
    coupled_gates : bool
        The forget gate is f = 1 - i and has no weights of its own: blocks are i, g, o, ``[3*H, ·]``.
    cell_clip : float, optional
        Bounds c, at every step, to -cell_clip .. cell_clip; where it clamps, no gradient passes. A bound
        below the smallest normal number of the dtype holds c at zero.
    layer_norm : bool
        Whether each product is normalized over its 4*H (coupled 3*H) numbers before the biases are added, and
        c before the tanh that makes h (Ba, Kiros and Hinton 2016). Adds the parameters ``ln_…``, weights from
        1 and biases from 0; a bias-free layer has them too.

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, … : Parameter
        ``[4*H, I]``, ``[4*H, H]``, ``[4*H]``, ``[4*H]``, gates in the order i, f, g, o; then
        ``…_l0_reverse``, ``…_l1`` (its I is D*H), and so on: the names and shapes of `torch.nn.LSTM`. With
        proj_size P ``weight_hh`` is ``[4*H, P]``, an upper layer's I is D*P, and there is
        ``weight_hr_l0`` ``[P, H]``; peepholes are ``weight_ci_l0``, ``weight_cf_l0`` (not with coupled
        gates), ``weight_co_l0`` ``[H]``.
        With layer_norm also ``ln_ih_weight_l0``, ``ln_ih_bias_l0``, ``ln_hh_weight_l0``, ``ln_hh_bias_l0``
        ``[4*H]``, and ``ln_c_weight_l0``, ``ln_c_bias_l0`` ``[H]``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range, or `forget_bias` comes with ``bias=False`` or
        coupled gates.

    References
    ----------
    S. Hochreiter and J. Schmidhuber, "Long short-term memory", Neural Computation 9 (1997); with the forget
    gate of F. A. Gers, J. Schmidhuber and F. Cummins, "Learning to forget", Neural Computation 12 (2000).
    Peepholes: F. A. Gers and J. Schmidhuber, "Recurrent nets that time and count", IJCNN (2000). Projection:
    H. Sak, A. Senior and F. Beaufays, "Long short-term memory recurrent neural network architectures for
    large scale acoustic modeling", Interspeech (2014). Coupled gates: K. Greff et al., "LSTM: a search space
    odyssey", IEEE Transactions on Neural Networks and Learning Systems 28 (2017).
    Zoneout: D. Krueger et al., "Zoneout: regularizing RNNs by randomly preserving hidden activations", ICLR
    (2017).
    Recurrent dropout: Y. Gal and Z. Ghahramani, "A theoretically grounded application of dropout in recurrent
    neural networks", NIPS (2016). Weight dropout: S. Merity, N. S. Keskar and R. Socher, "Regularizing and
    optimizing LSTM language models", ICLR (2018).
    Layer normalization: J. L. Ba, J. R. Kiros and G. E. Hinton, "Layer normalization", arXiv:1607.06450
    (2016).

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> lstm = rf.LSTM(3, 5, num_layers=2, forget_bias=1.0, rng=0)
    >>> x = np.ones((7, 2, 3), np.float32)
    >>> y, (h, c) = lstm(x)
    >>> y.shape, h.shape, c.shape
    ((7, 2, 5), (2, 2, 5), (2, 2, 5))
    >>> y, state, tape = lstm.forward(x, (h, c))
    >>> dx, (dh, dc) = lstm.backward(tape, np.ones_like(y))
    >>> dc.shape, lstm.weight_hh_l1.grad.shape
    ((2, 2, 5), (20, 5))
    """

    cell = "lstm"
    options: ClassVar[dict[str, Any]] = {"coupled_gates": False, "cell_clip": None, "layer_norm": False}

    @to_nearest
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        dtype: DTypeLike = "float32",
        rng: checks.Rng = None,
        matmul_precision: str = "float32",
        zoneout: float | tuple[float, float] = 0.0,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        forget_bias: float | None = None,
        peephole: bool = False,
        coupled_gates: bool = False,
        cell_clip: float | None = None,
        layer_norm: bool = False,
    ) -> None:
        if forget_bias is not None:
            forget_bias = checks.fitting("forget_bias", forget_bias, checks.float_dtype(dtype))
            if not checks.flag("bias", bias):
                raise ValueError("forget_bias: expected None with bias=False (there is no bias to set)")
            if checks.flag("coupled_gates", coupled_gates):
                raise ValueError("forget_bias: expected None with coupled_gates=True (f is 1 - i)")
        self.proj_size = checks.integer("proj_size", proj_size, 0)
        self.peephole = checks.flag("peephole", peephole)
        self.coupled_gates = checks.flag("coupled_gates", coupled_gates)
        self.cell_clip = checks.cell_clip(cell_clip)
        self.layer_norm = checks.flag("layer_norm", layer_norm)
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
            recurrent_dropout=recurrent_dropout,
            weight_dropout=weight_dropout,
        )
        if forget_bias is not None:
            forget = slice(self.hidden_size, 2 * self.hidden_size)
            for suffix in self.suffixes:
                self._parameters["bias_ih" + suffix].data[forget] = forget_bias
                self._parameters["bias_hh" + suffix].data[forget] = 0.0

    def _has(self, weight: str) -> bool:
        if weight == "weight_hr":
            return self.proj_size > 0
        return self.peephole if weight.startswith("weight_c") else self.bias


class GRU(Recurrent):
    """The gated recurrent unit.

    ::

        r = sigmoid(W_ir x_t + b_ir + W_hr h_{t-1} + b_hr)        z likewise
        n = tanh(W_in x_t + b_in + r (W_hn h_{t-1} + b_hn))
        h_t = (1 - z) n + z h_{t-1}

    or, with ``reset_after=False``::

        n = tanh(W_in x_t + b_in + W_hn (r h_{t-1}) + b_hn)

    Parameters
    ----------
    input_size, hidden_size : int
        I and H, the sizes of x's and h's last axis.
    num_layers : int
        How many layers: each above the first reads the outputs of the one below.
    bias : bool
        Whether there are b_ih and b_hh.
    batch_first : bool
        x and y are ``[B, T, ·]`` instead of ``[T, B, ·]``; states are ``[num_layers*D, B, H]`` either way.
    dropout : float
        The probability, in training, that an output of a layer other than the last is zero for the layer
        above.
    bidirectional : bool
        Each layer also runs from the last step to the first, with weights of its own; D = 2 instead of 1.
    reset_after : bool
        Whether r acts after the product with W_hn (as in PyTorch, cuDNN and Keras 3) or before it, as in
        later versions of the paper; that takes two products a step, one after the other, and is slower.
    layer_norm : bool
        Whether each product is normalized over its 3*H numbers before the biases are added (Ba, Kiros and
        Hinton 2016). Adds the parameters ``ln_…``, weights from 1 and biases from 0; a bias-free layer has
        them too. It needs ``reset_after=True``.
    dtype : {"float32", "float64"}
        Of parameters, states and y.
    rng : int, numpy.random.Generator or None
        Seeds the parameters (uniform in ±1/sqrt(hidden_size), as PyTorch's) and the dropout masks.
    matmul_precision : {"float32", "bfloat16", "int8"}
        Of the operands of products: rounded to bfloat16, or to int8, which evaluates alone. Sums, parameters,
        states and gradients stay float32. It is a property too.
    zoneout : float
        The probability p, in training, that a unit keeps its h in a step (a random mask of each step and
        sequence). Evaluation has the expectation, p h_{t-1} + (1 - p) h'_t, where h'_t is what the cell
        computes. It is a property too. Not with layer_norm.
    recurrent_dropout : float
        The probability p, in training, that products of the state read zero for a unit of h. A sequence has
        one mask for all steps; the other units are scaled by 1 / (1 - p).
    weight_dropout : float
        The probability p, in training, that an entry of ``weight_hh`` is zero during a call. The others are
        scaled by 1 / (1 - p).

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, … : Parameter
        ``[3*H, I]``, ``[3*H, H]``, ``[3*H]``, ``[3*H]``, gates in the order r, z, n; then ``…_l0_reverse``,
        ``…_l1`` (its I is D*H), and so on: the names and shapes of `torch.nn.GRU`.
        With layer_norm also ``ln_ih_weight_l0``, ``ln_ih_bias_l0``, ``ln_hh_weight_l0``, ``ln_hh_bias_l0``
        ``[3*H]``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range, or `layer_norm` comes with ``reset_after=False``.

    References
    ----------
    K. Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine
    translation", arXiv:1406.1078v1 (2014); later versions of the paper have the reset gate before the
    product.
    Zoneout: D. Krueger et al., "Zoneout: regularizing RNNs by randomly preserving hidden activations", ICLR
    (2017).
    Recurrent dropout: Y. Gal and Z. Ghahramani, "A theoretically grounded application of dropout in recurrent
    neural networks", NIPS (2016). Weight dropout: S. Merity, N. S. Keskar and R. Socher, "Regularizing and
    optimizing LSTM language models", ICLR (2018).
    Layer normalization: J. L. Ba, J. R. Kiros and G. E. Hinton, "Layer normalization", arXiv:1607.06450
    (2016).

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> gru = rf.GRU(3, 5, bidirectional=True, batch_first=True, rng=0)
    >>> x = np.ones((2, 7, 3), np.float32)
    >>> y, h = gru(x)
    >>> y.shape, h.shape
    ((2, 7, 10), (2, 2, 5))
    >>> bool((y[:, -1, :5] == h[0]).all() and (y[:, 0, 5:] == h[1]).all())
    True
    """

    cell = "gru"
    options: ClassVar[dict[str, Any]] = {"reset_after": True, "layer_norm": False}

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
        reset_after: bool = True,
        dtype: DTypeLike = "float32",
        rng: checks.Rng = None,
        matmul_precision: str = "float32",
        zoneout: float = 0.0,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        layer_norm: bool = False,
    ) -> None:
        self.reset_after = checks.flag("reset_after", reset_after)
        self.layer_norm = checks.flag("layer_norm", layer_norm)
        if self.layer_norm and not self.reset_after:
            raise ValueError("layer_norm: expected False with reset_after=False (it is defined for True)")
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
            recurrent_dropout=recurrent_dropout,
            weight_dropout=weight_dropout,
        )
