"""`lstm`, `gru` and `rnn`: pure functions of x, parameters and a state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from rnnfast import _core, checks
from rnnfast.jax.stack import run_stack

__all__ = ["gru", "lstm", "rnn"]


def lstm(
    x: Any,
    params: Mapping[str, Any],
    state: tuple[Any, Any] | None = None,
    *,
    lengths: Any = None,
    reset: Any = None,
    batch_first: bool = False,
    reverse: bool = False,
    coupled_gates: bool = False,
    cell_clip: float | None = None,
    matmul_precision: str = "float32",
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """Run an LSTM, of one layer or several.

    Parameters
    ----------
    x : array [T, B, I], [B, T, I] with `batch_first`, or [T, I]
        Floats; they are cast to the parameters' dtype.
    params : dict of str to array
        float32 or float64, with the names and shapes of `rnnfast.LSTM`'s parameters: ``weight_ih_l0``,
        ``weight_hh_l0``, ``bias_ih_l0``, ``bias_hh_l0``, …; then ``…_l0_reverse``, ``…_l1`` and so on.
        `rnnfast.LSTM.state_dict()` is such a dict. The names say how many layers and directions there are,
        and whether they have biases and projections or peepholes.
    state : (array [num_layers*D, B, P], array [num_layers*D, B, H]), optional
        The initial (h, c); default zero. They have no axis for the batch where x has none.
    lengths : array [B] of integers, optional
        How many steps each sequence has, 0..T; default T. Past its length a sequence's output is zero and
        nothing of x is read.
    reset : array of bool, optional
        Laid out as x's first two axes: where it is true, the state is set to zero before that step is read.
    batch_first : bool
        x, y and reset have the batch as their first axis.
    reverse : bool
        All layers run from the last step to the first. Not with parameters of both directions.
    coupled_gates : bool
        Gates i, g, o, and f = 1 - i.
    cell_clip : float, optional
        Where c is clamped after every step; default nowhere.
    matmul_precision : {"float32", "bfloat16", "int8"}
        Of the operands of products, for float32 parameters. In "int8" there is no gradient.

    Returns
    -------
    y : array [T, B, D*P]
        h after every step, P being H without a projection; laid out as x.
    (h, c) : (array [num_layers*D, B, P], array [num_layers*D, B, H])
        The state after the last step of each sequence.

    Raises
    ------
    ValueError, TypeError
        While it is traced, if an argument is not what is expected; the message names it. Lengths outside
        0..T that are not known before the call are an error of XLA.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, rnnfast as rf, rnnfast.jax
    >>> params = rf.LSTM(3, 4, rng=0).state_dict()
    >>> @jax.jit
    ... def loss(params, x):
    ...     y, (h, c) = rnnfast.jax.lstm(x, params)
    ...     return jnp.mean(y**2)
    >>> value, grads = jax.value_and_grad(loss)(params, jnp.ones((7, 2, 3)))
    >>> grads["weight_hh_l0"].shape
    (16, 4)
    """
    y, (h, c) = run_stack(
        "lstm",
        x,
        params,
        state,
        lengths=lengths,
        reset=reset,
        batch_first=batch_first,
        reverse=reverse,
        matmul_precision=matmul_precision,
        cell_clip=cell_clip,
        coupled_gates=checks.flag("coupled_gates", coupled_gates),
    )
    return y, (h, c)


def gru(
    x: Any,
    params: Mapping[str, Any],
    state: Any = None,
    *,
    lengths: Any = None,
    reset: Any = None,
    batch_first: bool = False,
    reverse: bool = False,
    reset_after: bool = True,
    matmul_precision: str = "float32",
) -> tuple[jax.Array, jax.Array]:
    """Run a GRU, of one layer or several.

    Parameters
    ----------
    x : array [T, B, I], [B, T, I] with `batch_first`, or [T, I]
        Floats; they are cast to the parameters' dtype.
    params : dict of str to array
        float32 or float64, with the names and shapes of `rnnfast.GRU`'s parameters: ``weight_ih_l0``,
        ``weight_hh_l0``, ``bias_ih_l0``, ``bias_hh_l0``, …; then ``…_l0_reverse``, ``…_l1`` and so on.
        `rnnfast.GRU.state_dict()` is such a dict. The names say how many layers and directions there are,
        and whether they have biases.
    state : array [num_layers*D, B, H], optional
        The initial h; default zero. It has no axis for the batch where x has none.
    lengths : array [B] of integers, optional
        How many steps each sequence has, 0..T; default T. Past its length a sequence's output is zero and
        nothing of x is read.
    reset : array of bool, optional
        Laid out as x's first two axes: where it is true, the state is set to zero before that step is read.
    batch_first : bool
        x, y and reset have the batch as their first axis.
    reverse : bool
        All layers run from the last step to the first. Not with parameters of both directions.
    reset_after : bool
        Whether r acts after the product with W_hn (PyTorch, Keras 3) or before it (Cho et al. 2014).
    matmul_precision : {"float32", "bfloat16", "int8"}
        Of the operands of products, for float32 parameters. In "int8" there is no gradient.

    Returns
    -------
    y : array [T, B, D*P]
        h after every step, P being H; laid out as x.
    h : array [num_layers*D, B, H]
        The state after the last step of each sequence.

    Raises
    ------
    ValueError, TypeError
        While it is traced, if an argument is not what is expected; the message names it. Lengths outside
        0..T that are not known before the call are an error of XLA.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, rnnfast.jax
    >>> params = rnnfast.jax.init_params(jax.random.key(0), "gru", 3, 4, num_layers=2)
    >>> y, h = jax.jit(rnnfast.jax.gru)(jnp.ones((7, 2, 3)), params)
    >>> y.shape, h.shape
    ((7, 2, 4), (2, 2, 4))
    >>> sequences = jnp.ones((5, 7, 3))
    >>> y, h = jax.vmap(rnnfast.jax.gru, in_axes=(0, None))(sequences, params)  # one batch of 5
    >>> y.shape, h.shape
    ((5, 7, 4), (5, 2, 4))
    """
    y, (h,) = run_stack(
        "gru",
        x,
        params,
        state,
        lengths=lengths,
        reset=reset,
        batch_first=batch_first,
        reverse=reverse,
        matmul_precision=matmul_precision,
        reset_after=checks.flag("reset_after", reset_after),
    )
    return y, h


def rnn(
    x: Any,
    params: Mapping[str, Any],
    state: Any = None,
    *,
    lengths: Any = None,
    reset: Any = None,
    batch_first: bool = False,
    reverse: bool = False,
    nonlinearity: str = "tanh",
    matmul_precision: str = "float32",
) -> tuple[jax.Array, jax.Array]:
    """Run a vanilla (Elman) network, of one layer or several.

    Parameters
    ----------
    x : array [T, B, I], [B, T, I] with `batch_first`, or [T, I]
        Floats; they are cast to the parameters' dtype.
    params : dict of str to array
        float32 or float64, with the names and shapes of `rnnfast.RNN`'s parameters: ``weight_ih_l0``,
        ``weight_hh_l0``, ``bias_ih_l0``, ``bias_hh_l0``, …; then ``…_l0_reverse``, ``…_l1`` and so on.
        `rnnfast.RNN.state_dict()` is such a dict. The names say how many layers and directions there are,
        and whether they have biases.
    state : array [num_layers*D, B, H], optional
        The initial h; default zero. It has no axis for the batch where x has none.
    lengths : array [B] of integers, optional
        How many steps each sequence has, 0..T; default T. Past its length a sequence's output is zero and
        nothing of x is read.
    reset : array of bool, optional
        Laid out as x's first two axes: where it is true, the state is set to zero before that step is read.
    batch_first : bool
        x, y and reset have the batch as their first axis.
    reverse : bool
        All layers run from the last step to the first. Not with parameters of both directions.
    nonlinearity : {"tanh", "relu", "sigmoid", "identity"}
    matmul_precision : {"float32", "bfloat16", "int8"}
        Of the operands of products, for float32 parameters. In "int8" there is no gradient.

    Returns
    -------
    y : array [T, B, D*P]
        h after every step, P being H; laid out as x.
    h : array [num_layers*D, B, H]
        The state after the last step of each sequence.

    Raises
    ------
    ValueError, TypeError
        While it is traced, if an argument is not what is expected; the message names it. Lengths outside
        0..T that are not known before the call are an error of XLA.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, rnnfast.jax
    >>> params = rnnfast.jax.init_params(jax.random.key(0), "rnn", 3, 4, bidirectional=True)
    >>> y, h = rnnfast.jax.rnn(jnp.ones((7, 2, 3)), params, nonlinearity="relu", lengths=jnp.array([7, 4]))
    >>> y.shape, h.shape, bool((y[4:, 1] == 0).all())
    ((7, 2, 8), (2, 2, 4), True)
    """
    y, (h,) = run_stack(
        "rnn",
        x,
        params,
        state,
        lengths=lengths,
        reset=reset,
        batch_first=batch_first,
        reverse=reverse,
        matmul_precision=matmul_precision,
        nonlinearity=checks.one_of("nonlinearity", nonlinearity, _core.NONLINEARITIES),
    )
    return y, h
