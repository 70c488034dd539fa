"""The ladder of models of time series: what each rung costs, and what it brings.

forecaster      the protocol: fit, predict, roll, parameters, save
windowed        those that see a window; the last value, the value of a season ago
autoregression  AR(tau)                                 (statsmodels)
markov          levels and the chances between them
perceptron      a multilayer perceptron on a window     (scikit-learn)
convolution     a convolution on a window
latent          a state in place of a window: RNN, GRU, LSTM
training        what the networks share, and how they are trained
ladder          all of them on one split, their scores as a table
saving          reads the files
packages        imports of what only some need
"""

from rnnfast.baselines.series.autoregression import AutoRegression
from rnnfast.baselines.series.convolution import Convolution
from rnnfast.baselines.series.forecaster import Forecast, Forecaster
from rnnfast.baselines.series.ladder import (
    Score,
    best_score,
    climb,
    ladder,
    score_table,
    simplest_score,
)
from rnnfast.baselines.series.latent import LatentAutoregression
from rnnfast.baselines.series.markov import Markov
from rnnfast.baselines.series.perceptron import Perceptron
from rnnfast.baselines.series.saving import load_forecaster
from rnnfast.baselines.series.windowed import LastValue, SeasonalLastValue

__all__ = [
    "AutoRegression",
    "Convolution",
    "Forecast",
    "Forecaster",
    "LastValue",
    "LatentAutoregression",
    "Markov",
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
