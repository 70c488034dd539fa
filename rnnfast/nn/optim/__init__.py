"""Optimizers with PyTorch's formulas: they read `.grad` of their parameters and write `.data` in place.

Each update runs over blocks that stay in cache, with two blocks of scratch and no other temporaries.

sgd, adam, rmsprop  the optimizers
orthonormal         the constraint of parameters that stay orthonormal
base                what they share: the walk over the blocks, the averages, the state dict
blocks              the arithmetic on a block that several of them share
settings, state     checks of the settings, and of a state dict
"""

from rnnfast.nn.optim.adam import Adam, AdamW
from rnnfast.nn.optim.base import Optimizer
from rnnfast.nn.optim.orthonormal import Orthonormal
from rnnfast.nn.optim.rmsprop import RMSprop
from rnnfast.nn.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "Orthonormal", "RMSprop"]
