"""Recurrent networks on the CPU, forward and backpropagation through time, from NumPy arrays.

    import rnnfast as rf

    lstm = rf.LSTM(input_size=8, hidden_size=64)
    y, state, tape = lstm.forward(x)              # x [T, B, 8]
    dx, dstate = lstm.backward(tape, dy)          # gradients are added into each parameter's .grad

This file gathers the public names; what a first call of a layer does not need is imported on first use.
"""

from __future__ import annotations

from importlib import import_module as _import_module
from os import environ as _environ
from typing import TYPE_CHECKING

from rnnfast import functional
from rnnfast._core import get_num_threads, set_num_threads
from rnnfast.config import __version__, get_include, show_config
from rnnfast.nn import (
    Dropout,
    Embedding,
    Last,
    Linear,
    Module,
    ModuleDict,
    ModuleList,
    Parameter,
    ParameterDict,
    ParameterList,
    Sequential,
)
from rnnfast.recurrent import GRU, LSTM, RNN, SLSTM, IndRNN, MinGRU, MinLSTM
from rnnfast.threadpools import follow_environment as _follow_environment
from rnnfast.threadpools import follow_threadpoolctl as _follow_threadpoolctl

if TYPE_CHECKING:
    from rnnfast import baselines, reference, series, text
    from rnnfast.c_export import export_c
    from rnnfast.nn import init, losses, optim, schedules
    from rnnfast.nn.activation import GELU, Activation, ReLU, Sigmoid, SiLU, Tanh
    from rnnfast.nn.clip import clip_grad_norm, clip_grad_value
    from rnnfast.nn.count import count_parameters
    from rnnfast.nn.layer_norm import LayerNorm
    from rnnfast.nn.parallel import Parallel
    from rnnfast.nn.residual import Residual
    from rnnfast.recurrent.ragged import pack_sequences, unpack_sequences
    from rnnfast.text import sampling
    from rnnfast.training.bptt import truncated_bptt
    from rnnfast.training.checkpoint import load, save
    from rnnfast.training.fit import fit
    from rnnfast.training.grad import loss_and_grad
    from rnnfast.training.gradcheck import check_gradients
    from rnnfast.training.probe import probe
    from rnnfast.training.quantization import quantization_error
    from rnnfast.training.sweep import sweep

# name -> (module that has it, or is it)
_ON_FIRST_USE = {
    "Activation": "rnnfast.nn.activation",
    "GELU": "rnnfast.nn.activation",
    "LayerNorm": "rnnfast.nn.layer_norm",
    "Parallel": "rnnfast.nn.parallel",
    "ReLU": "rnnfast.nn.activation",
    "Residual": "rnnfast.nn.residual",
    "SiLU": "rnnfast.nn.activation",
    "Sigmoid": "rnnfast.nn.activation",
    "Tanh": "rnnfast.nn.activation",
    "baselines": "rnnfast.baselines",
    "check_gradients": "rnnfast.training",
    "clip_grad_norm": "rnnfast.nn.clip",
    "clip_grad_value": "rnnfast.nn.clip",
    "count_parameters": "rnnfast.nn.count",
    "export_c": "rnnfast.c_export",
    "fit": "rnnfast.training",
    "init": "rnnfast.nn.init",
    "load": "rnnfast.training",
    "loss_and_grad": "rnnfast.training",
    "losses": "rnnfast.nn.losses",
    "optim": "rnnfast.nn.optim",
    "pack_sequences": "rnnfast.recurrent.ragged",
    "probe": "rnnfast.training",
    "quantization_error": "rnnfast.training",
    "reference": "rnnfast.reference",
    "sampling": "rnnfast.text.sampling",
    "save": "rnnfast.training",
    "schedules": "rnnfast.nn.schedules",
    "series": "rnnfast.series",
    "sweep": "rnnfast.training",
    "text": "rnnfast.text",
    "truncated_bptt": "rnnfast.training",
    "unpack_sequences": "rnnfast.recurrent.ragged",
}

__all__ = [
    "GELU",
    "GRU",
    "LSTM",
    "RNN",
    "SLSTM",
    "Activation",
    "Dropout",
    "Embedding",
    "IndRNN",
    "Last",
    "LayerNorm",
    "Linear",
    "MinGRU",
    "MinLSTM",
    "Module",
    "ModuleDict",
    "ModuleList",
    "Parallel",
    "Parameter",
    "ParameterDict",
    "ParameterList",
    "ReLU",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Tanh",
    "__version__",
    "baselines",
    "check_gradients",
    "clip_grad_norm",
    "clip_grad_value",
    "count_parameters",
    "export_c",
    "fit",
    "functional",
    "get_include",
    "get_num_threads",
    "init",
    "load",
    "loss_and_grad",
    "losses",
    "optim",
    "pack_sequences",
    "probe",
    "quantization_error",
    "reference",
    "sampling",
    "save",
    "schedules",
    "series",
    "set_num_threads",
    "show_config",
    "sweep",
    "text",
    "truncated_bptt",
    "unpack_sequences",
]


_follow_environment(_environ)
_follow_threadpoolctl()


def __getattr__(name: str):
    if name not in _ON_FIRST_USE:
        raise AttributeError(f"module 'rnnfast' has no attribute {name!r}")
    module = _import_module(_ON_FIRST_USE[name])
    value = module if module.__name__.endswith("." + name) else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
