"""One sLSTM layer in one direction."""

from __future__ import annotations

from typing import Any

from rnnfast import checks
from rnnfast._core import Tape
from rnnfast.functional.layer import run_backward, run_forward
from rnnfast.functional.passes import Array

__all__ = ["slstm_backward", "slstm_forward"]


def slstm_forward(
    x: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None = None,
    state: tuple[Array | None, ...] | None = None,
    *,
    reverse: bool = False,
    lengths: Array | None = None,
    reset: Array | None = None,
    return_states: bool = False,
    matmul_precision: str = "float32",
) -> tuple[Any, ...]:
    """Run an sLSTM layer over time; `rnnfast.reference` has the equations.

    Parameters
    ----------
    x : ndarray [T, B, I]
        The input, float32 or float64; the other arrays are cast to its dtype.
    weight_ih : ndarray [4*H, I]
        Blocks i, f, z, o.
    weight_hh : ndarray [4*H, D]
        H/D heads of D units. Row j of a block multiplies h of the head of unit j.
    bias_ih : ndarray [4*H] or None
        None is zero.
    state : tuple of ndarray [B, H] or None
        The initial (h, c, n, m); None, also for one of them, means zero.
    reverse, lengths, reset, return_states, matmul_precision
        As in `rnn_forward`.

    Returns
    -------
    y : ndarray [T, B, H]
        h after every step, zero past the lengths; read-only, because the tape keeps it.
    state : tuple of ndarray [B, H]
        (h, c, n, m) after each sequence's last step; without any step, the initial one.
    tape : Tape
        For `slstm_backward`, once.
    states : tuple of ndarray [T, B, H]
        Only with `return_states`: (h, c, n, m) after every step, zero past the lengths.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong shape or dtype; the message names it.

    Notes
    -----
    M. Beck et al., "xLSTM: extended long short-term memory", NeurIPS (2024).

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import functional
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(5, 2, 3))
    >>> weight_ih, weight_hh = rng.normal(size=(16, 3)), rng.normal(size=(16, 2))
    >>> y, (h, c, n, m), tape = functional.slstm_forward(x, weight_ih, weight_hh)
    >>> y.shape, bool((y[-1] == h).all()), bool((n >= 1).all())
    ((5, 2, 4), True, True)
    """
    return run_forward(
        "slstm",
        x,
        weight_ih,
        weight_hh,
        bias_ih,
        None,
        state,
        lengths,
        reset,
        return_states,
        matmul_precision,
        reverse=checks.flag("reverse", reverse),
    )


def slstm_backward(
    tape: Tape,
    dy: Array | None,
    dstate: tuple[Array | None, ...] | None,
    *,
    dstates: tuple[Array | None, ...] | None = None,
) -> tuple[Array, tuple[Array, ...], dict[str, Array]]:
    """Run an sLSTM layer backwards through time.

    Parameters
    ----------
    tape : Tape
        From `slstm_forward`; this call uses it up.
    dy : ndarray [T, B, H] or None
        The gradient of y; None is zero.
    dstate : tuple of ndarray [B, H] or None
        The gradients of the final (h, c, n, m); None, also for one of them, means zero.
    dstates : tuple of ndarray [T, B, H], optional
        The gradient of the (h, c, n, m) after every step, that of h to be added to dy; None as for dstate.

    Returns
    -------
    dx : ndarray [T, B, I]
    dstate : tuple of ndarray [B, H]
        The gradients of the initial (h, c, n, m).
    grads : dict of str to ndarray
        ``weight_ih``, ``weight_hh`` and, where it was given, ``bias_ih``.

    Raises
    ------
    ValueError, TypeError
        If the tape is used up or another cell's, or a gradient has the wrong shape or dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import functional
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(5, 2, 3))
    >>> weight_ih, weight_hh = rng.normal(size=(16, 3)), rng.normal(size=(16, 2))
    >>> y, state, tape = functional.slstm_forward(x, weight_ih, weight_hh)
    >>> dx, (dh, dc, dn, dm), grads = functional.slstm_backward(tape, np.ones_like(y), None)
    >>> dx.shape, dm.shape, {name: grad.shape for name, grad in grads.items()}
    ((5, 2, 3), (2, 4), {'weight_ih': (16, 3), 'weight_hh': (16, 2)})
    """
    return run_backward("slstm", tape, dy, dstate, dstates)
