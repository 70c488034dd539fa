"""A classifier of whole sequences."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_array, check_consistent_length, column_or_1d

from rnnfast.sklearn.classes import log_softmax, sorted_classes
from rnnfast.sklearn.estimator import SequenceEstimator
from rnnfast.sklearn.sequences import Sequences

__all__ = ["RNNClassifier"]


class RNNClassifier(ClassifierMixin, SequenceEstimator):
    """A recurrent network that gives each sequence one of several classes.

    The network is the recurrent layers, `rnnfast.Last`, dropout and `rnnfast.Linear`, trained by
    :func:`rnnfast.fit` with the cross-entropy. X is an array ``[N, T, I]``, a list of sequences ``[T_i, I]``
    or ``[T_i]``, or a table ``[N, T]``, whose columns are the T steps of univariate sequences.

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
    Which of two frequencies a noisy sine has, from sequences of several lengths:

    >>> import numpy as np
    >>> from rnnfast.sklearn import RNNClassifier
    >>> rng = np.random.default_rng(0)
    >>> y = rng.choice(["high", "low"], size=200)
    >>> step = np.where(y == "high", 0.9, 0.5)
    >>> length = rng.integers(20, 40, 200)
    >>> X = [np.sin(s * np.arange(n)) + rng.normal(0, 0.3, n) for s, n in zip(step, length)]
    >>> classifier = RNNClassifier(hidden_size=16, epochs=20, random_state=0).fit(X[:150], y[:150])
    >>> classifier.score(X[150:], y[150:]) > 0.9
    True
    >>> classifier.predict_proba(X[:3]).shape, classifier.classes_.tolist()
    ((3, 2), ['high', 'low'])
    """

    loss: ClassVar[str] = "cross_entropy"

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> RNNClassifier:
        """Train a new network.

        Parameters
        ----------
        X : array_like [N, T, I] or [N, T], or list of N array_like [T_i, I] or [T_i]
            The sequences.
        y : array_like [N]
            A label for each sequence.
        sample_weight : array_like [N], optional
            How much each sequence counts. The loss of a batch is the weighted mean.

        Returns
        -------
        RNNClassifier
            Itself.

        Raises
        ------
        TypeError, ValueError
            If a parameter or an argument cannot be.
        """
        self._fit(X, y, sample_weight)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> RNNClassifier:
        """Train for one epoch more; the first call of all makes the network.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        classes : array_like, optional
            All labels that there will be, for the first call. By default those of its y.

        Returns
        -------
        RNNClassifier
            Itself.
        """
        self._fit_once_more(X, y, sample_weight, classes=classes)
        return self

    def predict(self, X: Any) -> NDArray:
        """The label of the most probable class of each sequence, [N]."""
        outputs, _ = self._outputs(X)
        return self.classes_[outputs.argmax(axis=-1)]

    def predict_proba(self, X: Any) -> NDArray:
        """The probability of each class, [N, C], in the order of ``classes_``."""
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: Any) -> NDArray:
        """The logarithm of the probability of each class, [N, C]."""
        return log_softmax(self._outputs(X)[0])

    def _read_targets(self, y: Any, sequences: Sequences, *, reset: bool, classes: Any = None) -> NDArray:
        labels = column_or_1d(
            check_array(y, ensure_2d=False, dtype=None, input_name="y", estimator=self), warn=True
        )
        check_consistent_length(sequences.x, labels)
        before = None if reset else self.classes_
        self.classes_, places = sorted_classes(labels, classes, before)
        return places

    def _strata(self, targets: NDArray) -> NDArray | None:
        return targets
