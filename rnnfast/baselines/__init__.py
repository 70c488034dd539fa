"""Simple models without a network, so that a network's score means something; for time series, the whole
ladder from the last value to the LSTM. Two rungs of it need the extra ``forecast``, all else NumPy alone.
"""

from rnnfast.baselines.ngram import NGram
from rnnfast.baselines.series import (
    AutoRegression,
    Convolution,
    Forecast,
    Forecaster,
    LastValue,
    LatentAutoregression,
    Markov,
    Perceptron,
    Score,
    SeasonalLastValue,
    best_score,
    climb,
    ladder,
    load_forecaster,
    score_table,
    simplest_score,
)

__all__ = [
    "AutoRegression",
    "Convolution",
    "Forecast",
    "Forecaster",
    "LastValue",
    "LatentAutoregression",
    "Markov",
    "NGram",
    "Perceptron",
    "Score",
    "SeasonalLastValue",
    "best_score",
    "climb",
    "ladder",
    "load_forecaster",
    "score_table",
    "simplest_score",
]
