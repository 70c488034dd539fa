"""Time series: tables, a ladder of models, the cost and the errors of each rung, forecasts.

tables          reads the series of a file, with their times
forecaster      the protocol: fit, predict, quantiles, roll, parameters, clone, save
learner         the part of a forecaster that fit repeats: learning, with or without differences
scale           differences, mean and standard deviation
intervals       forecasts with their intervals, and the residuals that intervals come from
windowed        models that read a window; the last value, the value of a season ago
autoregression  AR(tau), the linear model
markov          levels and the probabilities between them
perceptron      a multilayer perceptron on a window
convolution     a convolution on a window
latent          autoregression on a latent state: linear, RNN, GRU, LSTM
network         what the networks share: base classes, and one way of training
ladder          backtests all of them on one split; their scores as a table
saving          reads the files that forecasters write
plot            draws a forecast
arrays          checks of arrays
"""

from rnnfast.series.autoregression import AutoRegression
from rnnfast.series.convolution import Convolution
from rnnfast.series.forecaster import Forecaster
from rnnfast.series.intervals import Forecast
from rnnfast.series.ladder import (
    Score,
    backtest,
    best_score,
    climb,
    default_lags,
    ladder,
    longest_horizon,
    score_table,
    simplest_score,
)
from rnnfast.series.latent import LatentAutoregression
from rnnfast.series.learner import TooShort
from rnnfast.series.markov import Markov
from rnnfast.series.perceptron import Perceptron
from rnnfast.series.plot import draw_forecast
from rnnfast.series.saving import load_forecaster
from rnnfast.series.tables import Clock, Data, TableError, Wide, pivot, read_data
from rnnfast.series.windowed import LastValue, SeasonalLastValue

__all__ = [
    "AutoRegression",
    "Clock",
    "Convolution",
    "Data",
    "Forecast",
    "Forecaster",
    "LastValue",
    "LatentAutoregression",
    "Markov",
    "Perceptron",
    "Score",
    "SeasonalLastValue",
    "TableError",
    "TooShort",
    "Wide",
    "backtest",
    "best_score",
    "climb",
    "default_lags",
    "draw_forecast",
    "ladder",
    "load_forecaster",
    "longest_horizon",
    "pivot",
    "read_data",
    "score_table",
    "simplest_score",
]
