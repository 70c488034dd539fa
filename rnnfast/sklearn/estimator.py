"""What the estimators share: their parameters, the network, its training and its evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from rnnfast import checks
from rnnfast.nn import Dropout, Last, Linear, Module, Sequential, optim
from rnnfast.nn.mean import checked_sum, checked_weights
from rnnfast.recurrent import GRU, LSTM, RNN, SLSTM, IndRNN, MinGRU, MinLSTM
from rnnfast.sklearn.scaling import Scaling
from rnnfast.sklearn.sequences import Sequences, read_sequences
from rnnfast.training.fit import fit

__all__ = ["SequenceEstimator", "read_weights"]

CELLS = {
    "rnn": RNN,
    "lstm": LSTM,
    "gru": GRU,
    "indrnn": IndRNN,
    "mingru": MinGRU,
    "minlstm": MinLSTM,
    "slstm": SLSTM,
}
_TOGETHER = 256  # sequences that are evaluated in one call


class SequenceEstimator(BaseEstimator):
    """An estimator whose network is recurrent layers and a linear one.

    A subclass reads y in `_read_targets`, and gives the loss, the number of outputs and the labels by which a
    split is stratified.
    """

    classes_: NDArray  # of a subclass whose targets are classes
    loss: ClassVar[str]  # the name of one of rnnfast.losses
    each_step: ClassVar[bool] = False  # whether there is a target for each step, or one for the sequence
    least_steps: ClassVar[int] = 1  # of a sequence

    def __init__(
        self,
        cell: str = "gru",
        hidden_size: int = 32,
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        learning_rate: float = 0.005,
        weight_decay: float = 0.0,
        epochs: int = 50,
        batch_size: int = 32,
        clip_norm: float | None = 1.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        standardize: bool = True,
        dtype: str = "float32",
        random_state: Any = None,
        verbose: Any = False,
    ) -> None:
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.epochs = epochs
        self.batch_size = batch_size
        self.clip_norm = clip_norm
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.standardize = standardize
        self.dtype = dtype
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.required = True
        return tags

    def _fit(self, X: Any, y: Any, sample_weight: Any) -> None:
        """Train a new network on X and y."""
        with self._unchanged_by_errors():
            self._check_parameters()
            sequences = self._read(X, y, reset=True)
            targets = self._read_targets(y, sequences, reset=True)
            weights = read_weights(sample_weight, sequences.ends, _width(targets))
            self._begin(sequences, targets, weights)
            held_out = None
            if self.early_stopping:
                train, rest = self._split(sequences, targets, weights)
                held_out = self._data(sequences, targets, weights, rest)
                data = self._data(sequences, targets, weights, train)
            else:
                data = self._data(sequences, targets, weights)
        self._train(data, held_out, self.epochs)

    def _fit_once_more(self, X: Any, y: Any, sample_weight: Any, **known: Any) -> None:
        """Train for one epoch on X and y. The first call makes the network."""
        with self._unchanged_by_errors():
            self._check_parameters()
            if self.early_stopping:
                raise ValueError("early_stopping: expected False for partial_fit, got True")
            first = not hasattr(self, "model_")
            sequences = self._read(X, y, reset=first)
            targets = self._read_targets(y, sequences, reset=first, **known)
            weights = read_weights(sample_weight, sequences.ends, _width(targets))
            if first:
                self._begin(sequences, targets, weights)
            data = self._data(sequences, targets, weights)
        self._train(data, None, 1)

    @contextmanager
    def _unchanged_by_errors(self) -> Iterator[None]:
        """Restore all attributes if the block raises: a refused call leaves the estimator as it was."""
        before = dict(self.__dict__)
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _split(
        self, sequences: Sequences, targets: NDArray, weights: NDArray | None
    ) -> tuple[NDArray, NDArray]:
        """The indices of the sequences to train on, and of those that are held out."""
        train, rest = train_test_split(
            np.arange(len(targets)),
            test_size=self.validation_fraction,
            stratify=self._strata(targets),
            random_state=self._source,
        )
        counts = sequences.ends if weights is None else sequences.ends * weights
        for part, rows in (("training", train), ("held-out", rest)):
            if not counts[rows].any():
                name, least = ("X", "step") if weights is None else ("sample_weight", "weight above 0")
                raise ValueError(
                    f"{name}: expected at least one {least} among the {len(rows)} {part} sequences of "
                    "early_stopping, got none"
                )
        return train, rest

    def _read(self, X: Any, y: Any, *, reset: bool) -> Sequences:
        """The sequences of X; an error if y is missing or masked."""
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        checks.refuse_masked("y", y)
        return read_sequences(self, X, reset=reset, least_steps=self.least_steps)

    def _outputs(self, X: Any) -> tuple[NDArray, Sequences]:
        """What the network gives for X: [N, K], or [N, T, K] with a target for each step."""
        check_is_fitted(self, "model_")
        sequences = read_sequences(self, X, reset=False, least_steps=self.least_steps)
        parts = []
        for low in range(0, len(sequences.x), _TOGETHER):
            part = sequences.chosen(slice(low, low + _TOGETHER))
            parts.append(self.model_(self._standardized(part), lengths=part.lengths)[0])
        return np.concatenate(parts), sequences

    # What a subclass says.

    def _read_targets(self, y: Any, sequences: Sequences, *, reset: bool) -> NDArray:
        """The network's targets, one for each sequence or step; `reset` notes what y is like."""
        raise NotImplementedError

    def _begin_targets(self, targets: NDArray, weights: NDArray | None) -> int:
        """The number of the network's outputs, for these targets: by default one for each class."""
        return len(self.classes_)

    def _scaled_targets(self, targets: NDArray) -> NDArray:
        """The targets as the loss takes them."""
        return targets

    def _strata(self, targets: NDArray) -> NDArray | None:
        """The classes that a split divides alike."""
        return None

    # The network.

    def _check_parameters(self) -> None:
        """Refuse parameters that cannot be, by their names, before anything changes."""
        checks.one_of("cell", self.cell, CELLS)
        for name in ("hidden_size", "num_layers", "epochs", "batch_size", "patience"):
            checks.positive(name, getattr(self, name))
        for name in ("bidirectional", "early_stopping", "standardize"):
            checks.flag(name, getattr(self, name))
        checks.probability("dropout", self.dropout)
        checks.above_zero("learning_rate", self.learning_rate)
        checks.at_least_zero("weight_decay", self.weight_decay)
        checks.share("validation_fraction", self.validation_fraction)
        checks.float_dtype(self.dtype)
        if self.clip_norm is not None:
            checks.limit_above_zero("clip_norm", self.clip_norm)
        _check_verbose(self.verbose)
        _check_random_state(self.random_state)

    def _begin(self, sequences: Sequences, targets: NDArray, weights: NDArray | None) -> None:
        """A new network, with a new optimizer, for sequences and targets like these."""
        self._source = check_random_state(self.random_state)
        features = sequences.x.shape[2]
        self._scaling = Scaling.none(features)
        if self.standardize:
            each = None if weights is None else np.repeat(weights, sequences.ends)
            self._scaling = Scaling.of("X", sequences.x[sequences.within], each)
        self.model_ = self._network(features, self._begin_targets(targets, weights))
        self.optimizer_ = optim.AdamW(
            self.model_.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )
        self.n_iter_ = 0

    def _network(self, inputs: int, outputs: int) -> Module:
        layer = CELLS[self.cell](
            inputs,
            self.hidden_size,
            self.num_layers,
            batch_first=True,
            dropout=self.dropout if self.num_layers > 1 else 0.0,
            bidirectional=self.bidirectional,
            dtype=self.dtype,
            rng=self._seed(),
        )
        modules: list[Module] = [layer]
        if not self.each_step:
            modules.append(Last(batch_first=True, bidirectional=self.bidirectional))
        if self.dropout:
            modules.append(Dropout(self.dropout, rng=self._seed()))
        width = self.hidden_size * (2 if self.bidirectional else 1)
        return Sequential(*modules, Linear(width, outputs, dtype=self.dtype, rng=self._seed()))

    def _seed(self) -> int:
        return int(self._source.randint(2**31 - 1))

    def _standardized(self, sequences: Sequences) -> NDArray:
        """The sequences as the network reads them."""
        with np.errstate(over="ignore"):
            x = self._scaling.standardized(sequences.x).astype(self.dtype)
        if not np.isfinite(x[sequences.within]).all():
            raise ValueError(f"X: expected numbers in the range of {self.dtype}, got larger ones")
        return x

    def _data(
        self, sequences: Sequences, targets: NDArray, weights: NDArray | None, rows: Any = slice(None)
    ) -> tuple[NDArray, NDArray, dict[str, NDArray | None]]:
        """Some of the sequences with their targets, lengths and weights, as `fit` takes them."""
        chosen = sequences.chosen(rows)
        keywords = {"lengths": chosen.lengths, "weights": None if weights is None else weights[rows]}
        return self._standardized(chosen), self._scaled_targets(targets[rows]), keywords

    def _train(self, data: Any, held_out: Any, epochs: int) -> None:
        progress = self.verbose if callable(self.verbose) else bool(self.verbose)
        self.optimizer_.lr, self.optimizer_.weight_decay = self.learning_rate, self.weight_decay
        self.history_ = fit(
            self.model_,
            self.loss,
            data,
            self.optimizer_,
            epochs=epochs,
            batch_size=self.batch_size,
            shuffle=True,
            validation=held_out,
            patience=None if held_out is None else self.patience,
            clip_norm=self.clip_norm,
            progress=progress,
            rng=self._seed(),
            axes=(0, 0),
        )
        self.n_iter_ += len(self.history_.loss)
        if self.history_.interrupted:  # the model keeps what it has learned, and the caller's loop ends
            raise KeyboardInterrupt


def _width(targets: NDArray) -> int:
    """The number of targets of each sequence, padding included."""
    return targets.size // len(targets)


def _check_verbose(value: Any) -> None:
    """Refuse what is neither a flag, an integer nor a function."""
    flag = isinstance(value, (bool, np.bool_, int, np.integer))
    if isinstance(value, type) or not (flag or callable(value)):
        raise TypeError(
            f"verbose: expected True, False, an integer or a function of a run, got {checks.shown(value)}"
        )


def _check_random_state(value: Any) -> None:
    """Refuse what scikit-learn makes no generator of."""
    try:
        check_random_state(value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "random_state: expected None, an integer in 0..2**32-1 or a numpy.random.RandomState, got "
            f"{checks.shown(value)}"
        ) from error


def read_weights(sample_weight: Any, ends: NDArray, width: int = 1) -> NDArray | None:
    """A weight for each sequence, in float64; None for None.

    Parameters
    ----------
    sample_weight : array_like [N] or None
    ends : ndarray [N]
        The number of steps of each sequence.
    width : int
        The number of targets of each sequence.
    """
    count = len(ends)
    if sample_weight is None:
        return None
    weights = checks.as_array("sample_weight", sample_weight)
    if weights.dtype.kind not in "biuf":
        raise TypeError(f"sample_weight: expected real numbers, got {weights.dtype}")
    if weights.ndim != 1:
        raise ValueError(f"sample_weight: expected shape [{count}], got {weights.shape}")
    check_consistent_length(weights, np.empty(count))
    weights = checked_weights("sample_weight", weights.astype(np.float64))
    if not weights.any():
        raise ValueError("sample_weight: expected a weight above 0, got zeros alone")
    if not weights[ends > 0].any():
        raise ValueError("sample_weight: expected a weight above 0 for a sequence with a step, got none")
    checked_sum("sample_weight", weights, max(width, int(ends.max())))
    return weights
