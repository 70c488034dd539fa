"""The recurrent layers: stacks of passes over time, with their parameters, states and tapes.

The arithmetic of a pass is `functional`'s; here passes are put together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from rnnfast import _core, functional
from rnnfast.nn import checks
from rnnfast.nn.module import Module, Tape, read_only
from rnnfast.nn.parameter import Parameter
from rnnfast.stream import Stream

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike


class Recurrent(Module):
    """What RNN, LSTM and GRU share: all but their equations and the parts of their state.

    A pass is one layer in one direction; passes are numbered ``layer * D + direction``, as the states'
    first axis. Inside, sequences are ``[T, B, ·]`` and a state is a tuple of ``[num_layers*D, B, H]``, one
    array per part.
    """

    takes: ClassVar[frozenset[str]] = frozenset({"training", "rng"})
    cell: ClassVar[str]  # the name functional knows it by
    gates: ClassVar[int]
    parts: ClassVar[tuple[str, ...]] = ("h",)
    nonlinearity: str = "tanh"  # RNN alone lets it be chosen
    _derived: ClassVar[frozenset[str]] = frozenset({"_dtype", "_suffixes", "_cells", "_spare"})

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
        dtype: DTypeLike = "float32",
        rng: checks.Rng = None,
    ) -> None:
        super().__init__()
        self.input_size = checks.positive("input_size", input_size)
        self.hidden_size = checks.positive("hidden_size", hidden_size)
        self.num_layers = checks.positive("num_layers", num_layers)
        self.bias = bool(bias)
        self.batch_first = bool(batch_first)
        self.dropout = checks.probability("dropout", dropout)
        self.bidirectional = bool(bidirectional)
        self._directions = 2 if self.bidirectional else 1
        kind = checks.float_dtype(dtype)
        source = checks.generator(rng)
        bound = self.hidden_size**-0.5
        for suffix, shapes in self._shapes():
            for name, shape in shapes.items():
                self._parameters[name + suffix] = Parameter(source.uniform(-bound, bound, shape).astype(kind))
        self._seed_masks(source)
        self._derive()

    def _shapes(self) -> list[tuple[str, dict[str, tuple[int, ...]]]]:
        """The suffix of each pass's parameters, and their shapes by name."""
        rows, hidden = self.gates * self.hidden_size, self.hidden_size
        passes = []
        for layer in range(self.num_layers):
            columns = self.input_size if layer == 0 else self._directions * hidden
            shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, columns), "weight_hh": (rows, hidden)}
            if self.bias:
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
            passes += [
                (f"_l{layer}{direction}", shapes) for direction in ("", "_reverse")[: self._directions]
            ]
        return passes

    def _derive(self) -> None:
        """Set up what copies do not take along: each pass's cell, and buffers to use again."""
        self._dtype = np.dtype(self._parameters["weight_ih_l0"].dtype.name)
        self._suffixes = [suffix for suffix, _ in self._shapes()]
        self._cells = [
            _core.Cell(
                self.cell,
                self._parameters["weight_ih" + suffix].data,
                self._parameters["weight_hh" + suffix].data,
                self._parameters["bias_ih" + suffix].data if self.bias else None,
                self._parameters["bias_hh" + suffix].data if self.bias else None,
                suffix.endswith("_reverse"),
                self.nonlinearity,
            )
            for suffix in self._suffixes
        ]
        self._spare: list[Any] = []

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in self._derived}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._derive()

    def __call__(self, x: ArrayLike, state: Any = None) -> tuple[np.ndarray, Any]:
        """Evaluate: no dropout, and nothing is saved.

        Parameters
        ----------
        x : array_like
            ``[T, B, input_size]`` (``[B, T, input_size]`` with batch_first), or ``[T, input_size]``
            unbatched. Floats of another dtype than the layer's are cast.
        state : optional
            The initial state, ``[num_layers*D, B, hidden_size]`` (unbatched: ``[num_layers*D,
            hidden_size]``) with D = 2 if bidirectional, else 1; for LSTM a pair (h, c) of such arrays. None,
            also for a part of it, means zeros.

        Returns
        -------
        y : numpy.ndarray
            ``[T, B, D*hidden_size]``, laid out as x: the last layer's h at each step, the reverse
            direction's after the forward's.
        state
            The final state, in the initial state's form; the reverse direction's is the one at step 0.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong shape or dtype.
        """
        x, initial, batched, batch_first = self._checked(x, state)
        y, h, c = functional.evaluate(self._cells, self._directions, x, initial, batch_first)
        return _as_given(y, batched, batch_first), self._state_of((h,) if c is None else (h, c), batched)

    def forward(
        self, x: ArrayLike, state: Any = None, *, training: bool = True, rng: checks.Rng = None
    ) -> tuple[np.ndarray, Any, Tape]:
        """Run and save what `backward` needs.

        Parameters
        ----------
        x : array_like
            As in calling the layer. The tape holds it by reference: leave it unwritten until `backward`.
        state : optional
            As in calling the layer.
        training : bool
            False: no dropout.
        rng : int, numpy.random.Generator or None
            The seed of this pass's dropout masks, in place of the layer's own: an integer gives the same
            masks at every call.

        Returns
        -------
        y : numpy.ndarray
            As in calling the layer, but read-only: the tape shares its memory.
        state
            The final state, the caller's own.
        tape : Tape
            For `backward`.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong shape or dtype.
        """
        if rng is not None:
            checks.check_rng(rng)
        inputs, initial, batched, batch_first = self._checked(x, state)
        if initial is not None:  # the tape keeps it, and the caller may go on writing into a state
            initial = tuple([None if part is None else part.copy() for part in initial])
        T, B, _ = inputs.shape
        dtype, D, H = self._dtype, self._directions, self.hidden_size
        key = self._mask_key(rng) if training and self.dropout and self.num_layers > 1 else None
        final = self._blank_state(B)
        tapes = []
        for layer in range(self.num_layers):
            last = layer == self.num_layers - 1
            y = _core.blank(T, B, D * H, dtype, batch_first and last)
            for number in range(layer * D, (layer + 1) * D):
                cell = self._cells[number]
                tapes.append(functional.pass_forward(cell, number, inputs, initial, y, final, self._spare))
            inputs = y
            if key is not None and not last:
                inputs = _core.dropout_mask(*key, layer, y.shape, self.dropout, dtype)
                inputs *= y  # in the mask's place: the tape keeps y as it is
        y = _as_given(y, batched, batch_first)
        saved = _Saved(tapes, key, self.dropout, T, B, batched, batch_first, y.shape)
        return read_only(y), self._state_of(final, batched), Tape(self, saved)

    def stream(self, batch: int = 1) -> Stream:
        """This layer, one step a call: weights packed once, state kept.

        Parameters
        ----------
        batch : int
            B, the sequences that go on side by side.

        Returns
        -------
        Stream
            ``y_t = step(x_t)`` from ``[B, input_size]`` to ``[B, hidden_size]`` (with batch 1 also from
            ``[input_size]`` to ``[hidden_size]``), ``step.state``, ``step.reset(mask)``, ``step.refresh()``.

        Raises
        ------
        TypeError, ValueError
            If `batch` is no positive integer, or the layer is bidirectional.
        """
        return Stream(self, batch)

    def _checked(self, x: Any, state: Any) -> tuple[np.ndarray, Any, bool, bool]:
        """x as [T, B, I], the parts of the state (None: zero), whether x is batched, whether batch first."""
        x = checks.floats("x", x, self._dtype)
        shape = x.shape
        batched = len(shape) == 3
        if not 2 <= len(shape) <= 3 or shape[-1] != self.input_size:
            layout = "B, T" if self.batch_first else "T, B"
            raise ValueError(
                f"x: expected shape [{layout}, {self.input_size}] or, unbatched, [T, {self.input_size}], "
                f"got {shape}"
            )
        batch_first = batched and self.batch_first
        x = _time_major(checks.rows(x), batched, batch_first)
        if state is None:
            return x, None, batched, batch_first
        tail = (x.shape[1], self.hidden_size) if batched else (self.hidden_size,)
        state = self._checked_state("state", state, (len(self._cells), *tail))
        return x, self._parts_of(state, batched), batched, batch_first

    def _blank_state(self, B: int) -> tuple[np.ndarray, ...]:
        """The parts of a state, uninitialised."""
        h = _core.blank(len(self._cells), B, self.hidden_size, self._dtype)
        return (h,) if len(self.parts) == 1 else (h, np.empty_like(h))

    def _check_gradients(
        self, saved: _Saved, dy: ArrayLike | None, dstate: Any
    ) -> tuple[np.ndarray | None, Any]:
        if dy is not None:
            dy = checks.shaped("dy", dy, self._dtype, saved.y_shape)
        if dstate is not None:
            passes, H = len(saved.tapes), self.hidden_size
            shape = (passes, saved.B, H) if saved.batched else (passes, H)
            dstate = self._checked_state("dstate", dstate, shape)
        return dy, dstate

    def _backward(
        self, saved: _Saved, dy: np.ndarray | None, dstate: Any, input_grad: bool, retain: bool
    ) -> tuple[np.ndarray | None, Any, dict[str, np.ndarray]]:
        tapes, key, p, T, B, batched, batch_first, _ = saved
        dtype, D, H = self._dtype, self._directions, self.hidden_size
        if dy is not None:
            dy = _time_major(checks.rows(dy), batched, batch_first)
        dfinal = None if dstate is None else self._parts_of(dstate, batched)
        dinitial = self._blank_state(B)
        fresh: dict[str, np.ndarray] = {}
        for layer in reversed(range(self.num_layers)):
            columns = D * H if layer else self.input_size
            dx: np.ndarray | None = None
            for number in range(layer * D, (layer + 1) * D):
                share = None
                if layer or input_grad:
                    share = _core.blank(T, B, columns, dtype, batch_first and layer == 0)
                gradients = functional.pass_backward(tapes[number], dy, dfinal, share, dinitial, retain)
                for name, gradient in gradients.items():
                    fresh[name + self._suffixes[number]] = gradient
                dx = share if dx is None or share is None else np.add(dx, share, out=dx)
            if key is not None and layer:
                dx *= _core.dropout_mask(*key, layer - 1, (T, B, columns), p, dtype)
            dy = dx
        return (
            None if dy is None else _as_given(dy, batched, batch_first),
            self._state_of(dinitial, batched),
            fresh,
        )

    def _checked_state(self, name: str, value: Any, shape: tuple[int, ...]) -> Any:
        """`value`, a state in the caller's form, as the layer's floats; one of two parts may be None."""
        if len(self.parts) == 1:
            if isinstance(value, tuple):
                raise TypeError(f"{name}: expected one array {self.parts[0]}, got a tuple")
            return checks.shaped(name, value, self._dtype, shape)
        if not isinstance(value, (tuple, list)) or len(value) != len(self.parts):
            came = f"{len(value)} of them" if isinstance(value, (tuple, list)) else type(value).__name__
            raise TypeError(f"{name}: expected a pair ({', '.join(self.parts)}) of arrays, got {came}")
        return tuple(
            [
                None if array is None else checks.shaped(f"{name} {part}", array, self._dtype, shape)
                for part, array in zip(self.parts, value, strict=True)
            ]
        )

    def _parts_of(self, state: Any, batched: bool) -> tuple[Any, ...]:
        """The parts of a state in the caller's form, each a C-contiguous [num_layers*D, B, H] or None."""
        parts = state if len(self.parts) > 1 else (state,)
        return tuple(
            [None if part is None else checks.block(part if batched else part[:, None]) for part in parts]
        )

    def _state_of(self, parts: tuple[np.ndarray, ...], batched: bool) -> Any:
        """The state in the caller's form."""
        if not batched:
            parts = tuple([part[:, 0] for part in parts])
        return parts if len(parts) > 1 else parts[0]

    def __repr__(self) -> str:
        options = [f"{self.input_size}, {self.hidden_size}"]
        defaults = {
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
        }
        options += [
            f"{name}={value}" for name in defaults if (value := getattr(self, name)) != defaults[name]
        ]
        if self.nonlinearity != "tanh":
            options.append(f"nonlinearity={self.nonlinearity!r}")
        return f"{type(self).__name__}({', '.join(options)}, dtype={str(self.dtype)!r})"


class _Saved(NamedTuple):
    """What `forward` leaves for `backward`: a tape per pass, the masks' key and p, the caller's layout."""

    tapes: list[Any]
    key: tuple[int, int] | None
    p: float
    T: int
    B: int
    batched: bool
    batch_first: bool
    y_shape: tuple[int, ...]


def _time_major(array: np.ndarray, batched: bool, batch_first: bool) -> np.ndarray:
    """A sequence laid out as the caller's, seen as [T, B, ·]."""
    if not batched:
        return array[:, None]
    return array.swapaxes(0, 1) if batch_first else array


def _as_given(array: np.ndarray, batched: bool, batch_first: bool) -> np.ndarray:
    """A [T, B, ·] sequence, seen laid out as the caller's."""
    if not batched:
        return array[:, 0]
    return array.swapaxes(0, 1) if batch_first else array


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
        f.
    dtype : {"float32", "float64"}
        Of parameters, states and y.
    rng : int, numpy.random.Generator or None
        Seeds the parameters (uniform in ±1/sqrt(hidden_size), as PyTorch's) and the dropout masks.

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, … : Parameter
        ``[H, I]``, ``[H, H]``, ``[H]``, ``[H]``; then ``…_l0_reverse``, ``…_l1`` (its I is D*H), and so on:
        the names and shapes of `torch.nn.RNN`.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    References
    ----------
    J. L. Elman, "Finding structure in time", Cognitive Science 14 (1990).

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
    gates = 1

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
    ) -> None:
        if nonlinearity not in functional.NONLINEARITIES:
            expected = ", ".join(functional.NONLINEARITIES)
            raise ValueError(f"nonlinearity: expected one of {expected}, got {nonlinearity!r}")
        self.nonlinearity = nonlinearity
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
        )


class LSTM(Recurrent):
    """The long short-term memory.

    ::

        i = sigmoid(W_ii x_t + b_ii + W_hi h_{t-1} + b_hi)        f, o likewise
        g = tanh(W_ig x_t + b_ig + W_hg h_{t-1} + b_hg)
        c_t = f c_{t-1} + i g
        h_t = o tanh(c_t)

    The state is the pair (h, c).

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
    dtype : {"float32", "float64"}
        Of parameters, states and y.
    rng : int, numpy.random.Generator or None
        Seeds the parameters (uniform in ±1/sqrt(hidden_size), as PyTorch's) and the dropout masks.
    forget_bias : float, optional
        The initial bias of the forget gate: f's slice of every ``bias_ih``, that of ``bias_hh`` being zero.
        1 helps a network to remember from the start. Without it f is initialised as the other gates.

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, … : Parameter
        ``[4*H, I]``, ``[4*H, H]``, ``[4*H]``, ``[4*H]``, gates in the order i, f, g, o; then
        ``…_l0_reverse``, ``…_l1`` (its I is D*H), and so on: the names and shapes of `torch.nn.LSTM`.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range, or `forget_bias` comes with ``bias=False``.

    References
    ----------
    S. Hochreiter and J. Schmidhuber, "Long short-term memory", Neural Computation 9 (1997); with the forget
    gate of F. A. Gers, J. Schmidhuber and F. Cummins, "Learning to forget", Neural Computation 12 (2000).

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
    gates = 4
    parts = ("h", "c")

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
        dtype: DTypeLike = "float32",
        rng: checks.Rng = None,
        forget_bias: float | None = None,
    ) -> None:
        if forget_bias is not None:
            forget_bias = checks.real("forget_bias", forget_bias)
            if not bias:
                raise ValueError("forget_bias: expected None with bias=False (there is no bias to set)")
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
        )
        if forget_bias is not None:
            forget = slice(self.hidden_size, 2 * self.hidden_size)
            for suffix in self._suffixes:
                self._parameters["bias_ih" + suffix].data[forget] = forget_bias
                self._parameters["bias_hh" + suffix].data[forget] = 0.0


class GRU(Recurrent):
    """The gated recurrent unit, with the reset gate after the product (as PyTorch's, cuDNN's and Keras 3's).

    ::

        r = sigmoid(W_ir x_t + b_ir + W_hr h_{t-1} + b_hr)        z likewise
        n = tanh(W_in x_t + b_in + r (W_hn h_{t-1} + b_hn))
        h_t = (1 - z) n + z h_{t-1}

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
    dtype : {"float32", "float64"}
        Of parameters, states and y.
    rng : int, numpy.random.Generator or None
        Seeds the parameters (uniform in ±1/sqrt(hidden_size), as PyTorch's) and the dropout masks.

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, … : Parameter
        ``[3*H, I]``, ``[3*H, H]``, ``[3*H]``, ``[3*H]``, gates in the order r, z, n; then ``…_l0_reverse``,
        ``…_l1`` (its I is D*H), and so on: the names and shapes of `torch.nn.GRU`.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    References
    ----------
    K. Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine
    translation", arXiv:1406.1078v1 (2014); later versions of the paper have the reset gate before the
    product.

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
    gates = 3
