"""Sequences of several lengths as one padded array, and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from rnnfast.checks import as_array, checked_lengths, flag

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["pack_sequences", "unpack_sequences"]


def pack_sequences(
    sequences: Sequence[ArrayLike], *, batch_first: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Put sequences side by side, zeros behind the shorter ones.

    Parameters
    ----------
    sequences : sequence of array_like
        At least one, each ``[T_b, ...]`` with the same further axes and dtype; T_b may be 0.
    batch_first : bool
        x is ``[B, T, ...]`` instead of ``[T, B, ...]``.

    Returns
    -------
    x : numpy.ndarray
        ``[T, B, ...]`` with T the longest T_b.
    lengths : numpy.ndarray [B] of int64
        For the ``lengths`` of layers and models.

    Raises
    ------
    TypeError, ValueError
        If there is no sequence, one has no axis of time, or their further axes or dtypes differ.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> long, short = np.ones((3, 2), np.float32), np.ones((1, 2), np.float32)
    >>> x, lengths = rf.pack_sequences([short, long])
    >>> x.shape, lengths.tolist(), float(x.sum())
    ((3, 2, 2), [1, 3], 8.0)
    >>> y, h = rf.GRU(2, 4, rng=0)(x, lengths=lengths)
    >>> [sequence.shape for sequence in rf.unpack_sequences(y, lengths)]
    [(1, 4), (3, 4)]
    """
    if not isinstance(sequences, Iterable):
        raise TypeError(f"sequences: expected a sequence of arrays, got {type(sequences).__name__}")
    arrays = [as_array(f"sequences[{n}]", sequence) for n, sequence in enumerate(sequences)]
    if not arrays:
        raise ValueError("sequences: expected at least one, got none")
    first = arrays[0]
    for n, array in enumerate(arrays):
        if array.ndim == 0:
            raise ValueError(f"sequences[{n}]: expected an axis of time, got a single number")
        if array.shape[1:] != first.shape[1:]:
            want = ", ".join(map(str, ("T", *first.shape[1:])))
            raise ValueError(f"sequences[{n}]: expected shape [{want}] as sequences[0], got {array.shape}")
        if array.dtype != first.dtype and array.size:
            raise TypeError(f"sequences[{n}]: expected {first.dtype} as sequences[0], got {array.dtype}")
    flag("batch_first", batch_first)
    lengths = np.array([len(array) for array in arrays], np.int64)
    x = np.zeros((len(arrays), int(lengths.max()), *first.shape[1:]), first.dtype)
    for b, array in enumerate(arrays):
        x[b, : len(array)] = array
    return x if batch_first else np.ascontiguousarray(x.swapaxes(0, 1)), lengths


def unpack_sequences(y: ArrayLike, lengths: ArrayLike, *, batch_first: bool = False) -> list[np.ndarray]:
    """The sequences of a padded array, each without its padding.

    Parameters
    ----------
    y : array_like
        ``[T, B, ...]``, with `batch_first` ``[B, T, ...]``.
    lengths : array_like of integers
        ``[B]``, each in 0..T.
    batch_first : bool
        Which of the two.

    Returns
    -------
    list of numpy.ndarray
        ``[T_b, ...]`` for each sequence: copies.

    Raises
    ------
    TypeError, ValueError
        If y has fewer than two axes, or the lengths do not fit it.

    Examples
    --------
    >>> import rnnfast as rf
    >>> [sequence.tolist() for sequence in rf.unpack_sequences([[1, 2], [3, 0]], [2, 1])]
    [[1, 3], [2]]
    """
    array = as_array("y", y)
    if array.ndim < 2:
        raise ValueError(
            f"y: expected shape {'[B, T, ...]' if batch_first else '[T, B, ...]'}, got {array.shape}"
        )
    if not flag("batch_first", batch_first):
        array = array.swapaxes(0, 1)
    B, T = array.shape[:2]
    ends = checked_lengths(lengths, T, B)
    if ends is None:
        raise TypeError(f"lengths: expected integers of shape [{B}], got None")
    return [array[b, :length].copy() for b, length in enumerate(ends)]
