"""Reads files of `Forecaster.save`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast import checks
from rnnfast.series.autoregression import AutoRegression
from rnnfast.series.convolution import Convolution
from rnnfast.series.forecaster import KIND, Forecaster
from rnnfast.series.latent import LatentAutoregression
from rnnfast.series.markov import Markov
from rnnfast.series.perceptron import Perceptron
from rnnfast.series.windowed import LastValue, SeasonalLastValue
from rnnfast.training.checkpoint import read_checkpoint

__all__ = ["load_forecaster"]

CLASSES: dict[str, type[Forecaster]] = {
    known.__name__: known
    for known in (
        LastValue,
        SeasonalLastValue,
        Markov,
        AutoRegression,
        Perceptron,
        Convolution,
        LatentAutoregression,
    )
}


def load_forecaster(path: str | os.PathLike[str]) -> tuple[Forecaster, dict[str, Any]]:
    """A fitted forecaster from the file that its `save` wrote.

    It forecasts the same numbers.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    forecaster : Forecaster
    metadata : dict
        What `save` was given.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It holds no forecaster, or is damaged: one line that opens with the path.

    Examples
    --------
    >>> import os, tempfile, numpy as np, rnnfast as rf
    >>> series = np.sin(0.3 * np.arange(100))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "markov.npz")
    ...     rf.series.Markov(5).fit(series).save(path, {"unit": "m"})
    ...     model, metadata = rf.series.load_forecaster(path)
    >>> model, metadata
    (Markov(levels=5, smoothing=1.0, shared=False, difference=0), {'unit': 'm'})
    """
    arrays, metadata = read_checkpoint(path)
    if metadata.pop("kind", None) != KIND:
        raise ValueError(f"{os.fspath(path)}: an rnnfast checkpoint, but not one of a forecaster")
    try:
        own = metadata.pop("forecaster")
        _check_arrays(arrays, own["flat"])
        forecaster = CLASSES[checks.one_of("class", own["class"], CLASSES)](**own["settings"])
        forecaster.restore(arrays, own)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{os.fspath(path)}: damaged: {error}") from error
    return forecaster, metadata


def _check_arrays(arrays: Mapping[str, NDArray], flat: Any) -> None:
    """Refuse a scale, residuals or covariates that no forecaster has."""
    for name, array in arrays.items():
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise ValueError(f"{name}: expected finite floats")
    mean, std, residuals = arrays["mean"], arrays["std"], arrays["residuals"]
    S = len(std)
    if mean.shape != (S,) or residuals.ndim != 3 or residuals.shape[2] != S or not residuals.size:
        raise ValueError(f"scale {mean.shape}, {std.shape} and residuals {residuals.shape} do not match")
    if not (np.diff(residuals, axis=0) >= 0.0).all():
        raise ValueError("residuals: expected them in order")
    if not isinstance(flat, bool) or (flat and S > 1):
        raise ValueError(f"flat: expected a bool that fits {S} series, got {flat!r}")
    means, stds = (arrays.get(f"covariates.{name}", np.zeros(0)) for name in ("mean", "std"))
    if means.ndim != 1 or means.shape != stds.shape or len(means) % S:
        raise ValueError(f"covariates: {means.shape} and {stds.shape} do not fit {S} series")
    varies = (residuals != 0.0).any(axis=(0, 1))
    if not (np.where(varies, std > 0.0, std >= 0.0).all() and (stds >= 0.0).all()):
        raise ValueError("std: expected numbers from 0 on, above it where residuals are not 0")
