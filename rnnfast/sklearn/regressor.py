"""A regressor of whole sequences."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_array, check_consistent_length

from rnnfast.sklearn.estimator import SequenceEstimator
from rnnfast.sklearn.scaling import Scaling
from rnnfast.sklearn.sequences import Sequences

__all__ = ["RNNRegressor"]


class RNNRegressor(RegressorMixin, SequenceEstimator):
    """A recurrent network that gives each sequence one number or several.

    The network is the recurrent layers, `rnnfast.Last`, dropout and `rnnfast.Linear`, trained by
    :func:`rnnfast.fit` with the squared error. X is an array ``[N, T, I]``, a list of sequences ``[T_i, I]``
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
        Give each feature of X, and each target, the mean 0 and the standard deviation 1 over the training
        data. Predictions are in the units of y.
    dtype : {"float32", "float64"}, default "float32"
        Of the network.
    random_state : int, numpy.random.RandomState or None
        Seeds weights, dropout, the split and the order of batches. An int gives the same bits in each run.
    verbose : bool or callable, default False
        Show progress on stderr, or by a function of the run, as ``progress`` of :func:`rnnfast.fit`.

    Attributes
    ----------
    n_outputs_ : int
        The targets of a sequence.
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
    The sum of the numbers in one column that another column marks:

    >>> import numpy as np
    >>> from rnnfast.sklearn import RNNRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.random((300, 12, 2))
    >>> X[:, :, 1] = X[:, :, 1] > 0.7
    >>> y = (X[:, :, 0] * X[:, :, 1]).sum(axis=1)
    >>> regressor = RNNRegressor(epochs=40, random_state=0).fit(X[:250], y[:250])
    >>> regressor.score(X[250:], y[250:]) > 0.9
    True
    """

    loss: ClassVar[str] = "mse"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> RNNRegressor:
        """Train a new network.

        Parameters
        ----------
        X : array_like [N, T, I] or [N, T], or list of N array_like [T_i, I] or [T_i]
            The sequences.
        y : array_like [N] or [N, K]
            The targets of each sequence.
        sample_weight : array_like [N], optional
            How much each sequence counts. The loss of a batch is the weighted mean.

        Returns
        -------
        RNNRegressor
            Itself.

        Raises
        ------
        TypeError, ValueError
            If a parameter or an argument cannot be.
        """
        self._fit(X, y, sample_weight)
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> RNNRegressor:
        """Train for one epoch more; the first call of all makes the network and the standardization.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Returns
        -------
        RNNRegressor
            Itself.
        """
        self._fit_once_more(X, y, sample_weight)
        return self

    def predict(self, X: Any) -> NDArray:
        """The prediction for each sequence in float64: [N, K], or [N] if y was [N]."""
        scaled, _ = self._outputs(X)
        outputs = self._target_scaling.restored(scaled)
        return outputs[:, 0] if self._flat else outputs

    def _read_targets(self, y: Any, sequences: Sequences, *, reset: bool) -> NDArray:
        targets = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y", estimator=self)
        if targets.ndim not in (1, 2):
            raise ValueError(f"y should be a 1d array or [N, K], got an array of shape {targets.shape}")
        check_consistent_length(sequences.x, targets)
        flat = targets.ndim == 1
        targets = targets.reshape(len(targets), -1)
        if reset:
            self._flat, self.n_outputs_ = flat, targets.shape[1]
        elif targets.shape[1] != self.n_outputs_:
            raise ValueError(f"y: expected {self.n_outputs_} targets, as at first, got {targets.shape[1]}")
        return targets

    def _begin_targets(self, targets: NDArray, weights: NDArray | None) -> int:
        scaled = Scaling.of("y", targets, weights) if self.standardize else Scaling.none(self.n_outputs_)
        self._target_scaling = scaled
        return self.n_outputs_

    def _scaled_targets(self, targets: NDArray) -> NDArray:
        with np.errstate(over="ignore"):
            scaled = self._target_scaling.standardized(targets).astype(self.dtype)
        if not np.isfinite(scaled).all():
            raise ValueError(f"y: expected numbers in the range of {self.dtype}, got larger ones")
        return scaled
