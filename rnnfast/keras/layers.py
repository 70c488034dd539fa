"""SimpleRNN, LSTM and GRU in place of `keras.layers`'."""

from __future__ import annotations

from typing import Any, ClassVar

import keras

from rnnfast.keras.activations import NONLINEARITIES, activation_name
from rnnfast.keras.kernels import Accelerated

__all__ = ["GRU", "LSTM", "SimpleRNN"]

_registered = keras.saving.register_keras_serializable(package="rnnfast")
_GATED = {"activation": ("tanh",), "recurrent_activation": ("sigmoid",)}


@_registered
class SimpleRNN(Accelerated, keras.layers.SimpleRNN):
    """`keras.layers.SimpleRNN` on rnnfast's kernels: a subclass with the same arguments, weights and results.

    Parameters
    ----------
    units : int
        H, the number of units.
    activation : {"tanh", "relu", "sigmoid", "linear"}
        Keras's own code runs the layer with any other.
    **keywords
        All of `keras.layers.SimpleRNN`. Keras's own code also runs a call in training with
        `recurrent_dropout`.

    Raises
    ------
    ValueError
        Keras's own, for a wrong argument.

    References
    ----------
    The equation is in `rnnfast.RNN`.

    Examples
    --------
    >>> import keras, rnnfast.keras
    >>> rnn = rnnfast.keras.SimpleRNN(5, activation="relu", return_sequences=True)
    >>> tuple(rnn(keras.ops.ones((2, 7, 3))).shape)
    (2, 7, 5)
    """

    _cell = "rnn"
    _gates = (0,)
    _activations: ClassVar = {"activation": tuple(NONLINEARITIES)}

    def _options(self) -> dict[str, Any]:
        return {"nonlinearity": NONLINEARITIES[str(activation_name(self.cell.activation))]}


@_registered
class LSTM(Accelerated, keras.layers.LSTM):
    """`keras.layers.LSTM` on rnnfast's kernels: a subclass with the same arguments, weights and results.

    Parameters
    ----------
    units : int
        H, the number of units.
    **keywords
        All of `keras.layers.LSTM`. Keras's own code runs the layer with another `activation` than tanh or
        another `recurrent_activation` than sigmoid, and a call in training with `recurrent_dropout`.
        `unroll` and `use_cudnn` have no effect on the kernels.

    Raises
    ------
    ValueError
        Keras's own, for a wrong argument.

    References
    ----------
    The equations and their sources are in `rnnfast.LSTM`.

    Examples
    --------
    >>> import keras, rnnfast.keras
    >>> lstm = rnnfast.keras.LSTM(5, return_state=True)
    >>> y, h, c = lstm(keras.ops.ones((2, 7, 3)))
    >>> isinstance(lstm, keras.layers.LSTM), tuple(y.shape), tuple(c.shape)
    (True, (2, 5), (2, 5))
    """

    _cell = "lstm"
    _gates = (0, 1, 2, 3)
    _activations: ClassVar = _GATED


@_registered
class GRU(Accelerated, keras.layers.GRU):
    """`keras.layers.GRU` on rnnfast's kernels: a subclass with the same arguments, weights and results.

    Parameters
    ----------
    units : int
        H, the number of units.
    reset_after : bool
        Whether the reset gate acts after the product with the recurrent kernel or before it; both have
        kernels.
    **keywords
        All of `keras.layers.GRU`; what Keras's own code runs is as for `rnnfast.keras.LSTM`.

    Raises
    ------
    ValueError
        Keras's own, for a wrong argument.

    References
    ----------
    The equations and their sources are in `rnnfast.GRU`.

    Examples
    --------
    >>> import keras, rnnfast.keras
    >>> model = keras.Sequential(
    ...     [
    ...         keras.Input((None, 3)),
    ...         keras.layers.Bidirectional(rnnfast.keras.GRU(5)),
    ...         keras.layers.Dense(2),
    ...     ]
    ... )
    >>> model.compile(optimizer="adam", loss="mse")
    >>> x, targets = keras.ops.ones((4, 7, 3)), keras.ops.zeros((4, 2))
    >>> history = model.fit(x, targets, epochs=2, verbose=0)
    >>> history.history["loss"][1] < history.history["loss"][0]
    True
    """

    _cell = "gru"
    _gates = (1, 0, 2)
    _activations: ClassVar = _GATED

    def _options(self) -> dict[str, Any]:
        return {"reset_after": self.cell.reset_after}
