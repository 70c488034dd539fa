"""rnnfast.sklearn: what is refused, by which name, and that a refused call leaves the estimator as it was."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from helpers.arrays import assert_equal
from helpers.models import weights_of

pytest.importorskip("sklearn", "1.6")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from rnnfast.sklearn import RNNClassifier, RNNRegressor, SequenceTagger
from rnnfast.sklearn.classes import log_softmax
from rnnfast.sklearn.scaling import Scaling

SMALL = {"hidden_size": 4, "epochs": 2, "random_state": 0}
N = 12
X = np.random.default_rng(0).normal(size=(N, 5, 2))
STEPS = np.where(X[:, :, 0] > 0, "up", "down")
KINDS = [
    pytest.param(RNNClassifier, np.where(X[:, 0, 0] > 0, "yes", "no"), id="classifier"),
    pytest.param(RNNRegressor, X.sum(axis=(1, 2)), id="regressor"),
    pytest.param(SequenceTagger, STEPS, id="tagger"),
]
each = pytest.mark.parametrize(("kind", "y"), KINDS)


class Watched(RNNRegressor):
    """A regressor that keeps what its training is given."""

    def _train(self, data: Any, held_out: Any, epochs: int) -> None:
        self.given_ = data, held_out
        super()._train(data, held_out, epochs)


def other_y(kind: Any, rows: int = N) -> Any:
    """A y of other classes, or of other columns."""
    if kind is RNNRegressor:
        return np.ones((rows, 3))
    labels = np.array(["a", "b", "c"])[np.arange(rows) % 3]
    return labels if kind is RNNClassifier else np.repeat(labels[:, np.newaxis], 7, axis=1)


REFUSED: list[Any] = [
    ("rows", {}),
    ("weights", {}),
    ("range", {"standardize": False}),
    ("parameters", {"random_state": "seed"}),
    ("parameters", {"verbose": dict}),
    ("parameters", {"early_stopping": True, "validation_fraction": 0.999}),
]


def refused_call(kind: Any, case: str) -> tuple[Any, Any, Any]:
    """X, y and weights of other features and classes, with a fault."""
    inputs, weights = np.ones((N, 7, 3)), None
    if case == "range":
        inputs[-1, -1, -1] = 1e300
    if case == "weights":
        weights = -np.ones(N)
    return inputs, other_y(kind, N - 1 if case == "rows" else N), weights


@each
@pytest.mark.parametrize(("case", "options"), REFUSED)
def test_a_refused_refit_leaves_the_estimator_as_it_was(
    kind: Any, y: Any, case: str, options: dict[str, Any]
) -> None:
    estimator = kind(**SMALL).fit(X, y)
    want, network = estimator.predict(X), estimator.model_
    estimator.set_params(**options)
    before = {name: id(value) for name, value in vars(estimator).items()}
    inputs, targets, weights = refused_call(kind, case)
    with pytest.raises((TypeError, ValueError)):
        estimator.fit(inputs, targets, sample_weight=weights)
    assert {name: id(value) for name, value in vars(estimator).items()} == before
    assert estimator.model_ is network
    assert_equal(
        estimator.set_params(**{name: kind().get_params()[name] for name in options}).predict(X), want
    )


@each
@pytest.mark.parametrize(("case", "options"), REFUSED)
def test_after_a_refused_first_fit_the_estimator_is_not_fitted(
    kind: Any, y: Any, case: str, options: dict[str, Any]
) -> None:
    inputs, targets, weights = refused_call(kind, case)
    for method in ("fit", "partial_fit"):
        estimator = kind(**SMALL).set_params(**options)
        with pytest.raises((TypeError, ValueError)):
            getattr(estimator, method)(inputs, targets, sample_weight=weights)
        with pytest.raises(NotFittedError):
            estimator.predict(X)


@each
@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("verbose", dict, TypeError),
        ("verbose", "yes", TypeError),
        ("verbose", None, TypeError),
        ("random_state", "seed", ValueError),
        ("random_state", -1, ValueError),
    ],
)
def test_verbose_and_random_state_are_refused_by_name(
    kind: Any, y: Any, name: str, value: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match=f"^{name}: expected "):
        kind(**SMALL).set_params(**{name: value}).fit(X, y)


# Numbers that are too large.


@pytest.mark.parametrize("weights", [None, np.arange(20000) % 3 + 0.5])
def test_a_constant_column_has_the_scale_1(weights: Any) -> None:
    rows = np.full((20000, 2), 0.1)
    rows[:, 1] = np.arange(20000)
    scaling = Scaling.of("X", rows, weights)
    assert scaling.scale[0] == 1.0
    assert scaling.mean[0] == 0.1
    np.testing.assert_allclose(scaling.mean[1], np.average(rows[:, 1], weights=weights), rtol=1e-13)
    want = np.sqrt(np.average((rows[:, 1] - scaling.mean[1]) ** 2, weights=weights))
    np.testing.assert_allclose(scaling.scale[1], want, rtol=1e-13)


def test_a_row_of_weight_zero_is_not_looked_at() -> None:
    rows = np.array([[1e308], [1.0], [3.0]])
    assert_equal(Scaling.of("X", rows, np.array([0.0, 1.0, 1.0])), Scaling(np.array([2.0]), np.array([1.0])))


def test_the_unit_of_weights_is_free() -> None:
    rows, weights = 100 * X[0], np.arange(1.0, 6.0)
    want = Scaling.of("X", rows, weights)
    for power in (-1000, 1020):
        assert_equal(Scaling.of("X", rows, np.ldexp(weights, power)), want)


@pytest.mark.parametrize("large", [1e200, 1.7e308])
def test_numbers_without_a_finite_standard_deviation_are_refused_by_name(large: float) -> None:
    inputs, targets = X.copy(), np.ones(N)
    inputs[0, 0, 0], inputs[1, 0, 0] = large, -large
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=r"^X: expected numbers whose standard deviation"):
            RNNRegressor(**SMALL).fit(inputs, targets)
        targets[:2] = large, -large
        with pytest.raises(ValueError, match=r"^y: expected numbers whose standard deviation"):
            RNNRegressor(**SMALL).fit(X, targets)


def test_targets_outside_float32_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"^y: expected numbers in the range of float32"):
        RNNRegressor(**SMALL, standardize=False).fit(X, np.full(N, 1e300))


def test_one_number_outside_float32_is_refused_wherever_it_is() -> None:
    regressor = RNNRegressor(**SMALL, standardize=False).fit(X, np.ones(N))
    for place in ((0, 0, 0), (5, 2, 1), (N - 1, 4, 1)):
        inputs = X.copy()
        inputs[place] = 1e300
        with pytest.raises(ValueError, match=r"^X: expected numbers in the range of float32"):
            regressor.predict(inputs)


def test_padding_is_in_no_range() -> None:
    inputs = [np.full((2, 1), 1e300), np.full((4, 1), 1e300)]
    assert np.isfinite(RNNRegressor(**SMALL).fit(inputs, [0.0, 1.0]).predict(inputs)).all()


# Weights.


@each
def test_weights_whose_sum_is_infinite_are_refused_by_name(kind: Any, y: Any) -> None:
    with pytest.raises(ValueError, match=r"^sample_weight: expected weights whose sum is finite"):
        kind(**SMALL).fit(X, y, sample_weight=np.full(N, 1e308))


def test_a_weight_above_zero_needs_a_step() -> None:
    inputs, labels = [np.ones((3, 1)), np.ones((0, 1))], [["a", "b", "a"], []]
    message = r"^sample_weight: expected a weight above 0 for a sequence with a step, got none"
    with pytest.raises(ValueError, match=message):
        SequenceTagger(**SMALL).fit(inputs, labels, sample_weight=[0, 1])
    tagger = SequenceTagger(**SMALL).fit(inputs, labels)
    with pytest.raises(ValueError, match=message):
        tagger.score(inputs, labels, sample_weight=[0, 1])


@each
def test_both_parts_of_early_stopping_need_a_weight_above_zero(kind: Any, y: Any) -> None:
    estimator = kind(**SMALL, early_stopping=True, validation_fraction=0.25)
    for n in range(N):
        with pytest.raises(ValueError, match=r"^sample_weight: expected at least one weight above 0 among "):
            estimator.fit(X, y, sample_weight=np.arange(N) == n)


def test_early_stopping_needs_a_step_in_both_parts() -> None:
    inputs = [np.ones((3, 1)), *[np.ones((0, 1))] * 7]
    with pytest.raises(ValueError, match=r"^X: expected at least one step among the "):
        SequenceTagger(**SMALL, early_stopping=True).fit(inputs, [["a", "b", "a"], *[[]] * 7])


def test_early_stopping_splits_the_weights_with_their_sequences() -> None:
    y = np.arange(float(N))
    watched = Watched(**SMALL, early_stopping=True, validation_fraction=0.25, standardize=False)
    watched.fit(X, y, sample_weight=y + 1)
    for _, targets, keywords in watched.given_:
        assert_equal(keywords["weights"], targets[:, 0].astype(np.float64) + 1)


# Masked arrays, entries and labels.


@each
def test_masked_arrays_are_refused(kind: Any, y: Any) -> None:
    masked = np.ma.masked_array(X, X > 1)
    estimator = kind(**SMALL).fit(X, y)
    for call in (estimator.predict, lambda X: clone(estimator).fit(X, y)):
        for given in (masked, list(masked)):
            with pytest.raises(TypeError, match=r"^X: expected a plain array, got a masked one"):
                call(given)
    with pytest.raises(TypeError, match=r"^X: expected a plain array, got a masked one"):
        clone(estimator).fit(masked[:, :, 0], y)
    with pytest.raises(TypeError, match=r"^y: expected a plain array, got a masked one"):
        clone(estimator).fit(X, np.ma.masked_array(y, np.zeros(y.shape, bool)))


def test_entries_of_objects_that_are_no_numbers_are_refused_by_their_place() -> None:
    for entry in (np.array(["a", 1.0], object), np.array([None, {}], object)):
        with pytest.raises(TypeError, match=r"^X\[1\]: expected real numbers, got objects"):
            RNNClassifier(**SMALL).fit([np.ones(3), entry], [0, 1])


def test_an_empty_list_is_a_sequence_of_any_features() -> None:
    inputs, labels = [[], np.ones((3, 2)), np.zeros((2, 2))], [[], ["a", "b", "a"], ["b", "b"]]
    tagger = SequenceTagger(**SMALL).fit(inputs, labels)
    assert tagger.n_features_in_ == 2
    assert [len(row) for row in tagger.predict(inputs)] == [0, 3, 2]
    with pytest.raises(ValueError, match=r"^X\[2\]: expected 2 features at each step, as X\[1\] has, got 1"):
        tagger.predict([[], np.ones((3, 2)), np.ones(2)])


@pytest.mark.parametrize(("kind", "y"), [KINDS[0], KINDS[2]])
def test_labels_and_classes_that_cannot_be_are_refused_by_name(kind: Any, y: Any) -> None:
    with pytest.raises(ValueError, match=r"^classes: expected at least one class, got none"):
        kind(**SMALL).partial_fit(X, y, classes=[])
    with pytest.raises(TypeError, match=r"^classes: expected labels that can be sorted, got those of "):
        kind(**SMALL).partial_fit(X, y, classes=np.array(["no", None], object))
    labels = y.astype(object)
    labels[0] = None
    with pytest.raises(
        TypeError, match=r"^y: expected labels that can be sorted, got those of NoneType, str"
    ):
        kind(**SMALL).fit(X, labels)
    with pytest.raises(ValueError, match="Unknown label type"):
        kind(**SMALL).fit(X, np.random.default_rng(0).random(y.shape))


@pytest.mark.parametrize(
    ("labels", "other"),
    [
        ([1, 2], ["a", "b"]),
        (["a", "b"], [1.0, 2.0]),
        (["a", "b"], np.array([b"a", b"b"])),
        ([1, 2], np.array([0, 1], "M8[D]")),
    ],
)
def test_a_tagger_refuses_labels_of_several_kinds(labels: Any, other: Any) -> None:
    inputs = [np.ones(2), np.zeros(2)]
    with pytest.raises(ValueError, match=r"^y\[1\]: expected labels of one kind in all sequences, got "):
        SequenceTagger(**SMALL).fit(inputs, [labels, other])


# The rest.


@each
def test_the_tags_say_that_y_is_required(kind: Any, y: Any) -> None:
    assert kind().__sklearn_tags__().target_tags.required


@each
def test_partial_fit_takes_new_settings_of_the_optimizer(kind: Any, y: Any) -> None:
    estimator = kind(**SMALL).partial_fit(X, y)
    other = pickle.loads(pickle.dumps(estimator)).set_params(learning_rate=0.5, weight_decay=0.25)
    other.partial_fit(X, y)
    assert (other.optimizer_.lr, other.optimizer_.weight_decay) == (0.5, 0.25)
    assert not np.allclose(
        weights_of(other.model_), weights_of(estimator.partial_fit(X, y).model_), atol=0.01
    )


def test_log_probabilities_of_large_logits() -> None:
    assert_equal(
        log_softmax(np.array([[1e4, 0.0], [-1e4, -1e4 - 800]])), np.array([[0.0, -1e4], [0.0, -800.0]])
    )
