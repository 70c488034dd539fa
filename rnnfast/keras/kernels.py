"""What the layers add to Keras's: a loop over the steps that runs in the kernels, where they can run it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from keras import ops, tree

from rnnfast.keras.activations import activation_name, described_activation
from rnnfast.keras.backend import backend
from rnnfast.keras.fallback import Obstacle, warn_of
from rnnfast.keras.masks import KeptSteps

__all__ = ["Accelerated"]

# The dtype in which kernels compute, and the precision of their products, for each of Keras's dtypes.
PRECISIONS = {
    "float64": ("float64", "float32"),
    "float32": ("float32", "float32"),
    "bfloat16": ("float32", "bfloat16"),
    "float16": ("float32", "float32"),
}


class Accelerated:
    """A mixin before a recurrent layer of Keras: all is that one's, but the loop over the steps.

    Attributes
    ----------
    _cell : str
        The cell's name in the backend.
    _gates : tuple of int
        The place in Keras's weights of each block of ours.
    _activations : mapping
        Keras's activations that the cell has, by the attribute of Keras's cell.
    """

    _cell: ClassVar[str]
    _gates: ClassVar[tuple[int, ...]]
    _activations: ClassVar[Mapping[str, tuple[str, ...]]]
    cell: Any
    go_backwards: bool
    return_sequences: bool
    stateful: bool
    unroll: bool
    zero_output_for_mask: bool

    def inner_loop(
        self, sequences: Any, initial_state: Any, mask: Any, training: bool = False
    ) -> tuple[Any, Any, list[Any]]:
        """The last output, the outputs at all steps and the parts of the final state; Keras calls it.

        The outputs at all steps are Keras's only with return_sequences; without, Keras does not read them.
        """
        state = tree.flatten(initial_state)
        mask = mask[0] if tree.is_nested(mask) else mask
        sequences = ops.cast(sequences, self.cell.compute_dtype)
        what = (
            self._obstacle(training)
            or backend.obstacle([sequences, *state, self.cell.kernel])
            or _obstacle_of_mask(mask, sequences)
        )
        if what is not None:
            warn_of(what)
            return super().inner_loop(sequences, initial_state, mask, training)  # type: ignore[misc]
        if training and self.cell.dropout:
            dropped = self.cell.get_dropout_mask(sequences[:, 0])
            sequences = sequences * ops.expand_dims(dropped, 1)
        if self.go_backwards:
            sequences = ops.flip(sequences, axis=1)
        if self.stateful:  # Keras writes the final state into the variables of the initial one
            state = [ops.copy(part) for part in state]
        if mask is None:
            y, state = self._run(sequences, state, None)
            return state[0], y, state
        return self._masked(sequences, state, ops.cast(mask, "bool"))

    def _masked(self, sequences: Any, initial: list[Any], mask: Any) -> tuple[Any, Any, list[Any]]:
        """`inner_loop` with a mask [B, T]; the sequences are in the order in which they are run."""
        kept = KeptSteps(ops.flip(mask, axis=1) if self.go_backwards else mask)
        y, state = self._run(kept.packed(sequences), initial, kept.lengths)
        if self.zero_output_for_mask:
            first = None
        elif backend.REPEATS_INITIAL_STATE and not self.unroll:
            first = ops.cast(initial[0], y.dtype)
        else:
            first = ops.zeros_like(state[0])
        if self.return_sequences:
            y = kept.outputs(y, state[0], first)
        return kept.last_output(state[0], first), y, state

    def _run(self, x: Any, state: list[Any], lengths: Any) -> tuple[Any, list[Any]]:
        """The outputs [B, T, H] and the parts of the final state [B, H], of x [B, T, I]."""
        dtype, precision = PRECISIONS[self.cell.compute_dtype]
        weights = [ops.cast(weight, dtype) for weight in self._weights()]
        y, state = backend.run(
            self._cell,
            self._options(),
            ops.cast(x, dtype),
            [ops.cast(part, dtype) for part in state],
            weights,
            lengths,
            precision,
        )
        return y, list(state)

    def _options(self) -> dict[str, Any]:
        """The options of the cell."""
        return {}

    def _obstacle(self, training: bool) -> Obstacle | None:
        """What keeps the kernels from this layer's options; None if nothing does."""
        cell = self.cell
        for name, known in self._activations.items():
            activation = getattr(cell, name)
            found = activation_name(activation)
            if found not in known:
                reason = f"{name}={found!r}" if found else f"{described_activation(activation)} as {name}"
                return Obstacle(reason, f"take {' or '.join(map(repr, known))}")
        if training and cell.recurrent_dropout:
            return Obstacle(
                "recurrent_dropout in training", "set it to 0; `dropout` and evaluation have kernels"
            )
        if training and cell.dropout and getattr(cell, "implementation", 2) == 1:
            return Obstacle("dropout with implementation=1", "take implementation=2")
        if cell.compute_dtype not in PRECISIONS:
            return Obstacle(f"the dtype {cell.compute_dtype}", f"take one of {', '.join(PRECISIONS)}")
        return None

    def _weights(self) -> list[Any]:
        """Keras's weights in our layout: weight_ih, weight_hh and, with biases, bias_ih and bias_hh."""
        cell = self.cell
        weights = [self._blocks(ops.transpose(kernel)) for kernel in (cell.kernel, cell.recurrent_kernel)]
        if not cell.use_bias:
            return weights
        bias = ops.convert_to_tensor(cell.bias)
        biases = [bias[0], bias[1]] if len(bias.shape) == 2 else [bias, ops.zeros_like(bias)]
        return weights + [self._blocks(bias) for bias in biases]

    def _blocks(self, weight: Any) -> Any:
        """A weight whose first axis has Keras's order of gates, in our order."""
        if self._gates == tuple(range(len(self._gates))):
            return weight
        blocks = ops.split(weight, len(self._gates), axis=0)
        return ops.concatenate([blocks[place] for place in self._gates], axis=0)


def _obstacle_of_mask(mask: Any, sequences: Any) -> Obstacle | None:
    """What keeps the kernels from a mask; None if nothing does."""
    if mask is None or tuple(mask.shape) == tuple(sequences.shape[:2]):
        return None
    return Obstacle("a mask of another shape than [B, T]", "give the mask the first two axes of the input")
