"""A classifier of each step of a sequence."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnfast import checks
from rnnfast.sklearn.classes import log_softmax, sorted_classes
from rnnfast.sklearn.estimator import SequenceEstimator, read_weights
from rnnfast.sklearn.sequences import Sequences

__all__ = ["SequenceTagger"]


class SequenceTagger(SequenceEstimator):
    """A recurrent network that gives each step of a sequence one of several classes.

    The network is the recurrent layers, dropout and `rnnfast.Linear`, trained by :func:`rnnfast.fit` with the
    mean cross-entropy of all steps. X is an array ``[N, T, I]``, a list of sequences ``[T_i, I]`` or
    ``[T_i]``, or a table ``[N, T]``, whose columns are the T steps of univariate sequences. A sequence of a
    list may have no step.

    y has one label for each step, so it is no y of scikit-learn's classifiers: splits are not stratified, and
    ``scoring`` is left to `score`.

    Parameters
    ----------
    cell : {"gru", "lstm", "rnn", "indrnn", "mingru", "minlstm", "slstm"}, default "gru"
        The recurrent layer.
    hidden_size : int, default 32
        Hidden units of each layer and direction.
    num_layers : int, default 1
        Recurrent layers above one another.
    bidirectional : bool, default False
        Read each sequence from its end, too.
    dropout : float, default 0.0
        The probability with which training drops an output of a recurrent layer.
    learning_rate : float, default 0.005
        Of AdamW.
    weight_decay : float, default 0.0
        Of AdamW.
    epochs : int, default 50
        How often `fit` goes through the data, at most.
    batch_size : int, default 32
        Sequences in a batch.
    clip_norm : float or None, default 1.0
        The bound on the joint norm of the gradients.
    early_stopping : bool, default False
        Hold a part of the data out, stop when its loss does not fall, and keep the best weights.
    validation_fraction : float, default 0.1
        The share of the sequences that early stopping holds out.
    patience : int, default 10
        The epochs without a lower loss after which to stop.
    standardize : bool, default True
        Give each feature of X the mean 0 and the standard deviation 1, over all steps of the training data.
    dtype : {"float32", "float64"}, default "float32"
        Of the network.
    random_state : int, numpy.random.RandomState or None
        Seeds weights, dropout, the split and the order of batches. An int gives the same bits in each run.
    verbose : bool or callable, default False
        Show progress on stderr, or by a function of the run, as ``progress`` of :func:`rnnfast.fit`.

    Attributes
    ----------
    classes_ : ndarray [C]
        The labels, sorted.
    n_features_in_ : int
        The columns of a table, else the features of each step.
    feature_names_in_ : ndarray of str
        The names of the columns, if X was a data frame.
    n_iter_ : int
        The epochs of training, those of `partial_fit` included.
    history_ : rnnfast.training.History
        The course of the last training.
    model_ : rnnfast.Sequential
        The network. It reads standardized numbers.
    optimizer_ : rnnfast.optim.AdamW
        The optimizer, with which `partial_fit` continues.

    Examples
    --------
    Whether the sum of all numbers so far is above zero:

    >>> import numpy as np
    >>> from rnnfast.sklearn import SequenceTagger
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.normal(size=(length, 1)) for length in rng.integers(5, 20, 200)]
    >>> y = [np.where(np.cumsum(x) > 0, "above", "below") for x in X]
    >>> tagger = SequenceTagger(epochs=30, random_state=0).fit(X[:150], y[:150])
    >>> tagger.score(X[150:], y[150:]) > 0.9
    True
    >>> [len(labels) == len(x) for labels, x in zip(tagger.predict(X[:3]), X)]
    [True, True, True]
    """

    loss: ClassVar[str] = "cross_entropy"
    each_step: ClassVar[bool] = True
    least_steps: ClassVar[int] = 0

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> SequenceTagger:
        """Train a new network.

        Parameters
        ----------
        X : array_like [N, T, I] or [N, T], or list of N array_like [T_i, I] or [T_i]
            The sequences.
        y : array_like [N, T], or list of N array_like [T_i]
            A label for each step.
        sample_weight : array_like [N], optional
            How much each step of a sequence counts. The loss of a batch is the weighted mean.

        Returns
        -------
        SequenceTagger
            Itself.

        Raises
        ------
        TypeError, ValueError
            If a parameter or an argument cannot be.
        """
        self._fit(X, y, sample_weight)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> SequenceTagger:
        """Train for one epoch more; the first call of all makes the network.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        classes : array_like, optional
            All labels that there will be, for the first call. By default those of its y.

        Returns
        -------
        SequenceTagger
            Itself.
        """
        self._fit_once_more(X, y, sample_weight, classes=classes)
        return self

    def predict(self, X: Any) -> list[NDArray] | NDArray:
        """The label of the most probable class of each step: a list of [T_i], or [N, T] for an array X."""
        outputs, sequences = self._outputs(X)
        return _as_given(self.classes_[outputs.argmax(axis=-1)], sequences)

    def predict_proba(self, X: Any) -> list[NDArray] | NDArray:
        """The probability of each class at each step: a list of [T_i, C], or [N, T, C] for an array X."""
        outputs, sequences = self._outputs(X)
        return _as_given(np.exp(log_softmax(outputs)), sequences)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The accuracy: the share of all steps of all sequences that get their label.

        Parameters
        ----------
        X, y
            As for `fit`.
        sample_weight : array_like [N], optional
            How much each step of a sequence counts.

        Returns
        -------
        float
        """
        outputs, sequences = self._outputs(X)
        right = self.classes_[outputs.argmax(axis=-1)][sequences.within] == _labels(y, sequences)
        weights = read_weights(sample_weight, sequences.ends)
        each = None if weights is None else np.repeat(weights, sequences.ends)
        return float(np.average(right, weights=each))

    def _read_targets(self, y: Any, sequences: Sequences, *, reset: bool, classes: Any = None) -> NDArray:
        labels = _labels(y, sequences)
        before = None if reset else self.classes_
        self.classes_, places = sorted_classes(labels, classes, before)
        targets = np.zeros(sequences.x.shape[:2], np.int64)
        targets[sequences.within] = places
        return targets


def _labels(y: Any, sequences: Sequences) -> NDArray:
    """The labels of all sequences one after the other, one for each step."""
    if not isinstance(y, (list, tuple)):
        array = checks.as_array("y", y)
        if array.ndim == 0:
            raise ValueError(f"y: expected an array [N, T] or a list of arrays, got {checks.shown(y)}")
        y = array
    if len(y) != len(sequences.x):
        raise ValueError(f"y: expected the labels of {len(sequences.x)} sequences, got those of {len(y)}")
    rows = []
    for n, (each, end) in enumerate(zip(y, sequences.ends, strict=True)):
        row = checks.as_array(f"y[{n}]", each)
        if row.shape != (end,):
            raise ValueError(f"y[{n}]: expected {end} labels, one for each step, got shape {row.shape}")
        if row.size:  # an empty list has no dtype of its own
            rows.append(row)
            if not _alike(row.dtype, rows[0].dtype):
                raise ValueError(
                    f"y[{n}]: expected labels of one kind in all sequences, got {row.dtype} beside "
                    f"{rows[0].dtype}"
                )
    if not rows:
        raise ValueError("y: expected at least one label, got none")
    return np.concatenate(rows)


def _alike(one: np.dtype, other: np.dtype) -> bool:
    """Whether labels of these dtypes can be joined without a change of their kind."""
    kinds = {one.kind, other.kind} - {"O"}
    return len(kinds) < 2 or kinds <= set("biuf")


def _as_given(values: NDArray, sequences: Sequences) -> list[NDArray] | NDArray:
    """What was computed for the steps [N, T] in the form of X."""
    if sequences.listed:
        return [value[:end] for value, end in zip(values, sequences.ends, strict=True)]
    return values
