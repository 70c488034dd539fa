"""Simple models without a recurrent network, that give a score its meaning. They use NumPy alone."""

from rnnfast.baselines.ngram import NGram
from rnnfast.baselines.window import Tanh, Window, window_model

__all__ = ["NGram", "Tanh", "Window", "window_model"]
