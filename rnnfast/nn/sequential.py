"""Modules in a row: each reads the output of the module before it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from rnnfast import checks
from rnnfast.nn.embedding import Embedding, embedded_input
from rnnfast.nn.module import (
    Module,
    Stateless,
    check_first,
    check_gradient,
    evaluate,
    reads_embedded,
    run_backward,
    run_forward,
)
from rnnfast.nn.parameter import Parameter
from rnnfast.nn.tape import Tape

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["Sequential", "SequentialStream"]


class Sequential(Module):
    """Modules in a row.

    Parameters
    ----------
    *modules : Module
        At least one; no two may share a parameter.

    Raises
    ------
    TypeError, ValueError
        If there is none, one is no module, or a parameter comes twice.

    Notes
    -----
    Parameters are named by their module's place: ``0.weight_ih_l0``. The state (and its gradient) is a
    tuple with one entry per module, None for those without a state. ``lengths``, ``reset``, ``training``,
    ``rng`` and ``checkpoint`` go to those modules that take them; an integer ``rng`` gives each of them
    masks of that one seed, a generator gives each a seed of its own. ``input_grad=False`` concerns the first
    module.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> model = rf.Sequential(rf.GRU(3, 8, rng=0), rf.Linear(8, 2, rng=1))
    >>> x = np.ones((5, 4, 3), np.float32)
    >>> y, state, tape = model.forward(x)
    >>> y.shape, len(state), state[0].shape, state[1]
    ((5, 4, 2), 2, (1, 4, 8), None)
    >>> dx, dstate = model.backward(tape, np.ones_like(y))
    >>> [name for name, parameter in model.named_parameters()][-2:]
    ['1.weight', '1.bias']
    """

    _unsearched = frozenset({"_row"})

    def __init__(self, *modules: Module) -> None:
        super().__init__()
        if not modules:
            raise ValueError("modules: expected at least one, got none")
        earlier: dict[Parameter, str] = {}
        for place, module in enumerate(modules):
            if not isinstance(module, Module):
                raise TypeError(f"modules: expected a Module at place {place}, got {type(module).__name__}")
            for name, parameter in module.named_parameters():
                if parameter in earlier:
                    raise ValueError(
                        f"modules: expected each parameter once, got {earlier[parameter]} again "
                        f"as {place}.{name}"
                    )
                earlier[parameter] = f"{place}.{name}"
        self._row = modules
        for place, module in enumerate(modules):
            setattr(self, str(place), module)

    def __len__(self) -> int:
        return len(self._row)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._row)

    def __getitem__(self, place: int) -> Module:
        return self._row[place]

    def _check_member(self, name: str, value: Any) -> None:
        if name.isdecimal() and name in self._modules:
            raise AttributeError(
                f"{name}: the modules of a Sequential cannot be replaced; make a new Sequential"
            )

    def __call__(
        self,
        x: ArrayLike,
        state: Any = None,
        *,
        lengths: ArrayLike | None = None,
        reset: ArrayLike | None = None,
    ) -> tuple[np.ndarray, tuple[Any, ...]]:
        """Evaluate all modules in turn.

        Parameters
        ----------
        x : array_like
            The first module's input.
        state : tuple, optional
            One entry per module; None: every module starts from its own default.
        lengths, reset : array_like, optional
            As recurrent layers take them: how many steps each sequence has, where episodes begin.

        Returns
        -------
        y : numpy.ndarray
            The last module's output.
        state : tuple
            One entry per module.
        """
        states = self._entries("state", state)
        keywords = {"lengths": lengths, "reset": reset}
        y: Any = x
        for place, module in enumerate(self._row):
            taken = {key: value for key, value in keywords.items() if key in module.takes}
            try:
                embedding = self._embedding(place)
                if embedding is None:
                    y, states[place] = evaluate(module, y, states[place], **taken)
                else:
                    y, _ = embedded_input(embedding, y, states[place])
            except (TypeError, ValueError) as error:
                raise self._at(place, error) from error
        return y, tuple(states)

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
    ) -> tuple[np.ndarray, tuple[Any, ...], Tape]:
        """As calling the module, in training unless ``training=False``; with a tape for `backward`.

        Parameters
        ----------
        x : array_like
            The first module's input. The tape holds it: leave it unwritten until `backward`.
        state : tuple, optional
            One entry per module.
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
            The last module's output.
        state : tuple
            One entry per module.
        tape : Tape
            For `backward`.
        """
        checks.check_rng(rng)
        training = checks.flag("training", training)
        checkpoint = checks.checkpoint(checkpoint)
        check_gradient(self)
        states = self._entries("state", state)
        keywords = {
            "lengths": lengths,
            "reset": reset,
            "training": training,
            "rng": rng,
            "checkpoint": checkpoint,
        }
        tapes: list[Any] = []
        y: Any = x
        for place, module in enumerate(self._row):
            taken = {key: value for key, value in keywords.items() if key in module.takes}
            try:
                embedding = self._embedding(place)
                if embedding is None:
                    y, states[place], tape = run_forward(module, y, states[place], **taken)
                else:
                    y, saved = embedded_input(embedding, y, states[place])
                    tape = Tape(embedding, saved)
            except (TypeError, ValueError) as error:
                raise self._at(place, error) from error
            tapes.append(tape)
        return y, tuple(states), Tape(self, tapes)

    def _check_gradients(
        self, saved: list[Any], dy: ArrayLike | None, dstate: Any
    ) -> tuple[np.ndarray | None, list[Any]]:
        dstates = self._entries("dstate", dstate)
        gradient = None
        for place, (module, tape) in enumerate(zip(self._row, saved, strict=True)):
            last = place == len(saved) - 1
            try:
                gradient, dstates[place] = check_first(module, tape, dy if last else None, dstates[place])
            except (TypeError, ValueError) as error:
                raise self._at(place, error) from error
        return gradient, dstates

    def _backward(
        self, saved: list[Any], dy: np.ndarray | None, dstate: list[Any], input_grad: bool, retain: bool
    ) -> tuple[np.ndarray | None, tuple[Any, ...], dict[str, np.ndarray]]:
        fresh: dict[str, np.ndarray] = {}
        for place in reversed(range(len(self._row))):
            own: dict[str, np.ndarray] = {}
            try:
                dy, dstate[place] = run_backward(
                    self._row[place],
                    saved[place],
                    dy,
                    dstate[place],
                    input_grad=input_grad or place > 0,
                    retain=retain,
                    grads=own,
                )
            except (TypeError, ValueError) as error:
                raise self._at(place, error) from error
            fresh.update((f"{place}.{name}", gradient) for name, gradient in own.items())
        return dy, tuple(dstate), fresh

    def _embedding(self, place: int) -> Embedding | None:
        """The module at `place` if it is an embedding whose table the next module can read."""
        module = self._row[place]
        if type(module) is Embedding and place + 1 < len(self) and reads_embedded(self._row[place + 1]):
            return module
        return None

    def _entries(self, name: str, value: Any) -> list[Any]:
        """A list with `value`'s entry for each module."""
        if value is None:
            return [None] * len(self._row)
        if not isinstance(value, (tuple, list)):
            raise TypeError(f"{name}: expected a tuple with one entry per module, got {type(value).__name__}")
        if len(value) != len(self._row):
            raise ValueError(f"{name}: expected {len(self._row)} entries, one per module, got {len(value)}")
        return list(value)

    def _at(self, place: int, error: Exception) -> Exception:
        """`error` with the name of the module that raised it."""
        kind = TypeError if isinstance(error, TypeError) else ValueError
        return kind(f"module {place} ({type(self._row[place]).__name__}): {error}")

    def stream(self, batch: int = 1) -> SequentialStream:
        """All modules, one step a call: weights packed once, states kept.

        Parameters
        ----------
        batch : int
            B, the number of parallel sequences.

        Returns
        -------
        SequentialStream
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
        return SequentialStream(steps, checks.positive("batch", batch))

    def __repr__(self) -> str:
        return f"Sequential({', '.join(map(repr, self._row))})"


class SequentialStream:
    """The modules of a `Sequential`, one step a call; made by its `stream`.

    Recurrent layers keep their state in streams of their own; the other modules see the step as a batch, and
    Dropout evaluates.

    Parameters
    ----------
    steps : list
        Of each module its stream, or the module itself if it has no state.
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

    def __init__(self, steps: list[Any], batch: int) -> None:
        self._steps = steps
        self._batch = batch

    def __call__(self, x: ArrayLike) -> np.ndarray:
        """y of the next step, the caller's own."""
        y: Any = x
        for place, step in enumerate(self._steps):
            if not isinstance(step, Module):
                y = step(y)
                continue
            if isinstance(step, Stateless):
                y = step(y)[0]
                continue
            y, state = evaluate(step, y)
            if state is not None:
                raise TypeError(
                    f"module {place} ({type(step).__name__}): expected a method stream(batch), "
                    "as the module has a state"
                )
        return y

    @property
    def state(self) -> tuple[Any, ...]:
        """A copy of the state, an entry per module, None for those without one. May be set; None is zero."""
        return tuple([None if isinstance(step, Module) else step.state for step in self._steps])

    @state.setter
    def state(self, state: Any) -> None:
        self.take_state(self.checked_state(state))

    def checked_state(self, state: Any) -> list[Any]:
        """An entry for each module, from a state that fits this stream. Nothing is written."""
        entries = (None,) * len(self._steps) if state is None else state
        if not isinstance(entries, (tuple, list)) or len(entries) != len(self._steps):
            raise ValueError(f"state: expected a tuple of {len(self._steps)} entries, one per module")
        checked: list[Any] = []
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
                kind = TypeError if isinstance(error, TypeError) else ValueError
                raise kind(f"module {place}: {error}") from error
        return checked

    def take_state(self, entries: list[Any]) -> None:
        """Set the state to what `checked_state` gave."""
        for step, entry in zip(self._steps, entries, strict=True):
            if hasattr(step, "take_state"):
                step.take_state(entry)
            elif not isinstance(step, Module):
                step.state = entry

    def reset(self, mask: ArrayLike | None = None) -> None:
        """Set the state to zero: of the sequences in `mask`, bool [B], or of all."""
        checks.row_mask("mask", mask, self._batch)
        for step in self._steps:
            if not isinstance(step, Module):
                step.reset(mask)

    def refresh(self) -> None:
        """Take over the modules' present weights; the state stays."""
        for step in self._steps:
            if not isinstance(step, Module):
                step.refresh()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a stream cannot be pickled or copied: make one from the model, and set its state")


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
        if hasattr(type(member), "stream") and not isinstance(member, Sequential):
            raise TypeError(f"expected a method stream(batch), as the module holds a {type(member).__name__}")
    return module
