"""What modules made of modules share: members by place, their states, keywords, tapes and streams.

A subclass says how its members are put together: `_compose` from x to y, for evaluation, training and streams
alike, and `_shares` and `_compose_backward` from dy to dx.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from rnnfast import _core, checks
from rnnfast.nn.module import (
    Module,
    Stateless,
    check_first,
    check_gradient,
    evaluate,
    run_backward,
    run_forward,
)
from rnnfast.nn.parameter import Parameter
from rnnfast.nn.tape import Tape

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["CallBack", "Calls", "Composite", "CompositeStream", "Saved"]

Calls = Sequence[Callable[[Any], Any]]  # of each member: x -> y
CallBack = Callable[[int, Any, bool], Any]  # (the place of a member, its dy, whether dx is wanted) -> its dx


class Saved(NamedTuple):
    """What a tape of a `Composite` holds."""

    tapes: list[Any]  # of the members
    rest: Any  # what `_compose` gave beside y


class Composite(Module):
    """The base of `Sequential`, `Parallel` and `Residual`.

    Parameters
    ----------
    modules : sequence of Module
        At least one; no two may share a parameter.
    names : sequence of str, optional
        The attributes under which they are registered; by default their places.
    """

    _unsearched = frozenset({"_row"})

    def __init__(self, modules: Sequence[Module], names: Sequence[str] | None = None) -> None:
        super().__init__()
        if not modules:
            raise ValueError("modules: expected at least one, got none")
        names = [str(place) for place in range(len(modules))] if names is None else names
        earlier: dict[Parameter, str] = {}
        for place, (member, module) in enumerate(zip(names, modules, strict=True)):
            if not isinstance(module, Module):
                raise TypeError(f"modules: expected a Module at place {place}, got {type(module).__name__}")
            for name, parameter in module.named_parameters():
                if parameter in earlier:
                    raise ValueError(
                        f"modules: expected each parameter once, got {earlier[parameter]} again "
                        f"as {member}.{name}"
                    )
                earlier[parameter] = f"{member}.{name}"
        self._row = tuple(modules)
        self._names = tuple(names)
        for member, module in self.members():
            setattr(self, member, module)

    def members(self) -> list[tuple[str, Module]]:
        """The modules that it is made of, with their names."""
        return list(zip(self._names, self._row, strict=True))

    def __len__(self) -> int:
        return len(self._row)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._row)

    def __getitem__(self, place: int) -> Module:
        return self._row[place]

    def _check_member(self, name: str, value: Any) -> None:
        if name in self._names and name in self._modules:
            kind = type(self).__name__
            raise AttributeError(f"{name}: the modules of a {kind} cannot be replaced; make a new {kind}")

    # How the members are put together

    def _compose(self, x: Any, calls: Calls) -> tuple[Any, Any]:
        """y, and what `_shares` and `_compose_backward` need beside the members' tapes."""
        raise NotImplementedError

    def _shares(self, rest: Any, dy: Any) -> list[Any]:
        """Each member's dy, so far as it follows from dy alone; else None."""
        raise NotImplementedError

    def _compose_backward(self, shares: list[Any], call: CallBack, input_grad: bool) -> Any:
        """dx, from the result of `_shares`."""
        raise NotImplementedError

    def _entries(self, name: str, value: Any) -> list[Any]:
        """A list with `value`'s entry for each module."""
        if value is None:
            return [None] * len(self._row)
        if not isinstance(value, (tuple, list)):
            raise TypeError(f"{name}: expected a tuple with one entry per module, got {type(value).__name__}")
        if len(value) != len(self._row):
            raise ValueError(f"{name}: expected {len(self._row)} entries, one per module, got {len(value)}")
        return list(value)

    def _joined(self, entries: list[Any]) -> Any:
        """The state, or its gradient, from the entries of all modules."""
        return tuple(entries)

    # How a member runs

    def _evaluate(self, place: int, x: Any, state: Any, keywords: dict[str, Any]) -> tuple[Any, Any]:
        """y and the state of one member."""
        return evaluate(self._row[place], x, state, **keywords)

    def _forward(self, place: int, x: Any, state: Any, keywords: dict[str, Any]) -> tuple[Any, Any, Any]:
        """y, the state and the tape of one member."""
        return run_forward(self._row[place], x, state, **keywords)

    def _at(self, place: int, error: Exception) -> Exception:
        """`error` with the name of the member that raised it."""
        return _with_prefix(f"{self._label(place)} ({type(self._row[place]).__name__})", error)

    def _label(self, place: int) -> str:
        """What errors call a member."""
        return f"module {place}"

    # The protocol

    def __call__(
        self,
        x: ArrayLike,
        state: Any = None,
        *,
        lengths: ArrayLike | None = None,
        reset: ArrayLike | None = None,
    ) -> tuple[np.ndarray, Any]:
        """Evaluate all modules.

        Parameters
        ----------
        x : array_like
            The input.
        state : optional
            The state of all modules; None: every module starts from its own default.
        lengths, reset : array_like, optional
            As recurrent layers take them: how many steps each sequence has, where episodes begin.

        Returns
        -------
        y : numpy.ndarray
            The output.
        state
            The final state of all modules.
        """
        states = self._entries("state", state)
        keywords = {"lengths": lengths, "reset": reset}

        def run(place: int, x: Any) -> Any:
            takes = self._row[place].takes
            taken = {name: value for name, value in keywords.items() if name in takes}
            try:
                y, states[place] = self._evaluate(place, x, states[place], taken)
            except (TypeError, ValueError) as error:
                raise self._at(place, error) from error
            return y

        y, _ = self._compose(x, [partial(run, place) for place in range(len(states))])
        return y, self._joined(states)

    def forward(
        self,
        x: ArrayLike,
        state: Any = None,
        *,
        lengths: ArrayLike | None = None,
        reset: ArrayLike | None = None,
        training: bool = True,
        rng: checks.Rng = None,
        checkpoint: bool | int | None = None,
    ) -> tuple[np.ndarray, Any, Tape]:
        """As calling the module, in training unless ``training=False``; with a tape for `backward`.

        Parameters
        ----------
        x : array_like
            The input. The tape holds it: leave it unwritten until `backward`.
        state : optional
            The state of all modules.
        lengths, reset : array_like, optional
            As in calling the module.
        training : bool
            False: no dropout.
        rng : int, numpy.random.Generator or None
            Seeds the masks of this pass alone.
        checkpoint : bool, int or None
            Handed to recurrent layers: to keep states at the start of each segment of time, and no gates.

        Returns
        -------
        y : numpy.ndarray
            The output.
        state
            The final state of all modules.
        tape : Tape
            For `backward`.
        """
        checks.check_rng(rng)
        training = checks.flag("training", training)
        checkpoint = checks.checkpoint(checkpoint)
        check_gradient(self)
        states = self._entries("state", state)
        tapes: list[Any] = [None] * len(states)
        keywords = {
            "lengths": lengths,
            "reset": reset,
            "training": training,
            "rng": rng,
            "checkpoint": checkpoint,
        }

        def run(place: int, x: Any) -> Any:
            takes = self._row[place].takes
            taken = {name: value for name, value in keywords.items() if name in takes}
            try:
                y, states[place], tapes[place] = self._forward(place, x, states[place], taken)
            except (TypeError, ValueError) as error:
                raise self._at(place, error) from error
            return y

        y, rest = self._compose(x, [partial(run, place) for place in range(len(states))])
        return y, self._joined(states), Tape(self, Saved(tapes, rest))

    def _check_gradients(self, saved: Saved, dy: ArrayLike | None, dstate: Any) -> tuple[Any, Any]:
        dstates = self._entries("dstate", dstate)
        shares = self._shares(saved.rest, dy)
        for place, (module, tape) in enumerate(zip(self._row, saved.tapes, strict=True)):
            try:
                _, dstates[place] = check_first(module, tape, shares[place], dstates[place])
            except (TypeError, ValueError) as error:
                raise self._at(place, error) from error
        return dy, self._joined(dstates)

    def _backward(
        self, saved: Saved, dy: Any, dstate: Any, input_grad: bool, retain: bool
    ) -> tuple[np.ndarray | None, Any, dict[str, np.ndarray]]:
        fresh: dict[str, np.ndarray] = {}
        dstates = self._entries("dstate", dstate)

        def call(place: int, dy: Any, wanted: bool) -> Any:
            own: dict[str, np.ndarray] = {}
            try:
                dx, dstates[place] = run_backward(
                    self._row[place],
                    saved.tapes[place],
                    dy,
                    dstates[place],
                    input_grad=wanted,
                    retain=retain,
                    grads=own,
                )
            except (TypeError, ValueError) as error:
                raise self._at(place, error) from error
            fresh.update((f"{self._names[place]}.{name}", gradient) for name, gradient in own.items())
            return dx

        dx = self._compose_backward(self._shares(saved.rest, dy), call, input_grad)
        return dx, self._joined(dstates), fresh

    def stream(self, batch: int = 1) -> CompositeStream:
        """All modules, one step a call: weights packed once, states kept.

        Parameters
        ----------
        batch : int
            B, the number of parallel sequences.

        Returns
        -------
        CompositeStream
            ``y_t = step(x_t)``, ``step.state``, ``step.reset(mask)``, ``step.refresh()``.

        Raises
        ------
        TypeError, ValueError
            If `batch` is no positive integer, or a module cannot take one step at a time.
        """
        steps: list[Any] = []
        for place, module in enumerate(self._row):
            try:
                steps.append(_step_of(module, batch))
            except (TypeError, ValueError) as error:
                raise self._at(place, error) from error
        return CompositeStream(self, steps, checks.positive("batch", batch))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self._row))})"


class CompositeStream:
    """The modules of a `Sequential`, `Parallel` or `Residual`, one step a call; made by its `stream`.

    Recurrent layers keep their state in streams of their own; the other modules see the step as a batch, and
    Dropout evaluates. One thread at a time may use a stream. Another thread's call meanwhile raises a
    RuntimeError, because it would come between the steps of two modules.

    Parameters
    ----------
    composite : Composite
        The module that is run.
    steps : list
        Of each of its modules the stream, or the module itself if it has no state.
    batch : int
        B, the number of parallel sequences.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> model = rf.Sequential(rf.Embedding(5, 3, rng=0), rf.GRU(3, 8, rng=1), rf.Linear(8, 2, rng=2))
    >>> y, state = model(np.array([[4], [1]]))
    >>> step = model.stream()
    >>> np.array_equal(np.stack([step(np.array([4])), step(np.array([1]))]), y)
    True
    """

    def __init__(self, composite: Composite, steps: list[Any], batch: int) -> None:
        self._composite = composite
        self._steps = steps
        self._calls = [_call_of(place, step) for place, step in enumerate(steps)]
        self._batch = batch
        self._turn = _core.Turn(type(self).__name__)

    def __call__(self, x: ArrayLike) -> np.ndarray:
        """y of the next step, the caller's own."""
        with self._turn:
            return self._composite._compose(x, self._calls)[0]

    @property
    def state(self) -> Any:
        """A copy of the state, in the form of the module's. May be set; None is zero."""
        with self._turn:
            states = [None if isinstance(step, Module) else step.state for step in self._steps]
        return self._composite._joined(states)

    @state.setter
    def state(self, state: Any) -> None:
        self.take_state(self.checked_state(state))

    def checked_state(self, state: Any) -> list[Any]:
        """An entry for each module, from a state that fits this stream. Nothing is written."""
        checked: list[Any] = []
        entries = self._composite._entries("state", state)
        for place, (step, entry) in enumerate(zip(self._steps, entries, strict=True)):
            if isinstance(step, Module):
                if entry is not None:
                    raise ValueError(f"state: expected None for module {place}, which has no state")
                checked.append(None)
                continue
            check = getattr(step, "checked_state", None)  # a user's stream may have no such method
            try:
                checked.append(entry if check is None else check(entry))
            except (TypeError, ValueError) as error:
                raise _with_prefix(f"module {place}", error) from error
        return checked

    def take_state(self, entries: list[Any]) -> None:
        """Set the state to what `checked_state` gave."""
        with self._turn:
            for step, entry in zip(self._steps, entries, strict=True):
                if hasattr(step, "take_state"):
                    step.take_state(entry)
                elif not isinstance(step, Module):
                    step.state = entry

    def reset(self, mask: ArrayLike | None = None) -> None:
        """Set the state to zero: of the sequences in `mask`, bool [B], or of all."""
        checks.row_mask("mask", mask, self._batch)
        with self._turn:
            for step in self._steps:
                if not isinstance(step, Module):
                    step.reset(mask)

    def refresh(self) -> None:
        """Take over the modules' present weights; the state stays."""
        with self._turn:
            for step in self._steps:
                if not isinstance(step, Module):
                    step.refresh()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a stream cannot be pickled or copied: make one from the model, and set its state")


def _with_prefix(prefix: str, error: Exception) -> Exception:
    """A TypeError or ValueError, as `error` is one, whose text begins with the prefix."""
    kind = TypeError if isinstance(error, TypeError) else ValueError
    return kind(f"{prefix}: {error}")


def _call_of(place: int, step: Any) -> Callable[[Any], Any]:
    """x -> y of one step of a module's stream, or of a module without a state."""
    if not isinstance(step, Module):
        return step

    def call(x: Any) -> Any:
        y, state = step(x) if isinstance(step, Stateless) else evaluate(step, x)
        if state is not None:
            raise TypeError(
                f"module {place} ({type(step).__name__}): expected a method stream(batch), "
                "as the module has a state"
            )
        return y

    return call


def _step_of(module: Module, batch: int) -> Any:
    """The module's stream, or the module itself if it has no state."""
    later = ValueError("stream: expected a module that needs no later step")
    if not module.causal:
        raise later
    stream: Any = getattr(type(module), "stream", None)
    if stream is not None:
        return stream(module, batch)
    for member in module.modules():
        if not member.causal:
            raise later
        if hasattr(type(member), "stream") and not isinstance(member, Composite):
            raise TypeError(f"expected a method stream(batch), as the module holds a {type(member).__name__}")
    return module
