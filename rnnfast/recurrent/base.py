"""What all recurrent layers share: parameters, argument checks, evaluation, forward, backward, streams."""

from __future__ import annotations

import math
from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from rnnfast import _core, checks
from rnnfast.arithmetic import to_nearest
from rnnfast.functional import passes
from rnnfast.nn.module import check_gradient, read_only
from rnnfast.nn.parameter import Parameter, arrays_version, is_frozen
from rnnfast.nn.tape import NO_GRADIENT, Tape
from rnnfast.recurrent import recomputation
from rnnfast.recurrent.regularized import Regularized
from rnnfast.recurrent.stack import KeptCells, Recorder, Saved, backward_stack, evaluate_pass
from rnnfast.recurrent.states import Layout, StateForm, StateGradients
from rnnfast.recurrent.stream import Stream

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike


__all__ = ["Recurrent"]


class Recurrent(Regularized):
    """The base of all recurrent layers: all but their equations, their options and the parts of their state.

    A pass is one layer in one direction; passes are numbered ``layer * D + direction``, as the states'
    first axis. Inside, sequences are ``[T, B, ·]`` and a state is a tuple of ``[num_layers*D, B, ·]``, one
    array per part. P is the width of h and y: H, unless an LSTM projects.
    """

    cell: ClassVar[str]  # the name of the layer in the table of cells
    options: ClassVar[dict[str, Any]] = {}  # the cell's own attributes, with their defaults
    proj_size: int = 0  # the LSTM alone lets it be chosen
    num_heads: int = 1  # the SLSTM alone
    _precision = "float32"
    _derived: ClassVar[frozenset[str]] = frozenset({"state_form", "suffixes", "_from_arrays", "_spare"})
    _unsearched = _derived

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        # One with passes of its own expects arrays.
        own = ("__call__", "forward", "backward")
        cls._reads_embedded = all(getattr(cls, name) is getattr(Recurrent, name) for name in own)

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
        *,
        dtype: DTypeLike = "float32",
        rng: checks.Rng = None,
        matmul_precision: str = "float32",
        **rates: Any,
    ) -> None:
        super().__init__()
        self.input_size = checks.positive("input_size", input_size)
        self.hidden_size = checks.positive("hidden_size", hidden_size)
        self.num_layers = checks.positive("num_layers", num_layers)
        self.bias = checks.flag("bias", bias)
        self.batch_first = checks.flag("batch_first", batch_first)
        self.dropout = checks.probability("dropout", dropout)
        self.bidirectional = checks.flag("bidirectional", bidirectional)
        self._directions = 2 if self.bidirectional else 1
        self.info = _core.cell_info(self.cell, **{name: getattr(self, name) for name in self.options})
        self.parts = tuple(self.info.parts)
        self.gates = len(self.info.gates)
        self._regularize(**rates)
        kind = checks.float_dtype(dtype)
        self._precision = checks.precision("matmul_precision", matmul_precision, kind)
        sizes = {
            name: getattr(self, name)
            for name in ("input_size", "hidden_size", "num_layers", "proj_size")
            if getattr(self, name)
        }
        first, each = (sum(map(math.prod, self._shapes_of(layer).values())) for layer in (0, 1))
        checks.fits(sizes, self._directions * (first + (self.num_layers - 1) * each), kind)
        source = checks.generator(rng)
        for suffix, shapes in self._shapes():
            for name, shape in shapes.items():
                self._parameters[name + suffix] = Parameter(self._initial(name, shape, source).astype(kind))
        self._seed_masks(source)
        self._derive()

    def _shapes(self) -> list[tuple[str, dict[str, tuple[int, ...]]]]:
        """The suffix of each pass's parameters, and their shapes by name."""
        return [
            (f"_l{layer}{direction}", self._shapes_of(layer))
            for layer in range(self.num_layers)
            for direction in ("", "_reverse")[: self._directions]
        ]

    def _shapes_of(self, layer: int) -> dict[str, tuple[int, ...]]:
        """The shapes of the parameters of each pass of a layer, by name."""
        info, H, P = self.info, self.hidden_size, self.proj_size or self.hidden_size
        names = [*info.required, *(name for name in info.optional if self._has(name))]
        columns = self.input_size if layer == 0 else self._directions * P
        return {name: info.weight_shape(name, columns, H, P, self.num_heads) for name in names}

    def _matrices(self) -> Collection[str]:
        return [
            name + suffix for suffix, own in self._shapes() for name, shape in own.items() if len(shape) > 1
        ]

    def _range(self, weight: str) -> tuple[float, float]:
        """The range of a weight's initial values."""
        bound = self.hidden_size**-0.5
        return -bound, bound

    def _initial(self, weight: str, shape: tuple[int, ...], source: np.random.Generator) -> np.ndarray:
        if weight.startswith("ln_"):  # layer normalization starts without effect
            return np.full(shape, float(weight.endswith("weight")))
        return source.uniform(*self._range(weight), shape)

    def _has(self, weight: str) -> bool:
        """Whether the layer has this weight, which its cell may have."""
        return self.bias

    def _check_member(self, name: str, value: Any) -> None:
        if any(name == own + suffix for suffix, shapes in self._shapes() for own in shapes):
            raise AttributeError(f"{name}: a parameter stays what it is; assign to {name}.data instead")

    def _derive(self) -> None:
        """Set up what copies do not contain, among it buffers to use again."""
        self.suffixes = [suffix for suffix, _ in self._shapes()]
        widths = self.info.widths(self.hidden_size, self.proj_size or self.hidden_size)
        dtype = np.dtype(self._parameters["weight_ih_l0"].dtype.name)
        self.state_form = StateForm(self.parts, widths, len(self.suffixes), dtype)
        self._spare: list[Any] = []

    @property
    def cells(self) -> list[_core.Cell]:
        """The cell of each pass, over the present arrays of the parameters."""
        kept = self._from_arrays
        if kept is None or kept.version is not arrays_version():
            self.__dict__["_from_arrays"] = kept = self._made_cells(kept)
        return kept.cells

    def _made_cells(self, before: KeptCells | None) -> KeptCells:
        """New cells, unless the parameters still have the arrays of those `before`."""
        version = arrays_version()  # before the arrays: another thread may change them now
        arrays = {name: parameter.data for name, parameter in self._parameters.items()}
        if before is not None and all(arrays[name] is array for name, array in before.arrays.items()):
            return before._replace(version=version)
        cells = []
        for number, (suffix, shapes) in enumerate(self._shapes()):
            weights = {name: arrays[name + suffix] for name in shapes}
            cells.append(self._cell_of(number, weights, constant=all(map(is_frozen, weights.values()))))
        return KeptCells(version, arrays, cells)

    def _cell_of(self, number: int, weights: dict[str, np.ndarray], constant: bool = False) -> _core.Cell:
        """The cell of a pass, with these weights."""
        options = {name: getattr(self, name) for name in self.options if name != "layer_norm"}
        options |= {"matmul_precision": self._precision, "zoneout": self._zoneout, "constant": constant}
        return _core.Cell(self.cell, weights, reverse=number % self._directions == 1, **options)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in self._derived}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._derive()

    def __call__(
        self,
        x: ArrayLike,
        state: Any = None,
        *,
        lengths: ArrayLike | None = None,
        reset: ArrayLike | None = None,
        return_states: bool = False,
    ) -> tuple[Any, ...]:
        """Evaluate: no dropout, zoneout's expectation, and nothing is saved.

        Parameters
        ----------
        x : array_like
            ``[T, B, input_size]`` (``[B, T, input_size]`` with batch_first), or ``[T, input_size]``
            unbatched. Floats of another dtype than the layer's are cast.
        state : optional
            The initial state, ``[num_layers*D, B, hidden_size]`` (unbatched: ``[num_layers*D,
            hidden_size]``) with D = 2 if bidirectional, else 1; for LSTM a pair (h, c) of such arrays, h with
            proj_size in place of hidden_size where that is given; for SLSTM a tuple (h, c, n, m). None,
            also for a part of it, means zeros.
        lengths : array_like of integers, optional
            ``[B]``, with batch_first too (unbatched: one integer): how many steps each sequence has, 0..T, in
            any order. Nothing is read past them; the reverse direction starts at each sequence's own end.
        reset : array_like of bool, optional
            Laid out as x's first two axes. True where x[t, b] is the first observation of an episode: the
            state is set to zero before it is read. In the reverse direction, which comes from the other side,
            the state is set to zero before x[t-1, b] is read. Nothing crosses, neither values nor gradients.
        return_states : bool
            Return the state at every step too.

        Returns
        -------
        y : numpy.ndarray
            ``[T, B, D*hidden_size]`` (D*proj_size), laid out as x: the last layer's h at each step, the
            reverse direction's after the forward's; zero past the lengths.
        state
            The final state, in the initial state's form: of each sequence after its last step (of length 0:
            the initial one); the reverse direction's is the one at step 0.
        states
            Only with `return_states`: the state after reading x[t], in the form of `state` with the axes of
            time and batch in x's order: ``[num_layers*D, T, B, hidden_size]``; zero past the lengths.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong shape or dtype.
        """
        inputs, initial, sequences, layout = self._checked(x, state, lengths, reset)
        return_states = checks.flag("return_states", return_states)
        form, recorder = self.state_form, None
        if return_states:
            states = form.blank_steps(inputs, layout)
            recorder = Recorder(evaluate_pass, self._spare, states=states)
        y, final = _core.run_stack(
            self.cells, self._directions, sequences, inputs, initial, layout.batch_first, recorder
        )
        results = layout.as_given(y), form.state_as_given(final, layout)
        return results if recorder is None else (*results, form.steps_as_given(recorder.states, layout))

    def forward(
        self,
        x: ArrayLike,
        state: Any = None,
        *,
        lengths: ArrayLike | None = None,
        reset: ArrayLike | None = None,
        training: bool = True,
        rng: checks.Rng = None,
        checkpoint: bool | int | None = None,
        return_states: bool = False,
    ) -> tuple[Any, ...]:
        """Run and save what `backward` needs.

        Parameters
        ----------
        x : array_like
            As in calling the layer. The tape holds it by reference: do not write into it until `backward`.
        state, lengths, reset, return_states : optional
            As in calling the layer.
        training : bool
            False: no dropout of any kind, and zoneout's expectation.
        rng : int, numpy.random.Generator or None
            The seed of this pass's masks, in place of the layer's own: an integer gives the same masks at
            every call.
        checkpoint : bool, int or None
            Recomputation: the number of steps of a segment; True: about sqrt(T). Each pass then saves its
            state at the start of each segment, and no gates. `backward` runs the segments again, with the
            weights of that time. All results have the same bits, except the weights' gradients, whose sums
            are rounded differently.

        Returns
        -------
        y : numpy.ndarray
            As in calling the layer, but read-only: the tape shares its memory.
        state
            The final state, the caller's own.
        tape : Tape
            For `backward`.
        states
            Only with `return_states`: as in calling the layer, before dropout, and read-only.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong shape or dtype.

        Examples
        --------
        >>> import numpy as np, rnnfast as rf
        >>> gru = rf.GRU(3, 5, rng=0)
        >>> x = np.ones((10_000, 2, 3), np.float32)
        >>> y, h, tape = gru.forward(x, checkpoint=True)
        >>> dx, dh = gru.backward(tape, np.ones_like(y))
        >>> y, h, tape = gru.forward(x)
        >>> np.array_equal(gru.backward(tape, np.ones_like(y))[0], dx)
        True
        """
        y, *rest = self.record(x, state, lengths, reset, training, rng, checkpoint, return_states)
        if return_states:
            states = rest[-1]
            rest[-1] = tuple(map(read_only, states)) if isinstance(states, tuple) else read_only(states)
        return read_only(y), *rest

    def record(
        self,
        x: ArrayLike,
        state: Any = None,
        lengths: ArrayLike | None = None,
        reset: ArrayLike | None = None,
        training: bool = True,
        rng: checks.Rng = None,
        checkpoint: bool | int | None = None,
        return_states: bool = False,
    ) -> tuple[Any, ...]:
        """As `forward`, but y and the states are writable; nobody may change them before `backward`."""
        checks.flag("training", training)
        checks.flag("return_states", return_states)
        check_gradient(self)
        if rng is not None:
            checks.check_rng(rng)
        if checkpoint is not None:
            checkpoint = checks.checkpoint(checkpoint)
        inputs, initial, sequences, layout = self._checked(x, state, lengths, reset)
        if initial is not None:  # the tape keeps it, and the caller may go on writing into a state
            initial = tuple([None if part is None else part.copy() for part in initial])
        masks = self._masks(rng) if training else None
        cells = self.cells if masks is None else masks.on_cells(self.cells, self._cell_of)
        length = recomputation.segment_length(checkpoint, inputs)
        run = passes.pass_forward if length is None else partial(recomputation.pass_forward, length=length)
        if not self._trains:
            run = evaluate_pass
        form = self.state_form
        states = form.blank_steps(inputs, layout) if return_states else ()
        recorder = Recorder(run, self._spare, masks, states)
        y, final = _core.run_stack(
            cells, self._directions, sequences, inputs, initial, layout.batch_first, recorder
        )
        y = layout.as_given(y)
        saved = Saved(recorder.tapes, masks, layout, y.shape)
        results = y, form.state_as_given(final, layout), Tape(self, saved if self._trains else NO_GRADIENT)
        return (*results, form.steps_as_given(recorder.states, layout)) if return_states else results

    def stream(self, batch: int = 1) -> Stream:
        """This layer, one step a call: weights packed once, state kept.

        Parameters
        ----------
        batch : int
            B, the number of parallel sequences.

        Returns
        -------
        Stream
            ``y_t = step(x_t)`` from ``[B, input_size]`` to ``[B, hidden_size]`` (proj_size; with batch 1 also
            without the axis B), ``step.state``, ``step.reset(mask)``, ``step.refresh()``.

        Raises
        ------
        TypeError, ValueError
            If `batch` is no positive integer, or the layer is bidirectional.
        """
        return Stream(self, batch)

    def _checked(
        self, x: Any, state: Any, lengths: Any, reset: Any
    ) -> tuple[passes.Input, Any, _core.Sequences | None, Layout]:
        """x as [T, B, I], the parts of the state (None: zero), lengths and resets, the caller's layout."""
        embedded = isinstance(x, _core.Embedded)
        if not embedded:
            x = checks.floats("x", x, self.state_form.dtype)
        shape = x.shape
        batched = len(shape) == 3
        if not 2 <= len(shape) <= 3 or shape[-1] != self.input_size:
            axes = "B, T" if self.batch_first else "T, B"
            raise ValueError(
                f"x: expected shape [{axes}, {self.input_size}] or, unbatched, [T, {self.input_size}], "
                f"got {shape}"
            )
        layout = Layout(batched, batched and self.batch_first)
        if embedded:
            table = checks.block(checks.floats("x", x.table, self.state_form.dtype))
            inputs: passes.Input = _core.Embedded(table, layout.time_major(x.tokens))
        else:
            inputs = layout.time_major(checks.rows(x))
        T, B, _ = inputs.shape
        sequences = None
        if lengths is not None or reset is not None:
            if lengths is not None and not batched:
                if np.ndim(lengths):
                    raise ValueError(f"lengths: expected one integer, as x is unbatched, got {lengths!r}")
                lengths = checks.as_array("lengths", lengths)[np.newaxis]
            reset = checks.checked_reset(reset, shape[:-1])
            reset = None if reset is None else layout.time_major(reset)
            sequences = passes.sequences_of(checks.checked_lengths(lengths, T, B), reset, T, B)
        if state is not None:
            state = self.state_form.checked("state", state, (len(self.suffixes), *((B,) if batched else ())))
            state = self.state_form.parts_of(state, batched)
        return inputs, state, sequences, layout

    def backward(
        self,
        tape: Tape,
        dy: ArrayLike | None = None,
        dstate: Any = None,
        *,
        dstates: Any = None,
        input_grad: bool = True,
        retain: bool = False,
        grads: dict[str, np.ndarray] | None = None,
    ) -> tuple[np.ndarray | None, Any]:
        """Go back through one forward pass: gradients of its input, initial state and parameters.

        Parameters
        ----------
        tape : Tape
            From this layer's `forward`. It is used up, unless `retain`.
        dy : array_like, optional
            The gradient of y, of y's shape. None means zero. Past the lengths it is not read.
        dstate : optional
            The gradient of the final state, in the state's form. None means zero, as does any part of it.
        dstates : optional
            The gradient of the state at every step, in the form in which ``return_states=True`` gives it; it
            adds to those of y and of the final state. None means zero, as does any part of it.
        input_grad, retain, grads
            As every module's `backward` has them.

        Returns
        -------
        dx : numpy.ndarray or None
            The gradient of x, of its shape, zero past the lengths; None with ``input_grad=False``.
        dstate
            The gradient of the initial state, in the state's form.

        Raises
        ------
        TypeError, ValueError
            Before anything is written: the tape is another module's or used up, or an argument has the wrong
            shape or dtype.
        RuntimeError
            Without `retain`, while another thread runs a backward pass over the tape with it.
        """
        given = dstate if dstates is None else StateGradients(dstate, dstates)
        return super().backward(tape, dy, given, input_grad=input_grad, retain=retain, grads=grads)

    def _check_gradients(
        self, saved: Saved, dy: ArrayLike | None, dstate: Any
    ) -> tuple[np.ndarray | None, Any]:
        last, every = dstate if isinstance(dstate, StateGradients) else (dstate, None)
        count, B = len(saved.tapes), saved.tapes[0].x.shape[1]
        if dy is not None:
            dy = checks.shaped("dy", dy, self.state_form.dtype, saved.y_shape)
        if last is not None:
            last = self.state_form.checked("dstate", last, (count, *((B,) if saved.layout.batched else ())))
        if every is None:
            return dy, last
        every = self.state_form.checked("dstates", every, (count, *saved.y_shape[:-1]))
        return dy, StateGradients(last, every)

    def _backward(
        self, saved: Saved, dy: np.ndarray | None, dstate: Any, input_grad: bool, retain: bool
    ) -> tuple[np.ndarray | None, Any, dict[str, np.ndarray]]:
        form, layout = self.state_form, saved.layout
        if dy is not None:
            dy = layout.time_major(checks.rows(dy))
        last, every = dstate if isinstance(dstate, StateGradients) else (dstate, None)
        d_final = None if last is None else form.parts_of(last, layout.batched)
        dh_steps, *d_steps = form.steps_of(every, layout)
        embedded = isinstance(saved.tapes[0].x, _core.Embedded)
        dx, d_initial, gradients = backward_stack(
            saved, form, self._directions, dy, d_final, dh_steps, d_steps, input_grad, retain
        )
        if dx is not None and not embedded:
            dx = layout.as_given(dx)
        fresh = {
            name + suffix: gradient
            for suffix, own in zip(self.suffixes, gradients, strict=True)
            for name, gradient in own.items()
        }
        return dx, form.state_as_given(d_initial, layout), fresh

    def __repr__(self) -> str:
        options = [f"{self.input_size}, {self.hidden_size}"]
        defaults = {
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
            "proj_size": 0,
            "num_heads": 1,
            "peephole": False,
            "matmul_precision": "float32",
            **self.rates,
            **self.options,
        }
        options += [
            f"{name}={value!r}"
            for name, default in defaults.items()
            if (value := getattr(self, name, default)) != default
        ]
        return f"{type(self).__name__}({', '.join(options)}, dtype={str(self.dtype)!r})"
