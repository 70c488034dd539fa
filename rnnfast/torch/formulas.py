"""The layers' equations in torch's own operations: slow, and differentiable as often as one likes.

Second derivatives are taken of them. They compute in the tensors' dtype, without rounding to bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from rnnfast import checks
from rnnfast.recurrent import Recurrent
from rnnfast.recurrent.masks import Masks
from rnnfast.torch.call import Call

__all__ = ["results_of"]

Weights = dict[str, torch.Tensor]
State = list[torch.Tensor]
_SLOPES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "identity": lambda a: a,
}


def results_of(
    call: Call, x: torch.Tensor, parts: Sequence[torch.Tensor | None], weights: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    """What `Call.evaluate` gives, to rounding."""
    layer = call.view.layer
    form, passes = layer.state_form, layer.state_form.passes
    steps, lead = _time_major(call, x)
    valid, reset = _sequences(call, steps.shape[0], steps.shape[1])
    if valid is not None:
        steps = torch.where(valid, steps, 0)
    B = steps.shape[1]
    initial = [
        x.new_zeros(passes, B, width) if part is None else part.reshape(passes, B, width)
        for part, width in zip(parts, form.widths, strict=True)
    ]
    each = [dict(zip(names, own, strict=True)) for names, own in _by_pass(layer, weights)]
    final: list[State] = []
    directions = 2 if layer.bidirectional else 1
    for first in range(0, passes, directions):
        sides = []
        for number in range(first, first + directions):
            state = [part[number] for part in initial]
            y, state = _pass(layer, each[number], steps, state, valid, reset, number > first)
            sides.append(y)
            final.append(state)
        steps = torch.cat(sides, dim=-1)
        if first + directions < passes:
            steps = _dropped(call, steps, first // directions)
    finals = [torch.stack(part) for part in zip(*final, strict=True)]
    return _as_given(call, steps, finals, lead)


def _by_pass(layer: Recurrent, weights: Sequence[torch.Tensor]) -> list[tuple[list[str], list[torch.Tensor]]]:
    """For each pass the names of its weights, without the suffix, and the weights."""
    names = [name for name, _ in layer.named_parameters()]
    count = len(names) // layer.state_form.passes
    return [
        ([name.partition("_l")[0] for name in names[n : n + count]], list(weights[n : n + count]))
        for n in range(0, len(names), count)
    ]


def _pass(
    layer: Recurrent,
    weights: Weights,
    x: torch.Tensor,
    state: State,
    valid: torch.Tensor | None,
    reset: torch.Tensor | None,
    reverse: bool,
) -> tuple[torch.Tensor, State]:
    """One layer in one direction over x [T, B, I]: y [T, B, P] and the final state."""
    step = {"rnn": _rnn, "lstm": _lstm, "gru": _gru}[layer.cell]
    T = len(x)
    from_x = x @ weights["weight_ih"].T + weights.get("bias_ih", 0)
    y: list[Any] = [None] * T
    for t in reversed(range(T)) if reverse else range(T):
        start = t + 1 if reverse else t
        if reset is not None and start < T:
            state = [torch.where(reset[start], 0, part) for part in state]
        after = step(layer, weights, from_x[t], state)
        y[t] = after[0]
        if valid is not None:
            y[t] = torch.where(valid[t], after[0], 0)
            after = [torch.where(valid[t], new, old) for new, old in zip(after, state, strict=True)]
        state = after
    width = layer.state_form.widths[0]
    return (torch.stack(y) if T else x.new_zeros(0, x.shape[1], width)), state


def _rnn(layer: Recurrent, weights: Weights, a: torch.Tensor, state: State) -> State:
    """h = nonlinearity(W x + b + U h + b')."""
    return [_SLOPES[layer.nonlinearity](a + _from_h(weights, state[0]))]


def _gru(layer: Recurrent, weights: Weights, a: torch.Tensor, state: State) -> State:
    """The equations of `rnnfast.GRU`."""
    (h,) = state
    H = h.shape[-1]
    q = _from_h(weights, h)
    r, z = torch.sigmoid(a[..., : 2 * H] + q[..., : 2 * H]).chunk(2, dim=-1)
    inner = r * q[..., 2 * H :]
    if not layer.reset_after:
        inner = (r * h) @ weights["weight_hh"][2 * H :].T
        inner = inner + weights["bias_hh"][2 * H :] if "bias_hh" in weights else inner
    n = torch.tanh(a[..., 2 * H :] + inner)
    return [(1 - z) * n + z * h]


def _lstm(layer: Recurrent, weights: Weights, a: torch.Tensor, state: State) -> State:
    """The equations of `rnnfast.LSTM`."""
    h, c = state
    gates = "igo" if layer.coupled_gates else "ifgo"
    by_gate = dict(zip(gates, (a + _from_h(weights, h)).chunk(len(gates), dim=-1), strict=True))
    i = torch.sigmoid(by_gate["i"] + weights.get("weight_ci", 0) * c)
    f = 1 - i if layer.coupled_gates else torch.sigmoid(by_gate["f"] + weights.get("weight_cf", 0) * c)
    c = f * c + i * torch.tanh(by_gate["g"])
    if layer.cell_clip is not None:
        c = c.clamp(-layer.cell_clip, layer.cell_clip)
    o = torch.sigmoid(by_gate["o"] + weights.get("weight_co", 0) * c)
    h = o * torch.tanh(c)
    return [h @ weights["weight_hr"].T if "weight_hr" in weights else h, c]


def _from_h(weights: Weights, h: torch.Tensor) -> torch.Tensor:
    return h @ weights["weight_hh"].T + weights.get("bias_hh", 0)


def _dropped(call: Call, y: torch.Tensor, layer: int) -> torch.Tensor:
    """The output of a layer as the next one reads it."""
    rate = call.view.layer.dropout
    if "rng" not in call.training or not rate:
        return y
    ones = np.ones(tuple(y.shape), call.view.layer.state_form.dtype)
    mask = Masks((checks.seed(int(call.training["rng"])), 0), rate).between_layers(ones, layer, ones)
    return y * torch.from_numpy(mask)


def _time_major(call: Call, x: torch.Tensor) -> tuple[torch.Tensor, tuple[int, ...]]:
    """x as [T, B, I], and which axes of time and batch it lacks or has the other way round."""
    if call.places is not None:
        padded = x.new_zeros(*call.places.shape, x.shape[-1])
        return padded.index_put((torch.from_numpy(call.places),), x), ()
    lead = tuple(x.shape[:-1])
    if call.step:
        return x.reshape(1, -1, x.shape[-1]), lead
    if len(lead) == 1:
        return x[:, None], lead
    return (x.transpose(0, 1) if call.view.layer.batch_first else x), lead


def _as_given(
    call: Call, y: torch.Tensor, finals: list[torch.Tensor], lead: tuple[int, ...]
) -> tuple[torch.Tensor, ...]:
    """y [T, B, N] and the parts of the final state in the caller's form."""
    if call.step:
        return tuple([part.reshape(*lead, -1) for part in finals])
    if call.places is not None:
        return y[torch.from_numpy(call.places)], *finals
    if len(lead) == 1:
        return y[:, 0], *[part[:, 0] for part in finals]
    return (y.transpose(0, 1) if call.view.layer.batch_first else y), *finals


def _sequences(call: Call, T: int, B: int) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Which steps a sequence has, and where it is reset: [T, B, 1] each, None for all and for none."""
    lengths, reset = call.keywords.get("lengths"), call.keywords.get("reset")
    valid = None
    if lengths is not None:
        valid = (torch.arange(T)[:, None] < torch.as_tensor(lengths).reshape(1, B))[..., None]
    if reset is not None:
        reset = torch.as_tensor(reset)
        batch_first = call.batch_first if call.places is not None else call.view.layer.batch_first
        if batch_first and reset.dim() == 2 and not call.step:
            reset = reset.T
        reset = reset.reshape(T, B, 1)
        reset = reset if valid is None else reset & valid
    return valid, reset
