"""scikit-learn's own checks of estimators, on tables; those that cannot apply are named, with the reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.6")

from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from rnnfast import _core
from rnnfast.sklearn import RNNClassifier, RNNRegressor, SequenceTagger

# The only checks that do not hold, by their names.
WEIGHTS = "check_sample_weight_equivalence_on_dense_data"
NOT_APPLICABLE = {
    WEIGHTS: "batches are drawn: a sequence of weight 2 is in one of them, two copies may be in two"
}
LABELS = "y has one label for each step, and the checks give one for each row"


class Spread(SequenceTagger):
    """A tagger for the checks, whose y is one label for each row: each step of the row gets it."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        return super().fit(X, spread(X, y), sample_weight)

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Any:
        return super().partial_fit(X, spread(X, y), classes, sample_weight)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        return super().score(X, spread(X, y), sample_weight)


def spread(X: Any, y: Any) -> Any:
    labels, table = np.asarray(y), np.asarray(X)
    if y is None or labels.ndim != 1 or table.ndim != 2:
        return y
    return np.repeat(labels[:, np.newaxis], table.shape[1], axis=1)


ESTIMATORS = [
    RNNClassifier(hidden_size=8, epochs=10, learning_rate=0.04),
    RNNRegressor(hidden_size=8, epochs=20, learning_rate=0.04),
    Spread(hidden_size=4, epochs=2),
]


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=lambda estimator: NOT_APPLICABLE)
def test_it_is_an_estimator(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("kind", [RNNClassifier, RNNRegressor, Spread])
def test_weights_are_repetitions_where_one_batch_holds_all(kind: Any) -> None:
    """The check that fails for drawn batches passes with all in one batch: the loss is weighted exactly."""
    check = getattr(estimator_checks, WEIGHTS, None)
    if check is None:
        pytest.skip("this version has no such check")
    before = _core.runs_so_far()
    options = {"hidden_size": 3, "epochs": 3, "batch_size": 10**6, "dtype": "float64"}
    check(kind.__name__, kind(**options))
    assert _core.runs_so_far() > before


def test_of_a_tagger_only_checks_with_labels_of_rows_fail() -> None:
    found = check_estimator(SequenceTagger(hidden_size=2, epochs=1), on_fail=None, on_skip=None)
    failed = [each for each in found if each["status"] == "failed"]
    assert failed, LABELS
    for each in failed:
        message = (
            str(each["exception"]) + str(each["exception"].__cause__) + str(each["exception"].__context__)
        )
        assert "labels, one for each step" in message, each["check_name"]
