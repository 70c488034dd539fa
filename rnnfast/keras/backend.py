"""The module that runs the kernels in Keras's backend."""

import keras

if keras.backend.backend() == "torch":
    from rnnfast.keras import on_torch as backend
elif keras.backend.backend() == "jax":
    from rnnfast.keras import on_jax as backend  # type: ignore[no-redef]
else:
    raise ImportError(
        "rnnfast.keras: expected Keras's backend torch or jax for its layers, got "
        f"{keras.backend.backend()!r}: set KERAS_BACKEND before Keras is imported"
    )

__all__ = ["backend"]
