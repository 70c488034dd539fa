"""rnnfast's layers as functions of JAX programs.

    import rnnfast.jax

    params = rnnfast.jax.init_params(jax.random.key(0), "lstm", 8, 64)
    y, (h, c) = rnnfast.jax.lstm(x, params)

This file only gathers the public names. `layers` has the functions. `stack` runs one pass after the other,
once `arguments` has checked what a function got. `passes` makes a pass a primitive of JAX, with its
derivative and its rule for vmap. `calls` has the custom calls that run it, and `meshes` the types of arrays
within `jax.shard_map`.
"""

try:
    import jax as _jax  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "jax":
        raise
    raise ImportError('rnnfast.jax needs the package jax: pip install "rnnfast[jax]"') from error

from rnnfast.jax.layers import gru, lstm, rnn
from rnnfast.jax.parameters import init_params

__all__ = ["gru", "init_params", "lstm", "rnn"]
