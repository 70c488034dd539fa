"""What estimators take as X: a table, an array of sequences, or a list of sequences, as one padded array."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_array, validate_data

from rnnfast import checks, exchange

__all__ = ["Sequences", "read_sequences"]

_DTYPES = (np.float64, np.float32)
_EMPTY = (0, 0)  # the shape of an empty list: it fits sequences of any number of features


class Sequences(NamedTuple):
    """Sequences side by side, zeros behind the shorter ones.

    Attributes
    ----------
    x : ndarray [N, T, I]
    lengths : ndarray [N] of integers, or None
        None: all have T steps.
    listed : bool
        X was a list of them.
    """

    x: NDArray
    lengths: NDArray | None = None
    listed: bool = False

    @property
    def ends(self) -> NDArray:
        """The number of steps of each sequence."""
        return np.full(len(self.x), self.x.shape[1]) if self.lengths is None else self.lengths

    @property
    def within(self) -> NDArray:
        """Where a sequence has a step: bool [N, T]."""
        return np.arange(self.x.shape[1]) < self.ends[:, np.newaxis]

    def chosen(self, rows: Any) -> Sequences:
        """Some of the sequences."""
        lengths = None if self.lengths is None else self.lengths[rows]
        return Sequences(self.x[rows], lengths, self.listed)


def read_sequences(estimator: BaseEstimator, X: Any, *, reset: bool, least_steps: int = 1) -> Sequences:
    """X as sequences; `reset` notes their number of features in the estimator, else it is compared.

    Parameters
    ----------
    estimator : BaseEstimator
        Its ``n_features_in_``, ``feature_names_in_`` and ``table_`` (whether it was fitted on a table) are
        set or compared.
    X : array_like or list of array_like
        ``[N, T]``: a table, whose columns are the steps of univariate sequences. ``[N, T, I]``. Or a list of
        sequences ``[T_i, I]`` or ``[T_i]``.
    reset : bool
    least_steps : int
        The fewest steps that a sequence may have.

    Raises
    ------
    TypeError, ValueError
        If X is none of these, is not finite, or has other features than those of the fit.
    """
    checks.refuse_masked("X", X)
    listed = _listed(X)
    if listed is not None:
        sequences = _padded(listed, least_steps)
    else:
        if exchange.is_array(X) and not hasattr(X, "ndim"):
            X = checks.as_array("X", X)
        ndim = X.ndim if hasattr(X, "ndim") else np.ndim(X)
        if ndim != 3:
            return _table(estimator, X, reset)
        sequences = Sequences(check_array(X, allow_nd=True, dtype=_DTYPES, input_name="X"))
        if sequences.x.shape[1] < least_steps:
            raise ValueError(f"X: expected at least {least_steps} step, got shape {sequences.x.shape}")
    features = sequences.x.shape[2]
    if features == 0:
        raise ValueError(f"X: expected at least 1 feature at each step, got shape {sequences.x.shape}")
    if reset:
        estimator.n_features_in_, estimator.table_ = features, False
        vars(estimator).pop("feature_names_in_", None)  # of an earlier table
    else:
        expected = 1 if estimator.table_ else estimator.n_features_in_
        if features != expected:
            name = type(estimator).__name__
            raise ValueError(
                f"X has {features} features, but {name} is expecting {expected} features as input at each "
                "step"
            )
    return sequences


def _table(estimator: BaseEstimator, X: Any, reset: bool) -> Sequences:
    """A table [N, T] as sequences [N, T, 1]; scikit-learn itself checks its columns."""
    if not reset and not estimator.table_:
        table = check_array(X, dtype=_DTYPES, input_name="X")
        if estimator.n_features_in_ != 1:
            raise ValueError(
                f"X has 1 features at each step, as any table (here of shape {table.shape}), but "
                f"{type(estimator).__name__} is expecting {estimator.n_features_in_} features as input; "
                "X[np.newaxis] is one sequence"
            )
        return Sequences(table[:, :, np.newaxis])
    table = validate_data(estimator, X, reset=reset, dtype=_DTYPES)
    if reset:
        estimator.table_ = True
    return Sequences(table[:, :, np.newaxis])


def _listed(X: Any) -> list[Any] | None:
    """The sequences of a list of them; None if X is no list, or one array as nested lists."""
    if exchange.is_array(X):
        if getattr(X, "ndim", None) != 1 or getattr(X.dtype, "kind", None) != "O":
            return None
        X = list(X)
    if not isinstance(X, (list, tuple)):
        return None
    if any(_is_sequence(entry) for entry in X):
        return list(X)
    try:
        np.asarray(X)
    except ValueError:  # lists of several lengths
        return list(X)
    return None


def _is_sequence(entry: Any) -> bool:
    return exchange.is_array(entry) and not isinstance(entry, np.generic)


def _padded(entries: list[Any], least_steps: int) -> Sequences:
    """Sequences [T_i, I] or [T_i] as one array [N, T, I]."""
    arrays = [_sequence(f"X[{n}]", entry, least_steps) for n, entry in enumerate(entries)]
    first = next((n for n, array in enumerate(arrays) if array.shape[1]), 0)
    features = 1 if arrays[first].shape == _EMPTY else arrays[first].shape[1]
    for n, array in enumerate(arrays):
        if array.shape not in ((len(array), features), _EMPTY):
            raise ValueError(
                f"X[{n}]: expected {features} features at each step, as X[{first}] has, got {array.shape[1]}"
            )
    lengths = np.array([len(array) for array in arrays])
    single = all(array.dtype == np.float32 for array in arrays)
    x = np.zeros((len(arrays), int(lengths.max()), features), np.float32 if single else np.float64)
    for n, array in enumerate(arrays):
        if array.size:
            x[n, : len(array)] = array
        if not np.isfinite(x[n, : len(array)]).all():
            raise ValueError(f"X[{n}]: expected finite numbers, got NaN or infinity")
    return Sequences(x, None if (lengths == x.shape[1]).all() else lengths, listed=True)


def _sequence(name: str, entry: Any, least_steps: int) -> NDArray:
    """One sequence as an array [T, I] of numbers; an empty list as one of shape `_EMPTY`."""
    array = checks.as_array(name, entry)
    if array.dtype == object:
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{name}: expected real numbers, got objects ({error})") from error
    if array.dtype.kind not in "biuf" and array.size:
        raise TypeError(f"{name}: expected real numbers, got {array.dtype}")
    if array.ndim not in (1, 2):
        raise ValueError(f"{name}: expected shape [T, I] or [T], got {array.shape}")
    if len(array) < least_steps:
        raise ValueError(f"{name}: expected at least {least_steps} step, got shape {array.shape}")
    if array.shape == (0,):
        return array.reshape(_EMPTY)
    return array[:, np.newaxis] if array.ndim == 1 else array
