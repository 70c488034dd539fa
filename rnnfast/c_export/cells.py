"""The recurrent cells as loops of C: each function writes one layer, with the operations of csrc/cells/.

The slots of ``gates`` are those of the table of cells. A pre-activation starts at the bias, to which the
products of x and of h are added. Then a loop over the units applies the equations, one rounding an operation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnfast.c_export.arrays import literal
from rnnfast.c_export.layer import Layer

__all__ = ["CELLS"]

UNITS = "for (int j = 0; j < units; j++) {"
_FUNCTIONS = {
    "tanh": "NAME_tanh({})",
    "sigmoid": "NAME_sigmoid({})",
    "identity": "{}",
    "relu": "{0} < 0.0f ? 0.0f : {0}",
}
_GRU_H = "NAME_fma(z, h_prev, NAME_fnma(z, n, n))"  # (1 - z) n + z h


def _nonlinear(layer: Layer, a: str) -> str:
    """f(a) with the nonlinearity of the layer."""
    kind = layer.options["nonlinearity"]
    if kind in ("tanh", "sigmoid"):
        layer.source.need("exponential")
    return _FUNCTIONS[kind].format(a)


def _rnn(layer: Layer) -> list[str]:
    layer.equations("h = f(b + W x + W h),  f = " + layer.options["nonlinearity"])
    return [
        *layer.preactivations(),
        UNITS,
        f"const float a = {layer.gate('a')};",
        layer.store_h(_nonlinear(layer, "a")),
        "}",
    ]


def _indrnn(layer: Layer) -> list[str]:
    layer.equations("h = f(b + W x + u h),  f = " + layer.options["nonlinearity"])
    u = layer.vector("weight_hh")
    return [
        *layer.preactivations(),
        UNITS,
        f"const float a = NAME_fma({u}[j], NAME_flushed(h[j]), gates[j]);",
        layer.store_h(_nonlinear(layer, "a")),
        "}",
    ]


def _lstm(layer: Layer) -> list[str]:
    coupled, peephole = layer.options["coupled_gates"], layer.has("weight_ci")
    layer.equations(*_lstm_equations(layer))
    layer.source.need("exponential")
    m = layer.source.scratch("m", layer.units) if layer.has("weight_hr") else ""

    def gate(letter: str, peep: str = "") -> str:
        a = layer.gate(letter)
        return (
            f"NAME_fma({layer.vector(peep)}[j], c_{'now' if letter == 'o' else 'prev'}, {a})" if peep else a
        )

    lines = [
        UNITS,
        "const float c_prev = NAME_flushed(c[j]);",
        f"const float i = NAME_sigmoid({gate('i', 'weight_ci' if peephole else '')});",
        "const float f = NAME_sub(1.0f, i);"
        if coupled
        else f"const float f = NAME_sigmoid({gate('f', 'weight_cf' if peephole else '')});",
        f"const float g = NAME_tanh({gate('g')});",
        *_new_c(layer.options["cell_clip"]),
        f"const float c_now = {layer.zoned('c', 'c_new', 'c_prev')};",
        f"const float o = NAME_sigmoid({gate('o', 'weight_co' if peephole else '')});",
        "c[j] = c_now;",
    ]
    last = [_output(layer, m, "o", "c_new")]
    if layer.normed:
        o = layer.gate("o")
        kept = [f"{layer.gate('i')} = c_new;"] if layer.zones("c") else []  # N(c) reads c before zoneout
        normal = layer.normalized_c("gates" if kept else "c")
        last = [f"{o} = o;", *kept, "}", *normal, UNITS, _output(layer, m, o, "sums[j]")]
    return [*layer.preactivations(), *lines, *last, "}", *(layer.projection(m) if m else [])]


def _output(layer: Layer, m: str, o: str, c: str) -> str:
    value = f"NAME_mul({o}, NAME_tanh({c}))"
    return f"{m}[j] = {value};" if m else layer.store_h(value)


def _new_c(clip: float | None) -> list[str]:
    """The c that the cell computes, before zoneout."""
    computed = "NAME_fma(f, c_prev, NAME_mul(i, g))"
    if clip is None:
        return [f"const float c_new = {computed};"]
    with np.errstate(over="ignore", under="ignore"):
        bound = np.float32(clip)
    if not np.isfinite(bound):
        return [f"const float c_new = {computed};"]
    most = "0.0f" if bound < np.finfo(np.float32).tiny else literal(bound)
    return [
        f"const float c_any = {computed};",
        f"const float c_new = {most} < c_any ? {most} : c_any < -{most} ? -{most} : c_any;",
    ]


def _lstm_equations(layer: Layer) -> list[str]:
    peep = (" + w c", " + w c (new)") if layer.has("weight_ci") else ("", "")
    gates = "i" if layer.options["coupled_gates"] else "i, f"
    c = "i g + (1 - i) c" if layer.options["coupled_gates"] else "f c + i g"
    clip = layer.options["cell_clip"]
    lines = [
        f"{gates} = sigmoid(b + W x + W h{peep[0]}),  g = tanh(b + W x + W h)",
        f"o = sigmoid(b + W x + W h{peep[1]})",
        f"c = {c}" + ("" if clip is None else f", bounded by {clip:g}"),
        ("h = W_hr (o tanh(c))" if layer.has("weight_hr") else "h = o tanh(c)")
        + (", tanh reads N(c) gain + shift" if layer.normed else ""),
    ]
    if layer.normed:
        lines.append("W x and W h are normalized: N(W x) gain + N(W h) gain + shift")
    return lines


def _gru(layer: Layer) -> list[str]:
    layer.equations(
        "r, z = sigmoid(b + W x + W h),  p = b + W x,  q = b + W h,  n = tanh(p + r q)",
        "h = (1 - z) n + z h",
        *(["W x and W h are normalized: N(W x) gain + N(W h) gain + shift"] if layer.normed else []),
    )
    layer.source.need("exponential")
    return [
        *layer.preactivations(),
        UNITS,
        "const float h_prev = NAME_flushed(h[j]);",
        f"const float r = NAME_sigmoid({layer.gate('r')});",
        f"const float z = NAME_sigmoid({layer.gate('z')});",
        f"const float n = NAME_tanh(NAME_fma(r, {layer.gate('q')}, {layer.gate('n')}));",
        layer.store_h(_GRU_H),
        "}",
    ]


def _gru_before(layer: Layer) -> list[str]:
    layer.equations("r, z = sigmoid(b + W x + W h),  n = tanh(b + W x + W (r h))", "h = (1 - z) n + z h")
    layer.source.need("exponential")
    m = layer.source.scratch("m", layer.units)
    return [
        *layer.preactivations(),
        UNITS,
        f"{m}[j] = NAME_mul(NAME_sigmoid({layer.gate('r')}), NAME_flushed(h[j]));",
        f"{layer.gate('z')} = NAME_sigmoid({layer.gate('z')});",
        "}",
        layer.second_product(m),
        UNITS,
        f"const float h_prev = NAME_flushed(h[j]), z = {layer.gate('z')}, n = NAME_tanh({layer.gate('n')});",
        layer.store_h(_GRU_H),
        "}",
    ]


def _candidate(layer: Layer, a: str) -> str:
    kind = layer.options["candidate"]
    positive = f"{a} < 0.0f ? NAME_sigmoid({a}) : NAME_add({a}, 0.5f)"
    return {"identity": a, "tanh": f"NAME_tanh({a})", "positive": positive}[kind]


def _mingru(layer: Layer) -> list[str]:
    layer.equations(
        f"z = sigmoid(b + W x),  n = g(b + W x),  g = {layer.options['candidate']}", "h = (1 - z) h + z n"
    )
    layer.source.need("exponential")
    return [
        *layer.preactivations(),
        UNITS,
        f"const float z = NAME_sigmoid({layer.gate('z')});",
        f"const float n = {_candidate(layer, layer.gate('h'))};",
        "h[j] = NAME_fma(NAME_sub(1.0f, z), NAME_flushed(h[j]), NAME_mul(z, n));",
        "}",
    ]


def _minlstm(layer: Layer) -> list[str]:
    layer.equations(
        f"f, i = sigmoid(a + k),  a = b + W x,  n = g(b + W x),  g = {layer.options['candidate']}",
        "h = (f h + i n) / (f + i)",
        "k = max(0, -40 - max(a_f, a_i)) changes no share; it keeps f + i above zero",
    )
    layer.source.need("exponential")
    return [
        *layer.preactivations(),
        UNITS,
        f"const float a_f = {layer.gate('f')}, a_i = {layer.gate('i')};",
        "const float low = NAME_sub(-40.0f, a_f > a_i ? a_f : a_i), k = 0.0f > low ? 0.0f : low;",
        "const float f = NAME_sigmoid(NAME_add(a_f, k)), i = NAME_sigmoid(NAME_add(a_i, k));",
        f"const float n = {_candidate(layer, layer.gate('h'))}, per_sum = NAME_div(1.0f, NAME_add(f, i));",
        "h[j] = NAME_fma(NAME_mul(f, per_sum), NAME_flushed(h[j]), NAME_mul(NAME_mul(i, per_sum), n));",
        "}",
    ]


def _slstm(layer: Layer) -> list[str]:
    layer.equations(
        "i, f, z, o = b + W x + W h; each head reads its own units of h alone",
        "l = log sigmoid(f) + m,  m = max(l, i),  but m = i where n is 0: there the state is empty",
        "i' = exp(i - m),  f' = min(exp(l - m), 1): one of them is 1, the other is e = exp(-|i - l|)",
        "c = f' c + i' tanh(z),  n = f' n + i',  h = sigmoid(o) c / n",
    )
    layer.source.need("logarithm")
    return [
        *layer.preactivations(),
        UNITS,
        "const float *a = gates + j / head * 4 * head + j % head;",
        "const float c_prev = NAME_flushed(c[j]), n_prev = NAME_flushed(n[j]), m_prev = NAME_flushed(m[j]);",
        "const float l = NAME_add(NAME_log_sigmoid(a[head]), m_prev), d = NAME_sub(a[0], l);",
        "const float e = NAME_exp_below(NAME_minus_abs(d));",
        "const int empty = !(NAME_minus_abs(n_prev) < 0.0f);",
        "const float i = empty ? 1.0f : d < 0.0f ? e : 1.0f, f = d < 0.0f ? 1.0f : e;",
        "const float n_new = NAME_fma(f, n_prev, i);",
        "const float c_new = NAME_fma(f, c_prev, NAME_mul(i, NAME_tanh(a[2 * head])));",
        "m[j] = empty ? a[0] : d < 0.0f ? l : a[0];",
        "n[j] = n_new;",
        "c[j] = c_new;",
        "h[j] = NAME_mul(NAME_sigmoid(a[3 * head]), NAME_div(c_new, n_new));",
        "}",
    ]


CELLS: dict[str, Callable[[Any], list[str]]] = {
    "rnn": _rnn,
    "indrnn": _indrnn,
    "lstm": _lstm,
    "lstm_coupled": _lstm,
    "gru": _gru,
    "gru_before": _gru_before,
    "mingru": _mingru,
    "minlstm": _minlstm,
    "slstm": _slstm,
    "rnn_norm": _rnn,
    "lstm_norm": _lstm,
    "lstm_coupled_norm": _lstm,
    "gru_norm": _gru,
}
