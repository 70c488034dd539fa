"""Weights of Keras 3 layers, in and out: SimpleRNN, LSTM, GRU, and Bidirectional around them.

A Keras weight is [inputs, G*H], the transpose of ours. Its GRU has the gates z, r, n instead of r, z, n; its
biases are one vector [G*H], but a GRU with ``reset_after=True`` has two, [2, G*H], as ours. Keras itself is
not imported: its layers give and take plain lists of arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnfast import checks
from rnnfast.keras.activations import NONLINEARITIES, activation_name, described_activation
from rnnfast.recurrent import GRU, LSTM, RNN, Recurrent

__all__ = ["from_layer", "get_weights", "load_weights"]


def load_weights(layer: Recurrent, weights: Sequence[ArrayLike]) -> None:
    """Give a layer the weights of Keras layers.

    Parameters
    ----------
    layer : RNN, LSTM or GRU
        Takes the weights over, cast to its dtype.
    weights : sequence of array_like
        What ``get_weights()`` of the Keras layer gives: kernel [I, G*H], recurrent_kernel [H, G*H] and, with
        biases, bias; of a ``Bidirectional`` those of the forward layer, then those of the backward one. For a
        layer with ``num_layers`` above 1, the lists of the Keras layers one after the other.

    Raises
    ------
    TypeError, ValueError
        Before anything is written: weights that do not fit, or a layer that Keras has no counterpart of.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> from rnnfast.keras import get_weights, load_weights
    >>> gru, other = rf.GRU(2, 3, rng=0), rf.GRU(2, 3, rng=1)
    >>> weights = get_weights(gru)
    >>> [weight.shape for weight in weights]
    [(2, 9), (3, 9), (2, 9)]
    >>> load_weights(other, weights)
    >>> x = np.ones((4, 1, 2), np.float32)
    >>> np.array_equal(gru(x)[0], other(x)[0])
    True
    """
    suffixes = _suffixes(layer)
    each = 3 if layer.bias else 2
    if len(weights) != each * len(suffixes):
        raise ValueError(f"weights: expected {each * len(suffixes)} arrays, got {len(weights)}")
    H, G = layer.hidden_size, layer.gates
    state: dict[str, NDArray] = {}
    for number, suffix in enumerate(suffixes):
        I = getattr(layer, f"weight_ih{suffix}").shape[1]
        shapes = [(I, G * H), (H, G * H), (2, G * H) if _two_biases(layer) else (G * H,)][:each]
        kernel, recurrent, *bias = (
            _reordered(layer, checks.shaped(f"weights[{n}]", weights[n], _dtype(layer), shape))
            for n, shape in enumerate(shapes, each * number)
        )
        state[f"weight_ih{suffix}"], state[f"weight_hh{suffix}"] = kernel.T, recurrent.T
        for array in bias:
            both = array if array.ndim == 2 else (array, np.zeros_like(array))
            state[f"bias_ih{suffix}"], state[f"bias_hh{suffix}"] = both
    layer.load_state_dict(state)


def get_weights(layer: Recurrent) -> list[NDArray]:
    """A layer's weights in the form that ``set_weights`` of a Keras layer takes.

    Parameters
    ----------
    layer : RNN, LSTM or GRU

    Returns
    -------
    list of ndarray
        Copies in row order (C-contiguous), as `load_weights` takes them. Where Keras has one bias, it is the
        sum of the layer's two.

    Raises
    ------
    TypeError, ValueError
        A layer that Keras has no counterpart of.

    Examples
    --------
    See :func:`load_weights`.
    """
    weights = []
    for suffix in _suffixes(layer):
        own = [f"weight_ih{suffix}", f"weight_hh{suffix}"]
        weights += [np.ascontiguousarray(_reordered(layer, getattr(layer, name).data.T)) for name in own]
        if layer.bias:
            biases = getattr(layer, f"bias_ih{suffix}").data, getattr(layer, f"bias_hh{suffix}").data
            weights.append(_reordered(layer, np.stack(biases) if _two_biases(layer) else sum(biases)))
    return weights


def from_layer(keras_layer: Any) -> Recurrent:
    """A layer that computes what a Keras layer does, with its weights, ``batch_first``.

    It always gives y at every step, and the final state. What Keras gives without ``return_sequences`` is
    ``y[:, -1]``, and of two directions what `Last` gives: the reverse half at the first step. Dropout and
    recurrent dropout, which act in training alone, are not taken over.

    Parameters
    ----------
    keras_layer : keras.layers.SimpleRNN, LSTM, GRU, or Bidirectional around one
        Built, so that it has weights.

    Returns
    -------
    RNN, LSTM or GRU

    Raises
    ------
    TypeError, ValueError
        Another layer, or one without a kernel: because of its activation (such as a function or a layer of
        the user's) or its order of steps.

    Examples
    --------
    With Keras installed::

        layer = keras.layers.LSTM(64, return_sequences=True)
        layer.build((None, None, 8))
        lstm = rnnfast.keras.from_layer(layer)
        y, state = lstm(x)      # x [B, T, 8]
    """
    bidirectional = type(keras_layer).__name__ == "Bidirectional"
    if bidirectional and keras_layer.merge_mode != "concat":
        raise ValueError(f"keras_layer: expected merge_mode='concat', got {keras_layer.merge_mode!r}")
    inner = keras_layer.forward_layer if bidirectional else keras_layer
    kind, config = _described(inner, go_backwards=False)
    if bidirectional:
        other_kind, other = _described(keras_layer.backward_layer, go_backwards=True)
        for name in ("units", "use_bias", "activation", "reset_after"):
            if (kind, config.get(name)) != (other_kind, other.get(name)):
                raise ValueError(
                    f"keras_layer: expected two directions that are alike, got {kind} with "
                    f"{name}={config.get(name)!r} and {other_kind} with {name}={other.get(name)!r}"
                )
    weights = keras_layer.get_weights()
    if not weights:
        raise ValueError("keras_layer: expected one that is built, got one without weights")
    sizes = weights[0].shape[0], config["units"]
    common = {
        "bias": config["use_bias"],
        "batch_first": True,
        "bidirectional": bidirectional,
        "dtype": weights[0].dtype,
    }
    layer: Recurrent
    if kind == "SimpleRNN":
        layer = RNN(*sizes, nonlinearity=NONLINEARITIES[str(activation_name(inner.activation))], **common)
    elif kind == "LSTM":
        layer = LSTM(*sizes, **common)
    else:
        layer = GRU(*sizes, reset_after=config["reset_after"], **common)
    load_weights(layer, weights)
    return layer


def _described(keras_layer: Any, *, go_backwards: bool) -> tuple[str, dict[str, Any]]:
    """The kind of a Keras layer of one direction, and its options; an error if no kernel does the same."""
    kind = type(keras_layer).__name__
    if kind not in ("SimpleRNN", "LSTM", "GRU"):
        raise TypeError(f"keras_layer: expected a SimpleRNN, LSTM or GRU of Keras, got {kind}")
    config = keras_layer.get_config()
    if config["go_backwards"] != go_backwards:
        raise ValueError(f"keras_layer: expected go_backwards={go_backwards}, got {config['go_backwards']!r}")
    if kind == "SimpleRNN":
        _check_activation(keras_layer, "activation", *NONLINEARITIES)
    else:
        _check_activation(keras_layer, "activation", "tanh")
        _check_activation(keras_layer, "recurrent_activation", "sigmoid")
    return kind, config


def _check_activation(keras_layer: Any, name: str, *wanted: str) -> None:
    """A ValueError unless an activation is Keras's own of one of these names."""
    function = getattr(keras_layer, name)
    found = activation_name(function)
    if found in wanted:
        return
    one_of = f"={wanted[0]!r}" if len(wanted) == 1 else f" to be one of {', '.join(map(repr, wanted))}"
    got = described_activation(function) if found is None else repr(found)
    raise ValueError(f"keras_layer: expected {name}{one_of}, got {got}")


def _suffixes(layer: Recurrent) -> list[str]:
    """The ends of the names of each pass's parameters, in Keras's order; an error if it has no such layer."""
    if not isinstance(layer, (RNN, LSTM, GRU)):
        raise TypeError(f"layer: expected an RNN, LSTM or GRU, got {type(layer).__name__}")
    for option, plain in (
        ("proj_size", 0),
        ("peephole", False),
        ("coupled_gates", False),
        ("cell_clip", None),
        ("layer_norm", False),
        ("zoneout", 0.0),
    ):
        if getattr(layer, option, plain) != plain:
            raise ValueError(f"layer: expected one without {option}, which Keras lacks")
    directions = ("", "_reverse") if layer.bidirectional else ("",)
    return [f"_l{n}{direction}" for n in range(layer.num_layers) for direction in directions]


def _dtype(layer: Recurrent) -> np.dtype:
    return layer.parameters()[0].dtype


def _two_biases(layer: Recurrent) -> bool:
    return isinstance(layer, GRU) and layer.reset_after


def _reordered(layer: Recurrent, array: NDArray) -> NDArray:
    """The blocks along the last axis from our order to Keras's, or back: a GRU's r and z change places."""
    if not isinstance(layer, GRU):
        return array
    r, z, n = np.split(array, 3, axis=-1)
    return np.concatenate([z, r, n], axis=-1)
