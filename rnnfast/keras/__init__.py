"""Layers of Keras 3 on rnnfast's kernels, and the weights of Keras layers, in and out.

    import rnnfast.keras

    lstm = rnnfast.keras.LSTM(64)          # in place of keras.layers.LSTM

This file only gathers the public names. `weights` needs no Keras. `layers` has the classes, and is imported,
with Keras, when one of them is asked for: `kernels` chooses who runs a call, `masks` brings masked steps into
the form that kernels take, `on_torch` and `on_jax` run the kernels in Keras's backend.
"""

from typing import TYPE_CHECKING, Any

from rnnfast.keras.fallback import FallbackWarning
from rnnfast.keras.weights import from_layer, get_weights, load_weights

if TYPE_CHECKING:
    from rnnfast.keras.layers import GRU, LSTM, SimpleRNN

__all__ = [
    "GRU",
    "LSTM",
    "FallbackWarning",
    "SimpleRNN",
    "from_layer",
    "get_weights",
    "load_weights",
]

_LAYERS = ("GRU", "LSTM", "SimpleRNN")


def __getattr__(name: str) -> Any:
    if name not in _LAYERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import keras as _keras  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "keras":
            raise
        raise ImportError(
            'rnnfast.keras\'s layers need the package keras: pip install "rnnfast[keras]"'
        ) from error
    from rnnfast.keras import layers

    return getattr(layers, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAYERS})
