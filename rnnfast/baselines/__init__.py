"""Simple models without a network, so that a network's score means something. They use NumPy alone."""

from rnnfast.baselines.ngram import NGram

__all__ = ["NGram"]
