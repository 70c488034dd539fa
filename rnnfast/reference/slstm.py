"""sLSTM, with heads."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast.reference.arguments import parts_of
from rnnfast.reference.functions import factor, sigmoid
from rnnfast.reference.tape import Tape, begin_backward

__all__ = ["slstm_backward", "slstm_forward"]


def slstm_forward(
    x: np.ndarray,
    weight_ih: np.ndarray,
    weight_hh: np.ndarray,
    bias_ih: np.ndarray | None = None,
    state: tuple[np.ndarray | None, ...] | None = None,
    *,
    reverse: bool = False,
    lengths: np.ndarray | None = None,
    reset: np.ndarray | None = None,
    return_states: bool = False,
    matmul_precision: str = "float32",
) -> tuple[Any, ...]:
    """Run an sLSTM layer over time, with the equations at the head of this module.

    Parameters
    ----------
    x : ndarray [T, B, I]
        The input, float32 or float64.
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
        h after every step; zero past the lengths.
    state : tuple of ndarray [B, H]
        (h, c, n, m) after each sequence's last step; without any step, the initial one.
    tape : Tape
        For `slstm_backward`.
    states : tuple of ndarray [T, B, H]
        Only with `return_states`: (h, c, n, m) after every step; zero past the lengths.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong shape or dtype; the message names it.

    Notes
    -----
    M. Beck, K. Pöppel, M. Spanring, A. Auer, O. Prudnikova, M. Kopp, G. Klambauer, J. Brandstetter and
    S. Hochreiter, "xLSTM: extended long short-term memory", NeurIPS (2024).

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import reference
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(5, 2, 3))
    >>> weight_ih, weight_hh = rng.normal(size=(16, 3)), rng.normal(size=(16, 2))
    >>> y, (h, c, n, m), tape = reference.slstm_forward(x, weight_ih, weight_hh)
    >>> y.shape, bool((y[-1] == h).all()), bool((n >= 1).all())
    ((5, 2, 4), True, True)
    """
    weights = weight_ih, weight_hh, bias_ih, None
    tape = Tape("slstm", 4, x, *weights, reverse, lengths, reset, matmul_precision, headed=True)
    given = parts_of("state", state, "hcnm")
    now = [tape.state(f"state[{n}]", part, tape.H) for n, part in enumerate(given)]
    steps = [np.empty_like(tape.h_prev) for _ in now]

    from_x = tape.from_x()
    for t in tape.order:
        h_prev, c_prev, n_prev, m_prev = (tape.before(t, part) for part in now)
        i, f, z, o = np.split(from_x[t] + tape.head_products(h_prev), 4, axis=1)
        z, o = np.tanh(z), sigmoid(o)
        l = np.minimum(f, 0) - np.log1p(np.exp(-np.abs(f))) + m_prev
        empty, kept = ~(np.abs(n_prev) > 0), i < l
        e = np.exp(-np.abs(i - l))
        through_i, through_f = np.where(kept & ~empty, e, 1), np.where(kept, 1, e)  # i' and f'
        c_t = through_f * c_prev + through_i * z
        n_t = through_f * n_prev + through_i
        m_t = np.where(kept & ~empty, l, i)
        tape.h_prev[t] = h_prev
        tape.steps[t] = (e, f, z, o, empty, kept, through_i, through_f, c_prev, n_prev, c_t, n_t)
        for part, result in enumerate((o * (c_t / n_t), c_t, n_t, m_t)):
            now[part] = steps[part][t] = tape.after(t, result, now[part])
    y, *further = (tape.within(part) for part in steps)
    results = y, tuple(part.copy() for part in now), tape
    return (*results, (y.copy(), *further)) if return_states else results


def slstm_backward(
    tape: Tape,
    dy: np.ndarray | None,
    dstate: tuple[np.ndarray | None, ...] | None,
    *,
    dstates: tuple[np.ndarray | None, ...] | None = None,
) -> tuple[np.ndarray, tuple[np.ndarray, ...], dict[str, np.ndarray]]:
    """Run an sLSTM layer backwards through time.

    Where i and l are equal, m counts as i.

    Parameters
    ----------
    tape : Tape
        From `slstm_forward`.
    dy : ndarray [T, B, H] or None
        The gradient of y; None is zero.
    dstate : tuple of ndarray [B, H] or None
        The gradient of the final (h, c, n, m); None, also for one of them, means zero.
    dstates : tuple of ndarray [T, B, H], optional
        The gradient of the (h, c, n, m) after every step, that of h to be added to dy; None as for dstate.

    Returns
    -------
    dx : ndarray [T, B, I]
    dstate : tuple of ndarray [B, H]
        The gradient of the initial (h, c, n, m).
    grads : dict of str to ndarray
        ``weight_ih``, ``weight_hh`` and, where it was given, ``bias_ih``.

    Raises
    ------
    ValueError, TypeError
        If the tape is another cell's, or a gradient has the wrong shape or dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import reference
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(5, 2, 3))
    >>> weight_ih, weight_hh = rng.normal(size=(16, 3)), rng.normal(size=(16, 2))
    >>> y, state, tape = reference.slstm_forward(x, weight_ih, weight_hh)
    >>> dx, (dh, dc, dn, dm), grads = reference.slstm_backward(tape, np.ones_like(y), None)
    >>> dx.shape, dm.shape, {name: grad.shape for name, grad in grads.items()}
    ((5, 2, 3), (2, 4), {'weight_ih': (16, 3), 'weight_hh': (16, 2)})
    """
    begin_backward(tape, "slstm")
    last, every = parts_of("dstate", dstate, "hcnm"), parts_of("dstates", dstates, "hcnm")
    d = [tape.state(f"dstate[{n}]", part, tape.H) for n, part in enumerate(last)]
    d_steps = [tape.states(f"dstates[{n}]", part, tape.H) for n, part in enumerate(every)]
    d_steps[0] = tape.states("dy", dy, tape.H) + d_steps[0]
    d_gates = np.empty((*tape.h_prev.shape[:2], 4 * tape.H), tape.x.dtype)

    for t in reversed(tape.order):
        e, f, z, o, empty, kept, through_i, through_f, c_prev, n_prev, c_t, n_t = tape.steps[t]
        pairs = zip(d, d_steps, strict=True)
        dh_t, dc_t, dn_t, dm_t = (tape.within(carried + of_steps[t], t) for carried, of_steps in pairs)
        q = factor(dh_t, c_t / n_t)
        d_o = dh_t * q * factor(dh_t, o * (1 - o))
        dq = dh_t * factor(dh_t, o / n_t)
        dc_t, dn_t = dc_t + dq, dn_t - dq * q
        d_z = dc_t * factor(dc_t, through_i * (1 - z * z))
        d_through_i = dc_t * factor(dc_t, z) + dn_t
        d_through_f = dc_t * factor(dc_t, c_prev) + dn_t * factor(dn_t, n_prev)
        d_e = np.where(kept, np.where(empty, 0, d_through_i), d_through_f)
        g = d_e * factor(d_e, e)  # the gradient of -|i - l|
        d_i = np.where(kept & ~empty, g, dm_t - g)
        d_l = np.where(kept & ~empty, dm_t - g, g)
        d_f = d_l * factor(d_l, sigmoid(-f))
        d_gates[t] = np.concatenate([d_i, d_f, d_z, d_o], axis=1)
        start = (
            tape.head_products(d_gates[t], transposed=True),
            dc_t * factor(dc_t, through_f),
            dn_t * factor(dn_t, through_f),
            d_l,
        )
        d = [tape.d_before(t, part, after) for part, after in zip(start, d, strict=True)]
    dx, grads = tape.gradients(d_gates, d_gates)
    return dx, tuple(d), grads
