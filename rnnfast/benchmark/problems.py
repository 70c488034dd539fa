"""One recurrent layer with its numbers, the protocol of contenders, and the results of the reference."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, ClassVar, NamedTuple

import numpy as np

from rnnfast import _core, reference

__all__ = [
    "GATES",
    "Arrays",
    "Contender",
    "Functions",
    "Problem",
    "Reference",
    "check_equal",
    "check_steps",
    "exact_results",
    "make_problem",
    "parts",
]

GATES = {cell: len(_core.cell_info(cell).gates) for cell in ("rnn", "gru", "lstm")}
# Relative to the largest magnitude. The tests of rnnfast use smaller tolerances.
TOLERANCE = {"float32": 1e-4, "float64": 1e-10}
CHECKED_STEPS = 3

Arrays = dict[str, np.ndarray]


class Problem(NamedTuple):
    """A layer of one direction, its input, and the gradient of its output; the initial state is zero."""

    cell: str
    weights: Arrays  # weight_ih [G*H, I], weight_hh [G*H, H], bias_ih [G*H], bias_hh [G*H]
    x: np.ndarray  # [T, B, I]
    dy: np.ndarray  # [T, B, H]

    def astype(self, dtype: str) -> Problem:
        """The same numbers in another dtype."""
        weights = {name: array.astype(dtype) for name, array in self.weights.items()}
        return Problem(self.cell, weights, self.x.astype(dtype), self.dy.astype(dtype))

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
    ).astype(dtype)


class Contender:
    """Something that runs the layer: `evaluate`, `train` and what `stepper` gives are timed.

    Results are of the contender's own types, as its users get them; `arrays` converts them. One that cannot
    train has `trains` false; one that takes no single steps has `steps` false. A contender is made of a
    problem and a number of threads, which `limited_threads` has already set for most.
    """

    name: str
    needs: ClassVar[tuple[str, ...]] = ()  # packages that it needs
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "float64")
    trains = True
    steps = True

    def __init__(self, problem: Problem, threads: int) -> None:
        raise NotImplementedError

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
        return {name: np.asarray(array) for name, array in named.items()}


class Functions(Contender):
    """`<cell>_forward` and `<cell>_backward` of a module: `rf.reference`'s or `rf.functional`'s."""

    def __init__(self, problem: Problem, module: ModuleType) -> None:
        self.name = module.__name__.rpartition(".")[2]
        self.problem = problem
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


def check_equal(found: Arrays, expected: Arrays, who: str) -> None:
    """Compare a contender's results with those of the reference in float64.

    Raises
    ------
    AssertionError
        If an array differs by more than the tolerance of its dtype; the error names it and the contender.
    """
    for name, array in found.items():
        scale = np.abs(expected[name]).max(initial=0.0) or 1.0
        error = float(np.abs(array.reshape(expected[name].shape) - expected[name]).max(initial=0.0) / scale)
        if not error <= TOLERANCE[array.dtype.name]:
            raise AssertionError(
                f"{who}: {name} differs from the reference by {error:.1e} of its largest magnitude"
            )


def check_steps(problem: Problem, contender: Contender) -> None:
    """Let a contender take a few steps and compare its last output with the reference's, as `check_equal`."""
    step = contender.stepper()
    for _ in range(CHECKED_STEPS):
        y = step()
    longer = problem.astype("float64")._replace(x=np.repeat(problem.x[:1], CHECKED_STEPS, axis=0))
    y_exact, _ = Reference(longer).evaluate()
    check_equal({"y": np.asarray(y)}, {"y": y_exact[-1]}, contender.name)


def parts(state: Any) -> tuple[Any, ...]:
    """(h,) or (h, c) from a contender's state."""
    return tuple(state) if isinstance(state, (tuple, list)) else (state,)
