"""One loss and its gradients: forward, loss, backward, for any module. It writes `.grad` or `grads` alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from weakref import WeakSet

import numpy as np

from rnnfast import checks, exchange
from rnnfast.nn import losses
from rnnfast.nn.last import Last
from rnnfast.nn.mean import checked_sum
from rnnfast.nn.module import Module, evaluate, run_backward, run_forward

__all__ = [
    "Loss",
    "apply_loss",
    "as_loss",
    "check_keywords",
    "check_model",
    "counted",
    "counted_by",
    "evaluate_loss",
    "evaluation_only",
    "is_batch_first",
    "loss_and_grad",
    "number_of",
    "within_lengths",
]

PADDED = 2  # steps of zeros that a sequence must end in to count as padded
_looked_at: WeakSet[Module] = WeakSet()  # models whose first batch has been searched for padding

Loss = Callable[..., tuple[float, np.ndarray]] | str

_IGNORED = -100  # the default of cross_entropy's ignore_index
_FORWARD_ONLY = frozenset({"training", "rng", "checkpoint"})  # those of forward that evaluation does not take


def loss_and_grad(
    model: Module, loss: Loss, x: Any, targets: Any, state: Any = None, **keywords: Any
) -> tuple[float, Any]:
    """The loss of a training pass; its gradients are added into the parameters' `.grad` (the caller zeroes).

    Parameters
    ----------
    model : Module
        Run with ``training=True`` (dropout is on) unless `keywords` say otherwise.
    loss : callable or str
        ``loss(y, targets)`` or ``loss(y, targets, mask)`` giving (float, dy), as those of `rnnfast.losses`,
        or the name of one of these: "cross_entropy", "mse", "ctc".
    x : array_like
        The model's input.
    targets : array_like
        What the loss compares y with.
    state : optional
        The model's initial state. No gradient goes back into it.
    **keywords
        ``mask`` and ``weights``: handed to the loss. ``grads``: a dict to add the gradients into instead.
        Anything else is a keyword of the model's forward, such as ``rng``, ``reset``, ``lengths`` or
        ``checkpoint``. While y has a time axis, ``lengths`` also make a mask for the loss: steps past a
        sequence's end do not count.

    Returns
    -------
    loss : float
    state
        The model's final state, for the next call of a stateful run.

    Raises
    ------
    TypeError, ValueError
        A keyword that the model's forward does not take, or a loss that returns anything but (float, dy).

    Warns
    -----
    UserWarning
        Once for a model with `Last`: its first batch looks padded, and there are no ``lengths``. It does if
        at least two sequences end in different numbers of steps, two or more, that are all zero, and no other
        step is all zero.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> model = rf.Linear(2, 1, rng=0)
    >>> optimizer = rf.optim.Adam(model.parameters(), lr=0.1)
    >>> x = np.ones((4, 2), np.float32)
    >>> for _ in range(100):
    ...     model.zero_grad()
    ...     loss, state = rf.loss_and_grad(model, rf.losses.mse, x, np.zeros((4, 1)))
    ...     optimizer.step()
    >>> loss < 1e-3
    True
    """
    check_model(model)
    loss = as_loss(loss)
    check_keywords(model, keywords, {"mask", "weights", "grads"})
    mask, weights, grads = (keywords.pop(name, None) for name in ("mask", "weights", "grads"))
    _warn_if_padded(model, x, keywords)
    if "training" in model.takes:
        keywords.setdefault("training", True)
    y, state, tape = run_forward(model, x, state, **keywords)
    mask = within_lengths(model, x, keywords.get("lengths"), mask)
    value, dy = apply_loss(loss, y, targets, mask, weights)
    run_backward(model, tape, dy, input_grad=False, grads=grads)
    return value, state


def evaluate_loss(
    model: Module, loss: Loss, x: Any, targets: Any, state: Any = None, **keywords: Any
) -> tuple[float, Any]:
    """The loss of an evaluation pass and the final state, as :func:`loss_and_grad` but without gradients."""
    loss = as_loss(loss)
    check_keywords(model, keywords, {"mask", "weights", "grads"})
    mask, weights, _ = (keywords.pop(name, None) for name in ("mask", "weights", "grads"))
    y, state = evaluate(model, x, state, **evaluation_only(keywords))
    mask = within_lengths(model, x, keywords.get("lengths"), mask)
    return apply_loss(loss, y, targets, mask, weights)[0], state


def within_lengths(model: Module, x: Any, lengths: Any, mask: Any = None) -> Any:
    """The mask that keeps the steps within `lengths` and, of those, what `mask` keeps.

    It is `mask` itself without lengths, or where the model gives one y for each sequence.
    """
    if lengths is None or any(isinstance(module, Last) for module in model.modules()):
        return mask
    lengths, shape = checks.as_array("lengths", lengths), checks.as_array("x", x).shape
    if lengths.ndim == 0:
        within = np.arange(shape[0]) < lengths
    elif is_batch_first(model):
        within = np.arange(shape[1]) < lengths[:, np.newaxis]
    else:
        within = np.arange(shape[0])[:, np.newaxis] < lengths
    if mask is None:
        return within
    mask = checks.as_array("mask", mask)
    if mask.dtype != np.bool_:
        raise TypeError(f"mask: expected bool, got {mask.dtype}")
    axes = min(mask.ndim, within.ndim)
    if mask.shape[:axes] != within.shape[:axes]:
        raise ValueError(f"mask: expected shape {within.shape} and y's further axes, got {mask.shape}")
    mask, within = _aligned(mask, within)
    return mask & within


def _aligned(*parts: np.ndarray) -> list[np.ndarray]:
    """Arrays of leading axes of one shape, each with as many axes as the one that has most."""
    ndim = max(part.ndim for part in parts)
    return [part.reshape(part.shape + (1,) * (ndim - part.ndim)) for part in parts]


def evaluation_only(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Of the keywords of a model's forward those that evaluation takes as well."""
    return {name: value for name, value in keywords.items() if name not in _FORWARD_ONLY}


def counted(targets: Any, mask: Any, weights: Any = None) -> int | float:
    """How much a mean loss counts among others: the targets that the mask keeps, or their weights' sum."""
    size = number_of(targets)
    if mask is None and weights is None:
        return size
    if weights is None:
        kept = checks.as_array("mask", mask)
        return int(np.count_nonzero(kept)) * _each(size, kept)
    kept = checks.as_array("weights", weights).astype(np.float64)
    if mask is not None:
        mask, kept = _aligned(checks.as_array("mask", mask), kept)
        kept = np.where(mask, kept, 0.0)
    return checked_sum("weights", kept, _each(size, kept))


def _each(size: int, kept: np.ndarray) -> int:
    """How many of `size` targets have one entry of a mask or of weights."""
    return max(1, size // max(1, kept.size))


def counted_by(loss: Loss, targets: Any, mask: Any, weights: Any = None) -> int | float:
    """How much the mean of this loss counts: sequences with a step, labels not ignored, or else targets.

    Where there are weights, it is the sum of theirs.
    """
    loss, options = _without_options(loss)
    if loss is losses.ctc:
        return _sequences(targets, mask, options.get("batch_first", False))
    if loss is losses.cross_entropy:
        kept = checks.as_array("targets", targets) != options.get("ignore_index", _IGNORED)
        mask = kept if mask is None else kept & checks.full_mask(mask, kept.shape)
    return counted(targets, mask, weights)


def _without_options(loss: Any) -> tuple[Any, dict[str, Any]]:
    """The function of a loss, and the options that `functools.partial` gives it."""
    options: dict[str, Any] = {}
    while isinstance(loss, partial):
        options = {**loss.keywords, **options}
        loss = loss.func
    return loss, options


def _sequences(targets: Any, mask: Any, batch_first: bool) -> int:
    """The number of sequences with a step that counts."""
    if mask is None:
        return len(targets)
    with_step = np.any(mask, axis=1 if batch_first else 0) if np.ndim(mask) > 1 else mask
    return int(np.count_nonzero(with_step))


def number_of(targets: Any) -> int:
    """The number of targets: of an array, or of a list of arrays of several lengths."""
    if exchange.is_array(targets):
        return checks.as_array("targets", targets).size
    if isinstance(targets, (list, tuple)) and any(map(exchange.is_array, targets)):
        return sum(map(number_of, targets))
    try:
        return int(np.size(targets))
    except ValueError:  # no array can be made of several lengths
        return sum(map(number_of, targets))


def is_batch_first(model: Module) -> bool:
    """Whether a batched x is [B, T, ·]."""
    return any(getattr(module, "batch_first", False) for module in model.modules())


def check_keywords(model: Module, keywords: dict[str, Any], own: set[str]) -> None:
    """Refuse keywords that are neither the caller's own nor ones that the model's forward takes."""
    unknown = keywords.keys() - model.takes - own
    if unknown:
        known = ", ".join(sorted(model.takes | own))
        raise TypeError(f"{sorted(unknown)[0]}: expected a keyword {type(model).__name__} takes ({known})")


def check_model(model: Any) -> None:
    """Refuse what is no module."""
    if not isinstance(model, Module):
        raise TypeError(f"model: expected a Module, got {type(model).__name__}")


def as_loss(loss: Any) -> Callable[..., tuple[float, np.ndarray]]:
    """The function that `loss` is or names."""
    if isinstance(loss, str):
        if loss not in losses.__all__:
            raise ValueError(f"loss: expected a function or one of {', '.join(losses.__all__)}, got {loss!r}")
        return getattr(losses, loss)
    return checks.function("loss", loss)


def apply_loss(loss: Any, y: Any, targets: Any, mask: Any, weights: Any = None) -> tuple[float, np.ndarray]:
    """The loss and its gradient; a loss that takes no mask or weights is given none unless there are any."""
    if weights is not None and _without_options(loss)[0] is losses.ctc:
        raise TypeError(f"weights: expected none with the loss ctc, got {checks.shown(weights)}")
    weighing = {} if weights is None else {"weights": weights}
    given = loss(y, targets, **weighing) if mask is None else loss(y, targets, mask, **weighing)
    if not isinstance(given, tuple) or len(given) != 2:
        came = f"{len(given)} of them" if isinstance(given, tuple) else type(given).__name__
        raise TypeError(
            "loss: expected it to return (float, dy), the loss and its gradient with respect to y (see "
            f"rnnfast.losses), got {came}"
        )
    value, dy = given
    if type(value) is float and isinstance(dy, np.ndarray) and dy.shape == getattr(y, "shape", None):
        return value, dy
    if np.ndim(value) != 0 or isinstance(value, (str, complex)) or not hasattr(value, "__float__"):
        raise TypeError(f"loss: expected a number as the first of (float, dy), got {type(value).__name__}")
    if dy is not None and isinstance(y, np.ndarray) and np.shape(dy) != y.shape:
        raise ValueError(f"loss: expected dy of y's shape {y.shape}, got {np.shape(dy)}")
    return value, dy


def _warn_if_padded(model: Module, x: Any, keywords: Mapping[str, Any]) -> None:
    """Look at a model's first batch, if it has `Last` and no lengths."""
    if keywords.get("lengths") is not None or "lengths" not in model.takes or model in _looked_at:
        return
    _looked_at.add(model)
    if any(isinstance(module, Last) for module in model.modules()) and _looks_padded(
        checks.as_array("x", x), is_batch_first(model)
    ):
        warnings.warn(
            "x: some sequences end in steps of zeros, which looks like padding, and `Last` takes y behind "
            "them; lengths=... takes it at each sequence's own last step (rf.pack_sequences gives lengths)",
            stacklevel=3,
        )


def _looks_padded(x: np.ndarray, batch_first: bool) -> bool:
    """Whether sequences end in different numbers of zero steps, and no step before these is zero."""
    if x.ndim != (2 if x.dtype.kind in "iu" else 3) or x.dtype.kind not in "iuf":
        return False
    zero = x == 0
    zero = zero if x.ndim == 2 else zero.all(axis=2)
    zero = zero if batch_first else zero.T
    ends = np.logical_and.accumulate(zero[:, ::-1], axis=1).sum(axis=1)  # zero steps at the end of each
    different = ends[ends >= PADDED]
    return len(np.unique(different)) > 1 and ends.min() == 0 and int(zero.sum()) == int(ends.sum())
