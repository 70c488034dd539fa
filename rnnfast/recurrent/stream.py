"""Streams: a stack of recurrent layers one step a call, over a snapshot of its weights that is packed once.

A stream has a state of its own. Its outputs have the same bits as its layer's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from rnnfast import _core, checks

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from rnnfast.recurrent.base import Recurrent


__all__ = ["Stream"]


class Stream(_core.Stepper):
    """One step a call through a stack of layers; made by ``layer.stream(batch)``.

    Calling it with ``x_t [B, input_size]`` takes one step and returns ``y_t [B, P]``, a new array, where P is
    the width of h. With batch 1 it also takes ``[input_size]`` and returns ``[P]``.

    A call holds the GIL, or in free-threaded Python the stream alone. So several threads may use one stream.
    Each step happens as a whole, in the order in which the threads come. So does each reading, setting or
    reset of the state.

    Parameters
    ----------
    layer : RNN, LSTM or GRU
        In one direction.
    batch : int
        B, the number of sequences that run side by side.

    Raises
    ------
    TypeError, ValueError
        If `batch` is no positive integer, or the layer is bidirectional.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> lstm = rf.LSTM(3, 8, num_layers=2, rng=0)
    >>> x = np.ones((5, 1, 3), np.float32)
    >>> y, (h, c) = lstm(x)
    >>> step = lstm.stream()
    >>> all(np.array_equal(step(x_t), y_t) for x_t, y_t in zip(x, y))
    True
    >>> np.array_equal(step.state[1], c)
    True
    """

    def __init__(self, layer: Recurrent, batch: int = 1) -> None:
        batch = checks.positive("batch", batch)
        if layer.bidirectional:
            raise ValueError("stream: expected a layer in one direction, got bidirectional=True")
        widest = max(layer.hidden_size, layer.input_size)
        checks.fits({"batch": batch}, 2 * layer.num_layers * batch * widest, layer.state_form.dtype)
        super().__init__(layer, batch)
        self._layer = layer
        self._batch = batch

    def _check(self, x: ArrayLike) -> np.ndarray:
        """x as the kernels read it."""
        x = checks.floats("x", x, self._layer.state_form.dtype)
        want = (self._batch, self._layer.input_size)
        if x.shape != want and (self._batch > 1 or x.shape != want[1:]):
            raise ValueError(f"x: expected shape {list(want)}, got {x.shape}")
        return np.require(x, requirements=("C", "A"))

    @property
    def state(self) -> Any:
        """A copy of the state, in the form of the layer's with this batch. May be set; None is zero."""
        parts = self.read_state()
        return parts if len(parts) > 1 else parts[0]

    @state.setter
    def state(self, state: Any) -> None:
        self.take_state(self.checked_state(state))

    def checked_state(self, state: Any) -> tuple[np.ndarray | None, ...]:
        """The parts of a state that fits this stream; None for one that is zero. Nothing is written."""
        if state is None:
            return (None,) * len(self._layer.parts)
        leading = (self._layer.num_layers, self._batch)
        try:
            checked = self._layer.state_form.checked("state", state, leading)
        except ValueError as error:
            parts = state if isinstance(state, (tuple, list)) else (state,)
            if any(np.asarray(part, object).ndim == len(leading) for part in parts):  # ragged lists too
                raise ValueError(
                    f"{error}: a stream's state has an axis of the batch, also for one sequence; "
                    "state[:, None] adds it to the state of an unbatched x"
                ) from error
            raise
        return checked if isinstance(checked, tuple) else (checked,)

    def take_state(self, parts: tuple[np.ndarray | None, ...]) -> None:
        """Set the state to what `checked_state` gave."""
        self.write_state([None if part is None else checks.block(part) for part in parts])

    def reset(self, mask: ArrayLike | None = None) -> None:
        """Set the state to zero.

        Parameters
        ----------
        mask : bool ndarray [B], optional
            The sequences to reset; all by default.

        Raises
        ------
        TypeError, ValueError
            If the mask is not bool, or not of shape [B].
        """
        chosen = checks.row_mask("mask", mask, self._batch)
        self.clear_state(None if mask is None else np.ascontiguousarray(chosen))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a stream cannot be pickled or copied: make one from the layer, and set its state")
