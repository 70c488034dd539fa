"""Models that give a score its meaning: of text, counts and a network on a window; of time series, the whole
ladder from the last value to the LSTM.
"""

from rnnfast.series import (
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
    TooShort,
    Wide,
    backtest,
    best_score,
    climb,
    default_lags,
    ladder,
    load_forecaster,
    longest_horizon,
    pivot,
    score_table,
    simplest_score,
)
from rnnfast.text.ngram import NGram, bits_by_order
from rnnfast.text.window import Window, window_model

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
    "TooShort",
    "Wide",
    "Window",
    "backtest",
    "best_score",
    "bits_by_order",
    "climb",
    "default_lags",
    "ladder",
    "load_forecaster",
    "longest_horizon",
    "pivot",
    "score_table",
    "simplest_score",
    "window_model",
]
