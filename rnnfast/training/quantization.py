"""What a precision of products costs: a model's outputs on given data, in that precision and in float32."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np

from rnnfast import checks
from rnnfast.nn.module import Module, evaluate
from rnnfast.training.grad import check_keywords, check_model, within_lengths

__all__ = ["ModuleDifference", "quantization_error"]

BELOW_FLOAT32 = ("bfloat16", "int8")


class ModuleDifference(NamedTuple):
    """How far a model's output moves when one of its modules multiplies in a lower precision.

    Attributes
    ----------
    module : str
        Its name by `named_modules`; "" for all modules at once.
    largest : float
        The largest difference of the output from that in float32.
    rms : float
        The root mean square of the differences.
    scale : float
        The largest magnitude of the output in float32.
    """

    module: str
    largest: float
    rms: float
    scale: float


def quantization_error(
    model: Module,
    x: Any,
    state: Any = None,
    *,
    precision: str = "int8",
    lengths: Any = None,
    reset: Any = None,
) -> list[ModuleDifference]:
    """Measure on your data what a `matmul_precision` changes in a model's output, module by module.

    Parameters
    ----------
    model : Module
        Its parameters are float32. It is not changed: the passes run on a copy.
    x : array_like
        One batch, as the model takes it.
    state : optional
        The model's initial state.
    precision : {"int8", "bfloat16"}
        What is compared with float32, whatever precision the model itself has.
    lengths, reset : array_like, optional
        Keywords of the model. Where y has a time axis, steps past a sequence's end do not count.

    Returns
    -------
    list of ModuleDifference
        One for each module that multiplies, with that module alone in `precision` and the others in float32.
        The last one, named "", has all of them in `precision`; it is the only one of a single layer.

    Raises
    ------
    TypeError, ValueError
        The model is no module, multiplies nowhere or has products in float64; `precision` is another one;
        the model gives no output; or an argument does not fit the model.

    Notes
    -----
    It takes one evaluation pass in float32, one for each module that multiplies, and one for all of them. A
    module with a large difference may stay in float32: `model.load_matmul_precisions({"1": "float32"})`.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> model = rf.Sequential(rf.GRU(3, 8, rng=0), rf.Linear(8, 2, rng=1))
    >>> x = np.random.default_rng(2).normal(size=(20, 4, 3)).astype(np.float32)
    >>> for row in rf.quantization_error(model, x):
    ...     print(repr(row.module), 0 < row.rms < row.largest < 0.03 * row.scale)
    '0' True
    '1' True
    '' True
    """
    check_model(model)
    checks.one_of("precision", precision, BELOW_FLOAT32)
    _check_products(model)
    given = {"lengths": lengths, "reset": reset}
    keywords = {name: value for name, value in given.items() if value is not None}
    check_keywords(model, keywords, set())
    within = within_lengths(model, x, lengths)
    copy = deepcopy(model)
    every = copy.matmul_precisions()

    def output(lowered: list[str]) -> np.ndarray:
        copy.matmul_precision = "float32"
        copy.load_matmul_precisions(dict.fromkeys(lowered, precision))
        return _counted(evaluate(copy, x, state, **keywords)[0], within)

    exact = output([])
    if not exact.size:
        raise ValueError("x: expected a batch with an output of at least one number, got none")
    scale = float(abs(exact).max())
    groups = [(name, [name]) for name in every if name] + [("", list(every))]
    return [ModuleDifference(name, *_sizes(output(lowered) - exact), scale) for name, lowered in groups]


def _check_products(model: Module) -> None:
    """Refuse a model without products, and one with products in float64."""
    every = model.matmul_precisions()
    if not every:
        kind = type(model).__name__
        raise ValueError(f"model: expected one that multiplies (a recurrent layer, Linear), got {kind}")
    modules = dict(model.named_modules())
    for name in every:
        if (dtype := modules[name].dtype) != np.float32:
            whose = f" in {name!r}" if name else ""
            raise ValueError(f"model: expected parameters in float32, got {dtype}{whose}")


def _counted(y: Any, within: np.ndarray | None) -> np.ndarray:
    """The numbers of y that count, in float64: all, or those within the lengths if y has their axes."""
    y = checks.any_floats("the model's output", y).astype(np.float64)
    return y if within is None or y.shape[: within.ndim] != within.shape else y[within]


def _sizes(difference: np.ndarray) -> tuple[float, float]:
    """The largest magnitude and the root mean square."""
    return float(abs(difference).max()), float(np.sqrt((difference**2).mean()))
