"""A model's backward pass and a loss, held against finite differences of what the loss gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from rnnfast import checks
from rnnfast.nn.module import Module, run_backward, run_forward
from rnnfast.nn.parameter import check_writeable
from rnnfast.training.grad import Loss, apply_loss, as_loss, check_keywords, check_model, within_lengths

__all__ = ["check_gradients"]


class _Precision(NamedTuple):
    """How finite differences are taken in a dtype: the step, the share of a gradient that may be off."""

    step: float
    tolerance: float


# A step's truncation is of the order of its square, rounding of that of eps over it.
_PRECISION = {np.dtype(np.float64): _Precision(1e-5, 1e-5), np.dtype(np.float32): _Precision(1e-2, 2e-2)}
_ROUNDING = 8  # units in the last place that a loss may be off by
_SHORTER = 8  # a difference that is off is taken again in a shorter step: it may have crossed a kink
_SHOWN = 4  # entries that an error names


def check_gradients(
    model: Module,
    loss: Loss,
    x: Any,
    targets: Any,
    state: Any = None,
    *,
    samples: int = 8,
    input_grad: bool = True,
    rng: checks.Rng = 0,
    **keywords: Any,
) -> dict[str, float]:
    """Compare the gradients of a model's `backward` and of a loss with finite differences.

    It is for a `backward` or a loss of one's own. Parameters and `.grad` are as before afterwards.

    Parameters
    ----------
    model : Module
        Best made with ``dtype="float64"``: gradients are then compared to 5 digits, in float32 to 2%.
    loss : callable or str
        As for :func:`loss_and_grad`.
    x, targets : array_like
        One batch; a small one will do.
    state : optional
        The model's initial state, whose gradient is then compared too.
    samples : int, default 8
        In how many elements each array's gradient is compared, half of them those in which it is largest. It
        is also compared along one random direction in all elements.
    input_grad : bool, default True
        False: the gradient of x is not compared.
    rng : int, numpy.random.Generator or None
        Chooses elements and directions.
    **keywords
        ``mask`` and the keywords of the model's forward. Random masks are the same in all passes.

    Returns
    -------
    dict of str to float
        The largest error of each gradient as a share of its largest element: "loss" for dy, the parameters'
        names, "x", "state"; and what a gradient of the final state gives in these, as "dstate: ...".

    Raises
    ------
    ValueError
        A gradient is off. The error names the parameter or input, the element, and both values. Or a
        parameter cannot be written: the finite differences vary it.
    TypeError
        An argument is of the wrong kind.

    Notes
    -----
    A pass runs about ``2 * samples`` times for each array. An element counts as off if its error is beyond
    the tolerance for two lengths of the step and to either side, so that a kink (of relu, say) does not
    matter.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> class Scaled(rf.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.scale = rf.Parameter(np.array([2.0]))
    ...
    ...     def forward(self, x, state=None):
    ...         return self.scale.data * x, None, x
    ...
    ...     def backward(self, tape, dy=None, dstate=None):
    ...         self.scale.add_grad(np.array([dy.sum()]))    # wrong: it forgets x
    ...         return self.scale.data * dy, None
    >>> x = np.array([[0.5], [1.0]])
    >>> rf.check_gradients(Scaled(), "mse", x, np.zeros((2, 1)))
    Traceback (most recent call last):
    ...
    ValueError: scale: backward gives 3 at [0], finite differences give 2.5
    """
    check_model(model)
    loss = as_loss(loss)
    check_keywords(model, keywords, {"mask"})
    checks.positive("samples", samples)
    checks.flag("input_grad", input_grad)
    source = checks.generator(rng)
    mask = within_lengths(model, x, keywords.get("lengths"), keywords.pop("mask", None))
    if isinstance(keywords.get("rng"), np.random.Generator):
        keywords["rng"] = checks.seed(keywords["rng"])
    x = checks.as_array("x", x)
    if x.dtype.kind == "f":
        x = x.copy()
    state = _copied("state", state)
    check_writeable(dict(model.named_parameters()), "data")
    calls = [(module, module.mask_calls) for module in model.modules()]

    def forward() -> tuple[Any, Any, Any]:
        for module, count in calls:  # the same masks every time
            module.mask_calls = count
        return run_forward(model, x, state, **keywords)

    def compare(with_state: bool) -> dict[str, float]:
        y, final, tape = forward()
        weights = _random_like(final, source) if with_state else None
        value, dy = apply_loss(loss, y, targets, mask)
        if not np.isfinite(value):
            raise ValueError(f"loss: expected a finite number, got {value}")
        found = _Comparison(source, samples, abs(float(value)) + _product(weights, final, np.abs))
        prefix = "dstate: " if with_state else ""

        def of_loss() -> float:
            return float(apply_loss(loss, y, targets, mask)[0])

        def of_all() -> float:
            y, final, _ = forward()
            total = float(apply_loss(loss, y, targets, mask)[0])
            return total + _product(weights, final)

        grads: dict[str, np.ndarray] = {}
        given = np.array(dy, copy=True) if dy is not None else None
        dx, dstate = run_backward(model, tape, given, weights, input_grad=input_grad, grads=grads)
        if not with_state and isinstance(y, np.ndarray):
            y = y.copy()
            found.add("loss", y, dy, of_loss)
        for name, parameter in model.named_parameters():
            found.add(prefix + name, parameter.data, grads.get(name), of_all)
        if input_grad and x.dtype.kind == "f":
            found.add(prefix + "x", x, dx, of_all)
        for name, array, gradient in _pairs("state", state, dstate):
            found.add(prefix + name, array, gradient, of_all)
        found.refuse_if_off()
        return found.errors

    try:
        errors = compare(False)
        if any(True for _ in _arrays(forward()[1])):
            errors |= compare(True)
        return errors
    finally:
        for module, count in calls:
            module.mask_calls = count


class _Comparison:
    """Gradients beside finite differences: the error of each, and what is off."""

    def __init__(self, source: np.random.Generator, samples: int, size: float) -> None:
        self.errors: dict[str, float] = {}
        self._off: list[str] = []
        self._source = source
        self._samples = samples
        self._size = size  # of the numbers that the loss is the sum of, whose rounding it carries
        self._float32 = False

    def add(self, name: str, array: np.ndarray, gradient: Any, loss: Callable[[], float]) -> None:
        """Compare the gradient of `loss` with respect to `array`, which is changed and restored."""
        if not array.size:
            return
        if gradient is None:
            given = np.zeros(array.shape)
        elif np.shape(gradient) != array.shape:
            self._off.append(f"{name}: expected a gradient of shape {array.shape}, got {np.shape(gradient)}")
            return
        else:
            given = np.asarray(gradient, np.float64)
        precision = _PRECISION[array.dtype]
        self._float32 |= array.dtype == np.float32
        largest = max(float(np.abs(given).max()), np.finfo(float).tiny)
        self.errors[name] = 0.0
        base = loss()
        for where, direction in self._directions(given):
            expected = float((given * direction).sum())
            scale = max(largest, float(np.linalg.norm(given[direction != 0])))
            for step in (precision.step, precision.step / _SHORTER):
                central, *sides, moved = _differences(array, direction, step, loss, base)
                rounding = _ROUNDING * float(np.finfo(array.dtype).eps) * self._size / moved
                found = min((central, *sides), key=lambda value: abs(value - expected))
                error = max(0.0, abs(found - expected) - rounding) / max(scale, abs(found))
                if error <= precision.tolerance:
                    break
            else:
                came = "no gradient" if gradient is None else f"{expected:.6g}"
                self._off.append(
                    f"{name}: backward gives {came} at {where}, finite differences give {central:.6g}"
                )
                self.errors[name] = error
                return
            self.errors[name] = max(self.errors[name], error)

    def _directions(self, gradient: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Single elements, and a random direction in all, with what an error calls them."""
        count = min(self._samples, gradient.size)
        order = np.argsort(-np.abs(gradient), axis=None)
        largest, rest = order[: -(-count // 2)], order[-(-count // 2) :]
        others = self._source.permutation(rest)[: count - len(largest)]
        for flat in (*largest.tolist(), *others.tolist()):
            direction = np.zeros(gradient.shape)
            direction.flat[flat] = 1.0
            place = ", ".join(str(int(index)) for index in np.unravel_index(flat, gradient.shape))
            yield f"[{place}]", direction
        if gradient.size > 1:
            yield "all elements, in a random direction", self._source.choice([-1.0, 1.0], gradient.shape)

    def refuse_if_off(self) -> None:
        """Raise the error that names what is off."""
        if not self._off:
            return
        shown = "; ".join(self._off[:_SHOWN])
        more = f"; and {len(self._off) - _SHOWN} more" if len(self._off) > _SHOWN else ""
        hint = " (in float32, to 2%: a model of float64 is compared more sharply)" if self._float32 else ""
        raise ValueError(shown + more + hint)


def _differences(
    array: np.ndarray, direction: np.ndarray, step: float, loss: Callable[[], float], base: float
) -> tuple[float, float, float, float]:
    """The differences of `loss` along `direction`, central and to either side, and the step's length.

    Where the step crosses a kink, that to the other side is right. `base` is the loss without a step.
    """
    count = float(np.count_nonzero(direction))
    before = array.copy()
    moved = step / count**0.5 * max(1.0, float(np.abs(before[direction != 0]).max()))
    try:
        array[...] = before + moved * direction
        above, high = loss(), array.astype(np.float64)
        array[...] = before - moved * direction
        below, low = loss(), array.astype(np.float64)
    finally:
        array[...] = before
    start = before.astype(np.float64)
    up, down = (float((part * direction).sum()) / count for part in (high - start, start - low))
    return (above - below) / (up + down), (above - base) / up, (base - below) / down, min(up, down)


def _copied(name: str, state: Any) -> Any:
    """A state whose arrays may be changed."""
    if state is None:
        return None
    if isinstance(state, (tuple, list)):
        return tuple(_copied(f"{name}[{place}]", entry) for place, entry in enumerate(state))
    return checks.as_array(name, state).copy()


def _arrays(state: Any) -> Iterator[np.ndarray]:
    """The arrays of floats in a state."""
    if isinstance(state, (tuple, list)):
        for entry in state:
            yield from _arrays(entry)
    elif isinstance(state, np.ndarray) and state.dtype.kind == "f":
        yield state


def _pairs(name: str, state: Any, dstate: Any) -> Iterator[tuple[str, np.ndarray, Any]]:
    """The arrays of a state with their names and gradients."""
    if isinstance(state, tuple):
        parts = dstate if isinstance(dstate, (tuple, list)) and len(dstate) == len(state) else state
        for place, (entry, part) in enumerate(zip(state, parts, strict=True)):
            yield from _pairs(f"{name}[{place}]", entry, None if parts is state else part)
    elif isinstance(state, np.ndarray) and state.dtype.kind == "f":
        yield name, state, dstate


def _random_like(state: Any, source: np.random.Generator) -> Any:
    """Random numbers in the form of a state."""
    if isinstance(state, (tuple, list)):
        return tuple(_random_like(entry, source) for entry in state)
    return None if state is None else source.standard_normal(state.shape).astype(state.dtype)


def _product(weights: Any, state: Any, each: Callable[[Any], Any] = np.asarray) -> float:
    """The sum of a state's elements, each times its weight; `each` is applied to the products first."""
    if weights is None:
        return 0.0
    if isinstance(weights, tuple):
        return sum(_product(part, entry, each) for part, entry in zip(weights, state, strict=True))
    return float(each(np.asarray(weights, np.float64) * state).sum())
