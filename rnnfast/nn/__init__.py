"""Modules: the base class, all modules but the recurrent layers, parameters, losses, optimizers."""

from rnnfast.nn.activation import GELU, Activation, ReLU, Sigmoid, SiLU, Tanh
from rnnfast.nn.containers import ModuleDict, ModuleList, ParameterDict, ParameterList
from rnnfast.nn.dropout import Dropout
from rnnfast.nn.embedding import Embedding
from rnnfast.nn.last import Last
from rnnfast.nn.layer_norm import LayerNorm
from rnnfast.nn.linear import Linear
from rnnfast.nn.module import Module
from rnnfast.nn.parallel import Parallel
from rnnfast.nn.parameter import Parameter
from rnnfast.nn.residual import Residual
from rnnfast.nn.sequential import Sequential

__all__ = [
    "GELU",
    "Activation",
    "Dropout",
    "Embedding",
    "Last",
    "LayerNorm",
    "Linear",
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
]
