"""The module that runs the kernels in Keras's backend."""

import keras

name = keras.backend.backend()
if name == "jax":
    from rnnfast.keras import on_jax as backend
elif name == "torch" or not isinstance(name, str):  # no string where Sphinx makes pages without Keras
    from rnnfast.keras import on_torch as backend  # type: ignore[no-redef]
else:
    raise ImportError(
        f"rnnfast.keras: expected Keras's backend torch or jax for its layers, got {name!r}: "
        "set KERAS_BACKEND before Keras is imported"
    )

__all__ = ["backend"]
