"""The CTC loss: sequences of logits against shorter sequences of labels, without an alignment."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnfast import _core, checks
from rnnfast.arithmetic import to_nearest

__all__ = ["ctc"]


@to_nearest
def ctc(
    y: ArrayLike,
    targets: Any,
    mask: ArrayLike | None = None,
    *,
    lengths: ArrayLike | None = None,
    target_lengths: ArrayLike | None = None,
    blank: int = 0,
    batch_first: bool = False,
    ignore_index: int = -100,
    zero_infinity: bool = False,
) -> tuple[float, NDArray]:
    """Connectionist temporal classification: logits of every step against labels without their times.

    A path chooses a class or the blank at each step. It stands for the labels that are left when repetitions
    are merged and blanks removed. The loss of a sequence is ``-log`` of the probability of all paths that
    stand for its labels.

    Parameters
    ----------
    y : array_like, float, shape [T, B, V]
        Logits of V classes, the blank among them; the softmax is part of the loss. ``[B, T, V]`` with
        `batch_first`, ``[T, V]`` unbatched.
    targets : array_like of integers [B, L], or a list of B arrays of integers
        The labels of each sequence: classes other than the blank. A row of an array is filled up with
        `ignore_index` behind its labels, or `target_lengths` say where they end. Unbatched ``[L]``. A
        sequence may have no labels.
    mask : array_like, bool, shape [T, B] or leading axes of it, optional
        True where a step counts (``[B, T]`` with `batch_first`, ``[T]`` unbatched). Other steps are skipped
        as if they were not there. NaN in them is harmless. `rf.loss_and_grad` and `rf.fit` make the mask from
        their ``lengths``.
    lengths : array_like of integers [B], optional
        How many steps each sequence has, 0..T; further steps do not count. Unbatched one integer.
    target_lengths : array_like of integers [B], optional
        How many labels each row of an array has, 0..L. Unbatched one integer.
    blank : int, default 0
        The class of the blank.
    batch_first : bool, default False
        The first axes of y and of `mask` are [B, T].
    ignore_index : int, default -100
        What fills the rows of `targets`.
    zero_infinity : bool, default False
        A sequence without a path adds 0 to the loss instead of infinity, and its gradient is zero instead of
        NaN.

    Returns
    -------
    loss : float
        The mean over the sequences that have a step; 0.0 when there are none. It is infinite if one of them
        has no path: each label needs a step, and one more if the label before it is the same.
    dy : ndarray, shape and dtype of y
        The gradient of `loss`; exactly 0 in steps that do not count.

    Raises
    ------
    TypeError
        `y` is not float, `mask` not bool, or labels and lengths not integers.
    ValueError
        Shapes that do not fit, or a label that is no class or the blank. Labels of a sequence without a step
        are not looked at.

    Notes
    -----
    Of a sequence's labels, ``-log`` of the probability is what `torch.nn.functional.ctc_loss` gives for each
    sequence with ``reduction="none"``. This loss is their mean. PyTorch's ``reduction="mean"`` first divides
    each by its number of labels; and PyTorch counts sequences without a step.

    Everything is computed in float64, in logarithms, by compiled loops over time. The loss of a sequence has
    the same bits alone, in any batch and for any number of threads.

    References
    ----------
    A. Graves, S. Fernández, F. Gomez and J. Schmidhuber, "Connectionist temporal classification: labelling
    unsegmented sequence data with recurrent neural networks", ICML (2006).

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> y = np.zeros((4, 2, 3))                                  # T = 4, B = 2; classes: blank, 1, 2
    >>> loss, dy = rf.losses.ctc(y, [[1, 2], [1]])
    >>> paths = [15, 10]                                         # of 3**4 for each sequence
    >>> bool(np.isclose(loss, -np.mean(np.log(np.array(paths) / 3**4))))
    True

    In training, `lengths` of a batch are those of y, too. Options are given by `functools.partial`:

    >>> from functools import partial
    >>> model = rf.Sequential(rf.GRU(3, 8, rng=0), rf.Linear(8, 5, rng=1))
    >>> x = np.random.default_rng(2).standard_normal((9, 2, 3), np.float32)
    >>> labels = np.array([[1, 1, 2], [3, -100, -100]])
    >>> loss, state = rf.loss_and_grad(model, "ctc", x, labels, lengths=[9, 4])
    >>> last = partial(rf.losses.ctc, blank=4)
    >>> loss, state = rf.loss_and_grad(model, last, x, labels, lengths=[9, 4])
    """
    y = checks.any_floats("y", y)
    batch_first = checks.flag("batch_first", batch_first)
    zero_infinity = checks.flag("zero_infinity", zero_infinity)
    if y.ndim not in (2, 3) or y.shape[-1] < 1:
        axes = "[B, T, V]" if batch_first else "[T, B, V]"
        raise ValueError(f"y: expected shape {axes} or [T, V] with at least one class, got {y.shape}")
    blank = checks.integer("blank", blank, 0)
    if blank >= y.shape[-1]:
        raise ValueError(f"blank: expected a class in 0..{y.shape[-1] - 1}, got {blank}")
    logits = checks.block(y.astype(np.float64, copy=False))
    dy = np.zeros(y.shape)
    steps, dsteps = (_by_step(array, batch_first) for array in (logits, dy))
    T, B, V = steps.shape
    kept = _kept_steps(mask, lengths, y, batch_first)
    counts: NDArray = np.full(B, T > 0) if kept is None else np.any(kept, axis=0)
    count = int(np.count_nonzero(counts))
    batched = y.ndim == 3
    rows = _rows(targets, _one_or_more("target_lengths", target_lengths, batched), batched, B, ignore_index)
    rows = [row if counted else row[:0] for row, counted in zip(rows, counts, strict=True)]
    labels = np.concatenate([np.empty(0, np.intp), *rows])
    _check_labels(labels, V, blank)
    if count == 0:
        return 0.0, dy.astype(y.dtype, copy=False)

    losses = np.empty(B)
    start = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.intp)
    impossible = 0.0 if zero_infinity else np.nan
    _core.ctc(steps, kept, labels, start, blank, 1.0 / count, impossible, losses, dsteps)
    if zero_infinity:
        losses[losses == np.inf] = 0.0
    return float(losses.sum()) / count, dy.astype(y.dtype, copy=False)


def _by_step(array: NDArray, batch_first: bool) -> NDArray:
    """The array seen as [T, B, ...]; what is unbatched has one sequence."""
    if array.ndim == 2:
        return array[:, np.newaxis]
    return array.swapaxes(0, 1) if batch_first else array


def _one_or_more(name: str, lengths: ArrayLike | None, batched: bool) -> NDArray | None:
    """Lengths as an array [B]; of an unbatched sequence they are one integer."""
    if lengths is None:
        return None
    lengths = checks.as_array(name, lengths)
    if not batched and lengths.ndim:
        raise ValueError(f"{name}: expected one integer, as y is unbatched, got shape {lengths.shape}")
    return lengths if batched else lengths[np.newaxis]


def _kept_steps(
    mask: ArrayLike | None, lengths: ArrayLike | None, y: NDArray, batch_first: bool
) -> NDArray | None:
    """Where a step counts, [T, B] and C-contiguous; None: everywhere."""
    T, B, _ = _by_step(y, batch_first).shape
    kept = None
    if mask is not None:
        spread = checks.full_mask(mask, y.shape[:-1])
        kept = spread[:, np.newaxis] if y.ndim == 2 else spread.T if batch_first else spread
    ends = checks.checked_lengths(_one_or_more("lengths", lengths, y.ndim == 3), T, B)
    if ends is not None:
        within = np.arange(T)[:, np.newaxis] < ends
        kept = within if kept is None else kept & within
    return None if kept is None else checks.block(kept)


def _rows(targets: Any, ends: NDArray | None, batched: bool, B: int, ignore_index: int) -> list[NDArray]:
    """The labels of each sequence."""
    ignore_index = checks.integer("ignore_index", ignore_index)
    checks.refuse_masked("targets", targets)
    given = targets if batched else [targets]
    if not isinstance(given, (list, tuple)):
        given = np.atleast_1d(checks.as_array("targets", given))
    if len(given) != B:
        raise ValueError(f"targets: expected the labels of {B} sequences, got those of {len(given)}")
    if ends is not None and ends.dtype.kind not in "iu":
        raise TypeError(f"target_lengths: expected an integer dtype, got {ends.dtype}")
    if ends is not None and ends.shape != (B,):
        raise ValueError(f"target_lengths: expected shape [{B}], got {ends.shape}")
    rows = []
    for b, each in enumerate(given):
        row = checks.as_array(f"targets[{b}]", each)
        if row.ndim != 1:
            raise ValueError(f"targets[{b}]: expected labels in one row, got shape {row.shape}")
        if row.dtype.kind not in "iu" and row.size:  # an empty list has no dtype of its own
            raise TypeError(f"targets[{b}]: expected integer labels, got {row.dtype}")
        end = int(np.count_nonzero(row != ignore_index)) if ends is None else int(ends[b])
        if not 0 <= end <= len(row):
            raise ValueError(f"target_lengths: expected 0 to {len(row)}, got {end}")
        if ends is None and (row[:end] == ignore_index).any():
            raise ValueError(f"targets[{b}]: expected {ignore_index} behind all labels, got {row.tolist()}")
        rows.append(row[:end].astype(np.intp))
    return rows


def _check_labels(labels: NDArray, classes: int, blank: int) -> None:
    wrong = labels[(labels < 0) | (labels >= classes) | (labels == blank)]
    if wrong.size:
        raise ValueError(
            f"targets: expected classes in 0..{classes - 1} other than the blank {blank}, got {wrong[0]}"
        )
