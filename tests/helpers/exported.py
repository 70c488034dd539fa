"""Models for the tests of exported headers, a family for each kind of layer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import rnnfast as rf
from rnnfast.nn import Module

SIZES = (1, 3, 17, 33)


def _rnn() -> dict[str, Module]:
    names = ("tanh", "relu", "sigmoid", "identity")
    models: dict[str, Module] = {f"rnn_{f}": rf.RNN(3, 17, nonlinearity=f, rng=0) for f in names}
    models |= {f"indrnn_{f}": rf.IndRNN(5, 3, 2, nonlinearity=f, rng=1) for f in names}
    models["rnn_zoneout"] = rf.RNN(5, 9, 2, zoneout=0.4, rng=0)
    models["indrnn_zoneout"] = rf.IndRNN(5, 9, 2, zoneout=0.4, bias=False, rng=0)
    models["rnn_norm"] = rf.RNN(5, 17, 2, layer_norm=True, rng=0)
    return models


def _lstm() -> dict[str, Module]:
    return {
        "lstm_stack": rf.LSTM(5, 9, 3, rng=0),
        "lstm_plain": rf.LSTM(4, 3, bias=False, rng=0),
        "lstm_peephole": rf.LSTM(5, 9, 2, peephole=True, rng=0),
        "lstm_coupled": rf.LSTM(5, 9, 2, coupled_gates=True, rng=0),
        "lstm_clip": rf.LSTM(5, 9, cell_clip=0.2, rng=0),
        "lstm_no_clip": rf.LSTM(5, 9, cell_clip=1e300, rng=0),
        "lstm_clip_of_zero": rf.LSTM(5, 9, cell_clip=1e-40, rng=0),
        "lstm_projected": rf.LSTM(5, 9, 2, proj_size=4, rng=0),
        "lstm_widened": rf.LSTM(2, 3, 2, proj_size=20, rng=0),
        "lstm_zoneout": rf.LSTM(5, 9, 2, zoneout=(0.0, 0.25), rng=0),
        "lstm_all": rf.LSTM(
            5, 9, 2, coupled_gates=True, peephole=True, cell_clip=1, proj_size=4, zoneout=(0.1, 0.2), rng=0
        ),
    }


def _lstm_norm() -> dict[str, Module]:
    return {
        "lstm_norm": rf.LSTM(5, 17, 2, layer_norm=True, rng=0),
        "lstm_norm_zoneout": rf.LSTM(5, 17, 2, layer_norm=True, peephole=True, zoneout=(0.1, 0.2), rng=0),
        "lstm_norm_plain": rf.LSTM(5, 3, 2, layer_norm=True, bias=False, rng=0),
        "lstm_norm_all": rf.LSTM(
            5, 9, 2, layer_norm=True, coupled_gates=True, peephole=True, proj_size=4, cell_clip=0.5, rng=0
        ),
    }


def _gru() -> dict[str, Module]:
    return {
        "gru_stack": rf.GRU(5, 9, 3, rng=0),
        "gru_plain": rf.GRU(5, 3, bias=False, rng=0),
        "gru_zoneout": rf.GRU(5, 9, 2, zoneout=0.3, rng=0),
        "gru_norm_zoneout": rf.GRU(5, 9, layer_norm=True, zoneout=0.2, rng=0),
        "gru_norm": rf.GRU(5, 17, 2, layer_norm=True, rng=0),
        "gru_before": rf.GRU(5, 9, 2, reset_after=False, rng=0),
        "gru_before_plain": rf.GRU(5, 3, bias=False, reset_after=False, rng=0),
        "gru_before_zoneout": rf.GRU(5, 9, 2, zoneout=0.3, reset_after=False, rng=0),
    }


def _minimal() -> dict[str, Module]:
    models: dict[str, Module] = {}
    for candidate in ("identity", "positive", "tanh"):
        models[f"mingru_{candidate}"] = rf.MinGRU(5, 9, 2, candidate=candidate, rng=0)
        models[f"minlstm_{candidate}"] = rf.MinLSTM(5, 9, 2, candidate=candidate, rng=0)
    models["mingru_plain"] = rf.MinGRU(5, 3, bias=False, rng=0)
    return models


def _slstm() -> dict[str, Module]:
    return {
        "slstm_stack": rf.SLSTM(5, 9, 2, rng=0),
        "slstm_heads": rf.SLSTM(5, 18, 2, num_heads=3, rng=0),
        "slstm_plain": rf.SLSTM(5, 3, bias=False, rng=0),
    }


def _sizes() -> dict[str, Module]:
    models: dict[str, Module] = {f"lstm_{H}": rf.LSTM(H, H, rng=0) for H in SIZES}
    models |= {f"gru_{H}": rf.GRU(H, H, rng=0) for H in SIZES}
    return models | {f"linear_{H}": rf.Linear(H, 34 - H, rng=0) for H in SIZES}


def _modules() -> dict[str, Module]:
    inner = rf.Sequential(rf.LayerNorm(33, bias=False), rf.GRU(33, 33, rng=1))
    beside = rf.Parallel(rf.GRU(33, 4, rng=2), rf.Linear(33, 2, rng=3), rf.ReLU())
    return {
        "rows": rf.Sequential(
            rf.Linear(5, 33, rng=0), rf.LayerNorm(33), rf.ReLU(), rf.Residual(inner), beside
        ),
        "plain_linear": rf.Linear(7, 33, bias=False, rng=0),
        "long_linear": rf.Linear(4100, 2, rng=0),
        "norm": rf.LayerNorm(40, eps=1e-3),
        "kept": rf.Parallel(rf.Residual(rf.Dropout(0.5)), rf.ReLU(), rf.Linear(6, 2, rng=0)),
        "text": rf.Sequential(
            rf.Embedding(5, 6, rng=0), rf.Dropout(0.1), rf.LSTM(6, 9, rng=1), rf.Linear(9, 5, rng=2)
        ),
        "tables": rf.Parallel(
            rf.Embedding(5, 6, rng=0), rf.Sequential(rf.Embedding(7, 3, rng=0), rf.GRU(3, 3, rng=0))
        ),
    }


def _extremes() -> dict[str, Module]:
    """Numbers around the smallest normal one, and pre-activations where functions reach their limits."""
    models: dict[str, Module] = {}
    for name, cell in (
        ("tiny_rnn", rf.RNN(3, 9, nonlinearity="identity", bias=False, rng=1)),
        ("tiny_indrnn", rf.IndRNN(3, 9, nonlinearity="identity", bias=False, rng=1)),
        ("tiny_mingru", rf.MinGRU(3, 9, bias=False, rng=1)),
        ("tiny_linear", rf.Linear(3, 9, bias=False, rng=1)),
        ("tiny_lstm", rf.LSTM(3, 9, bias=False, rng=1)),
    ):
        models[name] = rf.Sequential(rf.Linear(3, 3, bias=False, rng=0), cell)
        models[name][0].weight.data *= np.float32(1e-37)
    small = [rf.Linear(3, 3, bias=False, rng=0), rf.Linear(3, 3, bias=False, rng=1)]
    for linear, factor in zip(small, (1e-15, 1e-16), strict=True):
        linear.weight.data *= np.float32(factor)
    models["small_linear"] = rf.Sequential(*small, rf.Linear(3, 9, bias=False, rng=2))  # reads about 2^-100
    models |= {f"far_{f}": rf.RNN(3, 9, nonlinearity=f, rng=0) for f in ("tanh", "sigmoid")}
    models |= {"far_lstm": rf.LSTM(3, 9, rng=0), "far_slstm": rf.SLSTM(3, 9, rng=0)}
    models |= {"far_gru": rf.GRU(3, 9, rng=0), "far_minlstm": rf.MinLSTM(3, 9, candidate="positive", rng=0)}
    for name, model in models.items():
        if name.startswith("far"):
            for _, parameter in model.named_parameters():
                parameter.data *= np.float32(200)
    return models


FAMILIES: dict[str, Callable[[], dict[str, Module]]] = {
    "rnn": _rnn,
    "lstm": _lstm,
    "lstm_norm": _lstm_norm,
    "gru": _gru,
    "minimal": _minimal,
    "slstm": _slstm,
    "sizes": _sizes,
    "modules": _modules,
    "extremes": _extremes,
}


def models_of(family: str, precision: str = "float32") -> dict[str, Module]:
    """A family in a precision, with biases and gains that differ from their initial values."""
    models = _disturbed(FAMILIES[family](), np.random.default_rng(len(family)))
    for model in models.values():
        model.matmul_precision = precision
    return models


def _disturbed(models: dict[str, Module], rng: np.random.Generator) -> dict[str, Module]:
    """Models with other biases and gains than the initial ones, subnormal numbers among them."""
    for model in models.values():
        for _, parameter in model.named_parameters():
            if parameter.data.ndim == 1:
                noise = rng.standard_normal(parameter.shape) * 0.3
                parameter.data = (parameter.data + noise).astype(np.float32)
                parameter.data[:1] = 1e-40  # counts as zero
    return models


def mixture() -> dict[str, Module]:
    """A few models with a cell of each kind, in all precisions, with subnormal biases and gains."""
    stack = rf.Sequential(
        rf.Linear(5, 8, rng=0, matmul_precision="int8"), rf.LayerNorm(8), rf.GRU(8, 7, rng=1)
    )
    models = {
        "lstm": rf.LSTM(5, 9, peephole=True, zoneout=0.1, rng=0),
        "norm": rf.LSTM(5, 9, layer_norm=True, rng=0),
        "gru": rf.GRU(5, 9, 2, rng=0, matmul_precision="int8"),
        "before": rf.GRU(5, 7, reset_after=False, rng=0, matmul_precision="bfloat16"),
        "stack": rf.Sequential(stack, rf.ReLU(), rf.Residual(rf.MinLSTM(7, 7, candidate="positive", rng=2))),
        "slstm": rf.SLSTM(5, 8, num_heads=2, rng=0),
        "tiny": _extremes()["tiny_rnn"],
        "far": _extremes()["far_lstm"],
        "text": rf.Sequential(rf.Embedding(6, 4, rng=0), rf.RNN(4, 6, rng=1), rf.Linear(6, 6, rng=2)),
    }
    return _disturbed(models, np.random.default_rng(0))
