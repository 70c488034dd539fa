"""rnnfast.sklearn: sequences as X, weights, early stopping, `partial_fit`, searches, pickles, bits."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.arrays import assert_equal
from helpers.models import weights_of

pytest.importorskip("sklearn", "1.6")

from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import rnnfast as rf
from rnnfast import _core
from rnnfast.sklearn import RNNClassifier, RNNRegressor, SequenceTagger

SMALL = {"hidden_size": 6, "epochs": 3, "random_state": 0}
N = 40


def ragged(features: int = 2, seed: int = 0) -> list[np.ndarray]:
    """Sequences of 3 to 8 steps."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(length, features)) for length in rng.integers(3, 9, N)]


def cases() -> list[Any]:
    """Each estimator, with what it is to learn."""
    X = ragged()
    return [
        pytest.param(
            RNNClassifier(**SMALL), X, np.where([x[-1, 0] > 0 for x in X], "yes", "no"), id="classifier"
        ),
        pytest.param(RNNRegressor(**SMALL), X, np.array([100 + x.sum() for x in X]), id="regressor"),
        pytest.param(
            SequenceTagger(**SMALL), X, [np.where(x[:, 1] > 0, "up", "down") for x in X], id="tagger"
        ),
    ]


each = pytest.mark.parametrize(("estimator", "X", "y"), cases())


@each
def test_it_learns_on_rnnfast_s_kernels(estimator: Any, X: list[np.ndarray], y: Any) -> None:
    estimator = clone(estimator).set_params(epochs=40, learning_rate=0.03)
    before = _core.runs_so_far()
    assert estimator.fit(X, y) is estimator
    assert _core.runs_so_far() == before + 2 * 40 * 2  # forward and backward, of two batches in each epoch
    before = _core.runs_so_far()
    assert estimator.score(X, y) > 0.9
    assert _core.runs_so_far() == before + 1
    assert estimator.n_features_in_ == 2
    assert estimator.n_iter_ == 40


@each
def test_predictions_are_those_of_the_network_on_each_sequence_alone(
    estimator: Any, X: list[np.ndarray], y: Any
) -> None:
    estimator = clone(estimator).set_params(standardize=False).fit(X, y)
    network = estimator.model_
    together = estimator.predict_proba(X) if hasattr(estimator, "predict_proba") else estimator.predict(X)
    for x, got in zip(X, together, strict=True):
        want = network(x[np.newaxis].astype(np.float32))[0][0].astype(np.float64)
        if isinstance(estimator, RNNRegressor):
            assert got == want[0]
        else:
            odds = np.exp(want - want.max(axis=-1, keepdims=True))
            np.testing.assert_allclose(got, odds / odds.sum(axis=-1, keepdims=True), rtol=1e-12)


@each
def test_the_same_random_state_gives_the_same_bits(estimator: Any, X: list[np.ndarray], y: Any) -> None:
    options = {"dropout": 0.3, "num_layers": 2, "bidirectional": True, "early_stopping": True}
    first = clone(estimator).set_params(**options).fit(X, y)
    threads = rf.get_num_threads()
    rf.set_num_threads(1)
    second = clone(first).fit(X, y)
    rf.set_num_threads(threads)
    assert_equal(weights_of(second.model_), weights_of(first.model_))
    assert_equal(first.fit(X, y).predict(X), second.predict(X))
    other = clone(first).set_params(random_state=1).fit(X, y)
    assert not np.array_equal(weights_of(other.model_), weights_of(first.model_))


@each
def test_a_pickle_predicts_and_trains_on_alike(estimator: Any, X: list[np.ndarray], y: Any) -> None:
    estimator = clone(estimator).set_params(dropout=0.2)
    estimator.partial_fit(X, y).partial_fit(X, y)
    again = pickle.loads(pickle.dumps(estimator))
    assert_equal(again.predict(X), estimator.predict(X))
    assert_equal(weights_of(again.partial_fit(X, y).model_), weights_of(estimator.partial_fit(X, y).model_))


@each
def test_partial_fit_is_an_epoch(estimator: Any, X: list[np.ndarray], y: Any) -> None:
    one = clone(estimator).set_params(epochs=1).fit(X, y)
    part = clone(estimator).partial_fit(X, y)
    assert_equal(weights_of(part.model_), weights_of(one.model_))
    before = weights_of(part.model_)
    part.partial_fit(X[:5], y[:5])
    assert part.n_iter_ == 2
    assert not np.array_equal(weights_of(part.model_), before)
    with pytest.raises(ValueError, match=r"^early_stopping: expected False"):
        part.set_params(early_stopping=True).partial_fit(X, y)


@pytest.mark.parametrize("kind", [RNNClassifier, SequenceTagger])
def test_partial_fit_knows_all_classes_from_the_first_call(kind: Any) -> None:
    X = np.random.default_rng(0).normal(size=(4, 5, 1))
    y = np.zeros(4, int) if kind is RNNClassifier else np.zeros((4, 5), int)
    estimator = kind(**SMALL).partial_fit(X, y, classes=[2, 0, 1])
    assert estimator.classes_.tolist() == [0, 1, 2]
    estimator.partial_fit(X, y + 2)
    assert estimator.predict_proba(X).shape[-1] == 3
    with pytest.raises(ValueError, match=r"^y: expected labels among the classes \[0, 1, 2\], got .*3"):
        estimator.partial_fit(X, y + 3)
    with pytest.raises(
        ValueError, match=r"^classes: expected those of the first call \[0, 1, 2\], got \[0, 1\]"
    ):
        estimator.partial_fit(X, y, classes=[0, 1])


@each
def test_searches_and_cross_validation(estimator: Any, X: list[np.ndarray], y: Any) -> None:
    search = GridSearchCV(estimator, {"cell": ["gru", "rnn"]}, cv=2, refit=True).fit(X, y)
    assert len(search.cv_results_["mean_test_score"]) == 2
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert len(search.predict(X)) == N
    assert np.isfinite(cross_val_score(estimator, X, y, cv=2)).all()


def test_kinds_of_estimators() -> None:
    assert is_classifier(RNNClassifier())
    assert is_regressor(RNNRegressor())
    assert not is_classifier(SequenceTagger())  # whose y is none of a classifier
    X, y = ragged(), np.arange(N) % 2
    proba = cross_val_predict(RNNClassifier(**SMALL), X, y, cv=StratifiedKFold(2), method="predict_proba")
    assert proba.shape == (N, 2)
    assert cross_val_score(RNNClassifier(**SMALL), X, y, cv=2, scoring="roc_auc").shape == (2,)


def test_a_search_in_processes_gives_the_same_bits() -> None:
    X, y = ragged(), np.arange(N) % 2
    found = [
        GridSearchCV(
            RNNClassifier(**SMALL), {"dropout": [0.0, 0.5]}, cv=2, n_jobs=jobs, scoring="neg_log_loss"
        )
        for jobs in (1, 2)
    ]
    one, two = (search.fit(X, y).cv_results_["mean_test_score"] for search in found)
    assert_equal(two, one)


def test_pipelines() -> None:
    X, y = ragged(), [x.sum() > 0 for x in ragged()]
    doubled = FunctionTransformer(lambda X: [np.concatenate([x, x**2], axis=1) for x in X])
    pipeline = make_pipeline(doubled, RNNClassifier(**SMALL)).fit(X, y)
    assert pipeline[-1].n_features_in_ == 4
    assert 0 <= pipeline.score(X, y) <= 1
    table = np.random.default_rng(0).normal(size=(N, 7))
    pipeline = make_pipeline(StandardScaler(), RNNRegressor(**SMALL)).fit(table, table.sum(axis=1))
    assert pipeline[-1].n_features_in_ == 7
    assert pipeline.predict(table).shape == (N,)


# What X may be.


def test_forms_of_the_same_sequences_train_the_same_network() -> None:
    table = np.random.default_rng(0).normal(size=(N, 6)).astype(np.float32)
    y = table.sum(axis=1) > 0
    objects = np.empty(N, object)
    objects[:] = list(table)
    forms = {
        "table": table,
        "nested lists": table.tolist(),
        "array": table[:, :, np.newaxis],
        "arrays [T]": list(table),
        "arrays [T, 1]": [row[:, np.newaxis] for row in table],
        "tuple": tuple(table),
        "objects": objects,
        "float64": table.astype(np.float64),
    }
    networks = {name: RNNClassifier(**SMALL).fit(form, y) for name, form in forms.items()}
    want = weights_of(networks["table"].model_)
    for name, network in networks.items():
        np.testing.assert_allclose(weights_of(network.model_), want, atol=1e-6, err_msg=name)
    of_table = {"table", "nested lists", "float64"}
    assert {name for name, network in networks.items() if network.n_features_in_ == 6} == of_table
    assert all(network.n_features_in_ == 1 for name, network in networks.items() if name not in of_table)


def test_a_list_of_lists_of_several_lengths() -> None:
    y = [0, 1, 0, 1]
    listed = [[1.0, 2.0], [1.0], [0.5, 1.0, 2.0], [3.0]]
    classifier = RNNClassifier(**SMALL).fit(listed, y)
    arrays = RNNClassifier(**SMALL).fit([np.array(each) for each in listed], y)
    assert_equal(weights_of(classifier.model_), weights_of(arrays.model_))


def exported(array: np.ndarray) -> Any:
    class Exported:
        def __dlpack__(self, **options: Any) -> Any:
            return array.__dlpack__(**options)

        def __dlpack_device__(self) -> Any:
            return array.__dlpack_device__()

    return Exported()


def tensor(array: np.ndarray) -> Any:
    return pytest.importorskip("torch").from_numpy(array)


@pytest.mark.parametrize("kind", [exported, tensor])
def test_arrays_of_other_libraries(kind: Callable[[np.ndarray], Any]) -> None:
    X, y = np.random.default_rng(0).normal(size=(N, 5, 2)), np.arange(N) % 2
    want = weights_of(RNNClassifier(**SMALL).fit(X, y).model_)
    assert_equal(weights_of(RNNClassifier(**SMALL).fit(kind(X), y).model_), want)
    assert_equal(weights_of(RNNClassifier(**SMALL).fit([kind(x) for x in X], y).model_), want)


def test_a_table_has_named_columns() -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(np.random.default_rng(0).normal(size=(N, 3)), columns=["jan", "feb", "mar"])
    classifier = RNNClassifier(**SMALL).fit(table, np.arange(N) % 2)
    assert classifier.feature_names_in_.tolist() == ["jan", "feb", "mar"]
    with pytest.raises(ValueError, match="feature names"):
        classifier.predict(table[["feb", "jan", "mar"]])
    classifier.fit(ragged(), np.arange(N) % 2)
    assert not hasattr(classifier, "feature_names_in_")


@pytest.mark.parametrize(
    ("fitted", "given", "message"),
    [
        (
            np.ones((4, 5)),
            np.ones((4, 6)),
            "X has 6 features, but RNNClassifier is expecting 5 features as input",
        ),
        (np.ones((4, 5)), np.ones((4, 5, 2)), "X has 2 features, but RNNClassifier is expecting 1 features"),
        (
            np.ones((4, 5, 2)),
            np.ones((4, 5, 3)),
            "X has 3 features, but RNNClassifier is expecting 2 features",
        ),
        (
            np.ones((4, 5, 2)),
            [np.ones((3, 1))],
            "X has 1 features, but RNNClassifier is expecting 2 features",
        ),
        (
            np.ones((4, 5, 2)),
            np.ones((5, 2)),
            r"X has 1 features at each step.*X\[np.newaxis\] is one sequence",
        ),
        (np.ones((4, 5, 2)), np.ones((4, 0, 2)), r"X: expected at least 1 step, got shape \(4, 0, 2\)"),
        (np.ones((4, 5, 2)), [np.ones((3, 2)), np.ones((0, 2))], r"X\[1\]: expected at least 1 step"),
        (np.ones((4, 5, 2)), [np.ones((3, 2)), np.ones((3, 1))], r"X\[1\]: expected 2 features at each step"),
        (
            np.ones((4, 5, 2)),
            [np.ones((3, 2)), np.ones((3, 2, 1))],
            r"X\[1\]: expected shape \[T, I\] or \[T\]",
        ),
        (np.ones((4, 5, 2)), [np.full((3, 2), np.nan)], r"X\[0\]: expected finite numbers"),
        (np.ones((4, 5, 2)), np.full((1, 5, 2), np.inf), "Input X contains infinity"),
        (np.ones((4, 5, 2)), np.full((1, 5, 2), 1e300), "X: expected numbers in the range of float32"),
        (np.ones((4, 5, 2)), np.ones(5), "Expected 2D array, got 1D array"),
        (np.ones((4, 5, 2)), [], "Expected 2D array, got 1D array"),
    ],
)
def test_x_that_cannot_be_is_refused(fitted: Any, given: Any, message: str) -> None:
    classifier = RNNClassifier(**SMALL).fit(fitted, [0, 1, 0, 1])
    before = weights_of(classifier.model_)
    with pytest.raises(ValueError, match=message):
        classifier.predict(given)
    assert_equal(weights_of(classifier.model_), before)


def test_entries_that_are_no_numbers_are_refused_by_their_place() -> None:
    with pytest.raises(TypeError, match=r"^X\[1\]: expected real numbers, got <U1"):
        RNNClassifier(**SMALL).fit([np.ones(3), np.array(["a", "b"])], [0, 1])


@each
@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("cell", "transformer", ValueError),
        ("hidden_size", 0, ValueError),
        ("num_layers", 1.5, TypeError),
        ("bidirectional", "no", TypeError),
        ("dropout", 1.0, ValueError),
        ("learning_rate", 0, ValueError),
        ("weight_decay", -1, ValueError),
        ("epochs", 0, ValueError),
        ("batch_size", None, TypeError),
        ("clip_norm", 0, ValueError),
        ("early_stopping", 1, TypeError),
        ("validation_fraction", 1.0, ValueError),
        ("patience", 0, ValueError),
        ("standardize", None, TypeError),
        ("dtype", "float16", TypeError),
    ],
)
def test_parameters_that_cannot_be_are_refused_by_name(
    estimator: Any, X: Any, y: Any, name: str, value: Any, kind: type[Exception]
) -> None:
    with pytest.raises(kind, match=f"^{name}: expected "):
        clone(estimator).set_params(**{name: value}).fit(X, y)


@each
@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(N - 1), "inconsistent numbers of samples"),
        (np.ones((N, 1)), r"sample_weight: expected shape \[40\], got \(40, 1\)"),
        (np.r_[-1.0, np.ones(N - 1)], "sample_weight: expected finite numbers of at least 0"),
        (np.zeros(N), "sample_weight: expected a weight above 0, got zeros alone"),
    ],
)
def test_weights_that_cannot_be_are_refused(
    estimator: Any, X: Any, y: Any, weights: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        clone(estimator).fit(X, y, sample_weight=weights)


# Training.


@each
def test_a_weight_is_a_number_of_copies(estimator: Any, X: list[np.ndarray], y: Any) -> None:
    """With all sequences in one batch; standardization is weighted too."""
    times = np.arange(N) % 3
    copies = np.repeat(np.arange(N), times)
    whole = clone(estimator).set_params(batch_size=1000, dtype="float64")
    weighted = clone(whole).fit(X, y, sample_weight=times)
    repeated = clone(whole).fit([X[n] for n in copies], [y[n] for n in copies])
    unweighted = clone(whole).fit(X, y)
    want = weights_of(repeated.model_)
    np.testing.assert_allclose(weights_of(weighted.model_), want, rtol=1e-7, atol=1e-9)
    assert not np.allclose(weights_of(unweighted.model_), want, atol=1e-6)


@each
def test_early_stopping_keeps_the_best_epoch(estimator: Any, X: list[np.ndarray], y: Any) -> None:
    options = {"epochs": 200, "learning_rate": 0.1, "patience": 3, "early_stopping": True}
    stopped = clone(estimator).set_params(**options, validation_fraction=0.25).fit(X, y)
    assert stopped.n_iter_ < 200
    assert stopped.history_.stopped == "patience"
    losses = stopped.history_.validation
    assert losses.index(min(losses)) == len(losses) - 4
    assert (
        clone(stopped).set_params(early_stopping=False, epochs=2).fit(X, y).history_.validation == [None] * 2
    )


def test_the_held_out_part_has_all_classes() -> None:
    X, y = np.random.default_rng(0).normal(size=(40, 5, 1)), np.r_[np.zeros(36), np.ones(4)]
    seen: list[Any] = []

    class Watched(RNNClassifier):
        def _train(self, data: Any, held_out: Any, epochs: int) -> None:
            seen.append((data[1], held_out[1]))
            super()._train(data, held_out, epochs)

    Watched(**SMALL, early_stopping=True, validation_fraction=0.25).fit(X, y)
    assert [part.tolist().count(1) for part in seen[0]] == [3, 1]


def test_verbose_shows_the_progress(capsys: pytest.CaptureFixture[str]) -> None:
    X, y = ragged(), np.arange(N) % 2
    RNNClassifier(**SMALL).fit(X, y)
    assert capsys.readouterr().err == ""
    RNNClassifier(**SMALL, verbose=1).fit(X, y)
    assert "loss" in capsys.readouterr().err
    events: list[str] = []
    RNNClassifier(**SMALL, verbose=lambda run: events.append(run.event)).fit(X, y)
    assert events.count("epoch") == 3
    assert capsys.readouterr().err == ""


def test_ctrl_c_ends_the_callers_loop_and_keeps_the_network() -> None:
    def interrupt(run: Any) -> None:
        if run.event == "step" and run.step == 3:
            raise KeyboardInterrupt

    X, y = ragged(), np.arange(N) % 2
    classifier = RNNClassifier(**SMALL, verbose=interrupt)
    with pytest.raises(KeyboardInterrupt):
        classifier.fit(X, y)
    assert classifier.history_.interrupted
    assert classifier.predict(X).shape == (N,)


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn", "indrnn", "mingru", "minlstm", "slstm"])
def test_every_cell_in_both_directions(cell: str) -> None:
    X, y = ragged(), np.arange(N) % 3
    options = {"cell": cell, "num_layers": 2, "bidirectional": True, "dropout": 0.1}
    classifier = RNNClassifier(**{**SMALL, "epochs": 1}, **options).fit(X, y)
    assert type(classifier.model_[0]).__name__.lower() == cell
    assert classifier.predict_proba(X).shape == (N, 3)


# Each estimator's own.


def test_probabilities_sum_to_one_and_their_order_is_that_of_the_classes() -> None:
    X, y = ragged(), np.array(["b", "a", "c", "a"] * 10)
    classifier = RNNClassifier(**SMALL).fit(X, y)
    assert classifier.classes_.tolist() == ["a", "b", "c"]
    proba = classifier.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_allclose(np.log(proba), classifier.predict_log_proba(X))
    assert_equal(classifier.classes_[proba.argmax(axis=1)], classifier.predict(X))


def test_a_regressor_of_several_targets_in_their_units() -> None:
    X = ragged()
    y = np.array([[1e6 + 1e3 * x[-1, 0], 1e-6 * x[0, 1]] for x in X])
    regressor = RNNRegressor(**{**SMALL, "epochs": 60}, learning_rate=0.03).fit(X, y)
    got = regressor.predict(X)
    assert got.shape == (N, 2)
    assert got.dtype == np.float64
    assert regressor.score(X, y) > 0.8
    assert RNNRegressor(**SMALL).fit(X, y[:, :1]).predict(X).shape == (N, 1)
    with pytest.raises(ValueError, match=r"^y: expected 2 targets, as at first, got 1"):
        regressor.partial_fit(X, y[:, 0])


def test_constant_features_and_targets_stay_finite() -> None:
    X = np.full((6, 4, 2), 0.1)
    assert np.allclose(RNNRegressor(**SMALL).fit(X, np.full(6, 0.3)).predict(X), 0.3, atol=0.5)


def test_a_tagger_answers_in_the_form_of_x() -> None:
    X = ragged()
    y = [(x[:, 0] > 0).astype(int) for x in X]
    tagger = SequenceTagger(**SMALL).fit(X, y)
    labels, proba = tagger.predict(X), tagger.predict_proba(X)
    assert [row.shape for row in labels] == [(len(x),) for x in X]
    assert [row.shape for row in proba] == [(len(x), 2) for x in X]
    right = np.concatenate([row == want for row, want in zip(labels, y, strict=True)])
    assert tagger.score(X, y) == pytest.approx(right.mean())  # over steps, not sequences
    weights = np.arange(N) / N
    steps = [len(x) for x in X]
    assert tagger.score(X, y, weights) == pytest.approx(np.average(right, weights=np.repeat(weights, steps)))
    whole = np.random.default_rng(0).normal(size=(3, 5, 2))
    assert tagger.predict(whole).shape == (3, 5)
    assert tagger.predict_proba(whole).shape == (3, 5, 2)


def test_a_sequence_without_a_step_has_no_labels() -> None:
    X = [np.ones((3, 1)), np.ones((0, 1)), np.zeros((2, 1))]
    y = [["a", "b", "a"], [], ["b", "b"]]
    tagger = SequenceTagger(**SMALL).fit(X, y)
    assert [len(row) for row in tagger.predict(X)] == [3, 0, 2]
    assert 0 <= tagger.score(X, y) <= 1
    without = SequenceTagger(**SMALL).fit([X[0], X[2]], [y[0], y[2]])
    np.testing.assert_allclose(weights_of(tagger.model_), weights_of(without.model_), atol=1e-6)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([np.zeros(3), np.zeros(2)], r"y\[1\]: expected 3 labels, one for each step, got shape \(2,\)"),
        ([np.zeros(3)], "y: expected the labels of 2 sequences, got those of 1"),
        ([0, 1], r"y\[0\]: expected 3 labels, one for each step, got shape \(\)"),
        ("ab", r"y: expected an array \[N, T\] or a list of arrays, got 'ab'"),
        (None, "SequenceTagger requires y to be passed, but the target y is None"),
    ],
)
def test_labels_that_do_not_fit_the_steps_are_refused(y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        SequenceTagger(**SMALL).fit([np.ones((3, 1)), np.ones((3, 1))], y)


@each
def test_before_fit_there_is_nothing_to_predict(estimator: Any, X: Any, y: Any) -> None:
    with pytest.raises(NotFittedError):
        clone(estimator).predict(X)
    with pytest.raises(NotFittedError):
        clone(estimator).score(X, y)
