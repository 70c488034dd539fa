"""Models that give a score its meaning: of text, counts and a network on a window; of time series, the whole
ladder from the last value to the LSTM. Two rungs of that need the extra ``forecast``, all else NumPy alone.
"""

from rnnfast.baselines.ngram import NGram, bits_by_order
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
from rnnfast.baselines.window import Tanh, Window, window_model

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
    "Tanh",
    "Window",
    "best_score",
    "bits_by_order",
    "climb",
    "ladder",
    "load_forecaster",
    "score_table",
    "simplest_score",
    "window_model",
]
