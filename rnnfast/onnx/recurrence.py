"""One recurrent node, ready to run: on the kernels where they compute it, in NumPy elsewhere."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rnnfast import _core, checks
from rnnfast.functional import passes
from rnnfast.onnx.cells import State, run_direction
from rnnfast.onnx.node import Node
from rnnfast.onnx.weights import Weights, from_onnx

__all__ = ["Recurrence"]

Array = np.ndarray


class _Ready(NamedTuple):
    """A node's weights, checked and in the form that its path wants."""

    weights: Any  # Weights in the dtype that is computed with; None on the kernels
    cells: list[_core.Cell]  # of each direction; none in NumPy
    dtype: np.dtype  # of the weights as they came
    computed: np.dtype
    input_size: int
    hidden_size: int


class Recurrence:
    """A node that can be called with its inputs.

    Parameters
    ----------
    node : Node
    weights : Weights, optional
        Those that every call will bring, where they never change: they are then made ready once.
    matmul_precision : {"float32", "bfloat16", "int8"}
        Of its products; float64 nodes have "float32" alone.
    scales : Weights, optional
        W and R ``[D, G*H]``, where `weights` are integers of -127..127 times these. The kernels then multiply
        with these integers in int8, whatever `matmul_precision` is. In NumPy they change nothing.

    Attributes
    ----------
    path : {"kernels", "numpy"}
        Where it runs.

    Notes
    -----
    float16 and bfloat16 are computed in float32, and the results rounded.

    Examples
    --------
    >>> import numpy as np, onnx
    >>> from rnnfast.onnx.node import read_node
    >>> from rnnfast.onnx.recurrence import Recurrence
    >>> node = read_node(onnx.helper.make_node("RNN", ["x", "w", "r"], ["y"], clip=0.5))
    >>> recurrence = Recurrence(node)
    >>> recurrence.path
    'numpy'
    >>> Y, Y_h = recurrence(np.ones((3, 2, 1)), np.ones((1, 1, 1)), np.ones((1, 1, 1)))
    >>> Y.shape, Y_h.shape
    ((3, 1, 2, 1), (1, 2, 1))
    """

    def __init__(
        self,
        node: Node,
        weights: Weights | None = None,
        matmul_precision: str = "float32",
        scales: Weights | None = None,
    ) -> None:
        self.node = node
        self._precision = matmul_precision
        self.path = "kernels" if node.without_kernel is None else "numpy"
        self._ready = None if weights is None else self._made_ready(weights, scales, constant=True)

    @property
    def is_ready(self) -> bool:
        """Whether it has its weights, so that calls may leave them out."""
        return self._ready is not None

    def _made_ready(self, weights: Weights, scales: Weights | None, constant: bool = False) -> _Ready:
        """`weights`, checked, in the form that the path wants; `constant`: whether they never change."""
        node, precision = self.node, self._precision
        weights.check(node)
        checks.precision("matmul_precision", precision, weights.computed)
        cast = weights.cast()
        cells = []
        for direction, reverse in enumerate(node.reverse if self.path == "kernels" else ()):
            own = from_onnx(node, cast, direction)
            options = node.options(direction) | {"matmul_precision": precision, "constant": constant}
            if scales is not None:
                options |= {"matmul_precision": "int8", "scales": from_onnx(node, scales, direction)}
            cells.append(_core.Cell(node.operator.lower(), own, reverse=reverse, **options))
        _, _, I = weights.W.shape
        H = weights.R.shape[2]
        return _Ready(None if cells else cast, cells, weights.W.dtype, weights.computed, I, H)

    def __call__(
        self,
        X: Array,
        W: Any = None,
        R: Any = None,
        B: Array | None = None,
        sequence_lens: Array | None = None,
        initial_h: Array | None = None,
        initial_c: Array | None = None,
        P: Array | None = None,
        *,
        scales: Weights | None = None,
    ) -> tuple[Array, ...]:
        """Run the node.

        Parameters
        ----------
        X : ndarray [T, B, I]
            ``[B, T, I]`` with layout 1.
        W, R, B, P : ndarray [D, G*H, I], [D, G*H, H], [D, 2*G*H], [D, 3*H]
            B and P may be None; where the weights are ready, none is read.
        sequence_lens : ndarray [B] of integers, or None
            In 0..T. A sequence of length 0 leaves its state as it is.
        initial_h, initial_c : ndarray [D, B, H] or None
            ``[B, D, H]`` with layout 1.
        scales : Weights, optional
            Of W and R, as the constructor takes them.

        Returns
        -------
        Y, Y_h and, of an LSTM, Y_c : ndarray [T, D, B, H], [D, B, H]
            ``[B, T, D, H]`` and ``[B, D, H]`` with layout 1. Y is zero past the lengths.

        Raises
        ------
        TypeError, ValueError
            If an input has the wrong dtype or shape; the message names it.
        """
        ready = self._ready or self._made_ready(Weights(W, R, B, P), scales)
        dtype = X.dtype
        if dtype != ready.dtype:
            raise TypeError(f"X: expected W's dtype {ready.dtype}, got {dtype}")
        if X.ndim != 3 or X.shape[2] != ready.input_size:
            raise ValueError(f"X: expected three axes, the last of {ready.input_size}, got shape {X.shape}")
        x = checks.rows(self._swapped(X if ready.computed == dtype else X.astype(ready.computed)))
        T, batch, _ = x.shape
        state = [self._state("initial_h", initial_h, ready, batch)]
        if self.node.operator == "LSTM":
            state.append(self._state("initial_c", initial_c, ready, batch))
        lengths = None if sequence_lens is None else _lengths(sequence_lens, T, batch)
        run: Any = self._on_kernels if self.path == "kernels" else self._in_numpy
        outputs: tuple[Array, ...] = run(ready, x, state, lengths)
        return tuple([np.ascontiguousarray(array, dtype) for array in outputs])

    def _state(self, name: str, array: Array | None, ready: _Ready, batch: int) -> Array | None:
        """A part of the initial state, as [D, B, H]."""
        if array is None:
            return None
        D, H = len(self.node.reverse), ready.hidden_size
        if array.dtype != ready.dtype:
            raise TypeError(f"{name}: expected X's dtype {ready.dtype}, got {array.dtype}")
        if array.shape != ((batch, D, H) if self.node.batch_first else (D, batch, H)):
            expected = [batch, D, H] if self.node.batch_first else [D, batch, H]
            raise ValueError(f"{name}: expected shape {expected}, got {array.shape}")
        return checks.block(
            self._swapped(array if ready.computed == ready.dtype else array.astype(ready.computed))
        )

    def _on_kernels(
        self, ready: _Ready, x: Array, state: list[Array | None], lengths: Array | None
    ) -> tuple[Array, ...]:
        T, B, _ = x.shape
        D, H, cells = len(self.node.reverse), ready.hidden_size, ready.cells
        sequences = None if lengths is None else passes.sequences_of(lengths, None, T, B)
        y, final = _core.run_stack(cells, D, sequences, x, tuple(state), self.node.batch_first)
        if self.node.batch_first:
            return y.swapaxes(0, 1).reshape(B, T, D, H), *map(self._swapped, final)
        return y.reshape(T, B, D, H).swapaxes(1, 2), *final

    def _in_numpy(
        self, ready: _Ready, x: Array, state: list[Array | None], lengths: Array | None
    ) -> tuple[Array, ...]:
        T, B, _ = x.shape
        D, H = len(self.node.reverse), ready.hidden_size
        Y = np.empty((T, D, B, H), x.dtype)
        finals: list[State] = []
        for d in range(D):
            initial = tuple(np.zeros((B, H), x.dtype) if part is None else part[d] for part in state)
            Y[:, d], final = run_direction(self.node, d, ready.weights, x, initial, lengths, self._precision)
            finals.append(final)
        if self.node.batch_first:
            Y = np.moveaxis(Y, 2, 0)
        return Y, *(self._swapped(np.stack(part)) for part in zip(*finals, strict=True))

    def _swapped(self, array: Array) -> Array:
        """The first two axes exchanged where the node's layout is batch first."""
        return array.swapaxes(0, 1) if self.node.batch_first else array


def _lengths(sequence_lens: Array | None, T: int, B: int) -> Array | None:
    """`sequence_lens` checked, as the kernels take it."""
    try:
        return checks.checked_lengths(sequence_lens, T, B)
    except (TypeError, ValueError) as error:
        raise type(error)(f"sequence_lens: {error}") from error
