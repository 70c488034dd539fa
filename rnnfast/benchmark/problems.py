"""One recurrent layer with its numbers, the protocol of contenders, and the results of the reference.

A precision is that of the operands of matrix products: "float32", "float64", or one of rnnfast's
`matmul_precision` below float32.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, ClassVar, NamedTuple

import numpy as np

from rnnfast import _core, reference

__all__ = [
    "GATES",
    "PRECISIONS",
    "Arrays",
    "Contender",
    "Functions",
    "NotOffered",
    "Problem",
    "Reference",
    "check_equal",
    "check_steps",
    "exact_results",
    "main_error",
    "make_problem",
    "parts",
]

GATES = {cell: len(_core.cell_info(cell).gates) for cell in ("rnn", "gru", "lstm")}
PRECISIONS = tuple(_core.PRECISIONS)  # what `matmul_precision` may be here, float32 first
# Relative to the largest magnitude, for rnnfast and peers alike: peers round in ways of their own. torch's
# gradients in bfloat16 differ by up to 3% at most shapes, its int8 by up to 6%. The tests of rnnfast use
# smaller tolerances.
TOLERANCE = {"float64": 1e-10, "float32": 1e-4, "bfloat16": 0.05, "int8": 0.1}
CHECKED_STEPS = 3

Arrays = dict[str, np.ndarray]


class Problem(NamedTuple):
    """A layer of one direction, its input, the gradient of its output, and the precision of its products.

    The initial state is zero.
    """

    cell: str
    weights: Arrays  # weight_ih [G*H, I], weight_hh [G*H, H], bias_ih [G*H], bias_hh [G*H]
    x: np.ndarray  # [T, B, I]
    dy: np.ndarray  # [T, B, H]
    precision: str

    def astype(self, dtype: str) -> Problem:
        """The same numbers in another dtype, which is the precision too."""
        weights = {name: array.astype(dtype) for name, array in self.weights.items()}
        return Problem(self.cell, weights, self.x.astype(dtype), self.dy.astype(dtype), dtype)

    def at(self, precision: str) -> Problem:
        """The same arrays, for products of another precision."""
        return self._replace(precision=precision)

    @property
    def products(self) -> float:
        """Floating-point operations of evaluation's matrix products; training has three times as many."""
        (T, B, I), H = self.x.shape, self.dy.shape[2]
        return 2.0 * T * B * GATES[self.cell] * H * (I + H)

    @property
    def state_shape(self) -> tuple[int, int, int]:
        """A part of the state, with an axis for the layer."""
        return (1, *self.dy.shape[1:])


def make_problem(cell: str, T: int, B: int, I: int, H: int, dtype: str = "float32") -> Problem:
    """Random numbers: weights at PyTorch's default scale, all else standard normal.

    Parameters
    ----------
    cell : {"rnn", "gru", "lstm"}
        The recurrent cell (rnn: tanh).
    T, B, I, H : int
        Steps, sequences, inputs, hidden units.
    dtype : {"float32", "float64"}
        Of all arrays.

    Returns
    -------
    Problem
        The same at every call with the same arguments.
    """
    rng = np.random.default_rng(0)
    info, bound = _core.cell_info(cell), H**-0.5
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return Problem(
        cell,
        {name: rng.uniform(-bound, bound, info.weight_shape(name, I, H, H)) for name in names},
        rng.standard_normal((T, B, I)),
        rng.standard_normal((T, B, H)),
        "float64",
    ).astype(dtype)


class NotOffered(Exception):
    """A library does not run the cell in the problem's precision. The message says what it does instead."""


class Contender:
    """Something that runs the layer: `evaluate`, `train` and what `stepper` gives are timed.

    Results are of the contender's own types, as its users get them; `arrays` converts them. One that takes no
    single steps has `steps` false. A contender is made of a problem, whose precision is one of `precisions`,
    and a number of threads, which `limited_threads` has already set for most. It raises `NotOffered` if its
    library does not run this cell in this precision.
    """

    name: str
    needs: ClassVar[tuple[str, ...]] = ()  # packages that it needs
    precisions: ClassVar[tuple[str, ...]] = ("float32", "float64")
    trains_in: ClassVar[tuple[str, ...]] = ("float32", "float64")  # the precisions that have a backward pass
    steps = True

    def __init__(self, problem: Problem, threads: int) -> None:
        self.problem, self.threads = problem, threads

    @property
    def label(self) -> str:
        """Name and precision."""
        return f"{self.name} {self.problem.precision}"

    @property
    def trains(self) -> bool:
        """Whether it trains in the problem's precision."""
        return self.problem.precision in self.trains_in

    def evaluate(self) -> Any:
        """(y, state), keeping nothing for backward."""
        raise NotImplementedError

    def train(self) -> Any:
        """(y, state, dx, gradients of the weights by name): forward and backward."""
        raise NotImplementedError

    def stepper(self) -> Callable[[], Any]:
        """A function that takes a step with x[0] from its last state (zero at first), and gives y."""
        raise NotImplementedError

    def arrays(self, result: Any) -> Arrays:
        """y, h, (c), and after training dx, dweight_ih, …; states may have a layer axis."""
        y, state, *rest = result
        named = {"y": y, **dict(zip("hc", parts(state), strict=False))}
        if rest:
            dx, grads = rest
            named |= {"dx": dx} | {"d" + name.removesuffix("_l0"): grad for name, grad in grads.items()}
        return {name: self.array(value) for name, value in named.items()}

    def array(self, value: Any) -> np.ndarray:
        """One of its arrays as NumPy's, in float32 or float64."""
        return np.asarray(value)


class Functions(Contender):
    """`<cell>_forward` and `<cell>_backward` of a module: `rf.reference`'s or `rf.functional`'s."""

    def __init__(self, problem: Problem, module: ModuleType) -> None:
        super().__init__(problem, 1)
        self.name = module.__name__.rpartition(".")[2]
        self.forward = getattr(module, f"{problem.cell}_forward")
        self.backward = getattr(module, f"{problem.cell}_backward")

    def evaluate(self) -> Any:
        return self.forward(self.problem.x, **self.problem.weights)[:2]

    def train(self) -> Any:
        y, state, tape = self.forward(self.problem.x, **self.problem.weights)
        dx, _, grads = self.backward(tape, self.problem.dy, None)
        return y, state, dx, grads

    def stepper(self) -> Callable[[], Any]:
        x, state = self.problem.x[:1], None

        def step() -> Any:
            nonlocal state
            y, state, _ = self.forward(x, **self.problem.weights, state=state)
            return y[0]

        return step


class Reference(Functions):
    """`rf.reference`."""

    name = "reference"

    def __init__(self, problem: Problem, threads: int = 1) -> None:
        super().__init__(problem, reference)


def exact_results(problem: Problem) -> Arrays:
    """All results and all gradients of the reference in float64."""
    exact = Reference(problem.astype("float64"))
    return exact.arrays(exact.train())


def check_equal(found: Arrays, expected: Arrays, contender: Contender) -> dict[str, float]:
    """Compare a contender's results with those of the reference in float64.

    Returns
    -------
    dict of str to float
        The largest difference of each array, over the largest magnitude of what was expected.

    Raises
    ------
    AssertionError
        If an array differs by more than the tolerance of the precision; the error names it and the contender.
    """
    tolerance, errors = TOLERANCE[contender.problem.precision], {}
    for name, array in found.items():
        scale = np.abs(expected[name]).max(initial=0.0) or 1.0
        error = float(np.abs(array.reshape(expected[name].shape) - expected[name]).max(initial=0.0) / scale)
        if not error <= tolerance:
            raise AssertionError(
                f"{contender.label}: {name} differs from the reference by {error:.1e} of its largest "
                f"magnitude, more than {tolerance:g}"
            )
        errors[name] = error
    return errors


def check_steps(problem: Problem, contender: Contender) -> dict[str, float]:
    """Let a contender take a few steps and compare its last output with the reference's, as `check_equal`."""
    step = contender.stepper()
    for _ in range(CHECKED_STEPS):
        y = step()
    longer = problem.astype("float64")._replace(x=np.repeat(problem.x[:1], CHECKED_STEPS, axis=0))
    y_exact, _ = Reference(longer).evaluate()
    return check_equal({"y": contender.array(y)}, {"y": y_exact[-1]}, contender)


def main_error(errors: dict[str, float]) -> float:
    """The error that tables show: the largest of all gradients after training, that of y otherwise."""
    return max((error for name, error in errors.items() if name.startswith("d")), default=errors["y"])


def parts(state: Any) -> tuple[Any, ...]:
    """(h,) or (h, c) from a contender's state."""
    return tuple(state) if isinstance(state, (tuple, list)) else (state,)
