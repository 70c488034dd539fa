"""Modules: the base class, all modules but the recurrent layers, parameters, losses, optimizers."""

from rnnfast.nn.activation import GELU, Activation, ReLU, Sigmoid, SiLU, Tanh
from rnnfast.nn.containers import ModuleDict, ModuleList, ParameterDict, ParameterList
from rnnfast.nn.dropout import Dropout
from rnnfast.nn.embedding import Embedding
from rnnfast.nn.last import Last
from rnnfast.nn.linear import Linear
from rnnfast.nn.module import Module
from rnnfast.nn.parameter import Parameter
from rnnfast.nn.sequential import Sequential

__all__ = [
    "GELU",
    "Activation",
    "Dropout",
    "Embedding",
    "Last",
    "Linear",
    "Module",
    "ModuleDict",
    "ModuleList",
    "Parameter",
    "ParameterDict",
    "ParameterList",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Tanh",
]
