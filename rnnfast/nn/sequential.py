"""Modules in a row: each reads the output of the module before it."""

from __future__ import annotations

from typing import Any

from rnnfast.nn.composite import CallBack, Calls, Composite
from rnnfast.nn.embedding import Embedding, embedded_input
from rnnfast.nn.module import Module, evaluate, reads_embedded, run_forward
from rnnfast.nn.tape import Tape

__all__ = ["Sequential"]


class Sequential(Composite):
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

    def __init__(self, *modules: Module) -> None:
        super().__init__(modules)

    def _compose(self, x: Any, calls: Calls) -> tuple[Any, None]:
        for call in calls:
            x = call(x)
        return x, None

    def _shares(self, rest: None, dy: Any) -> list[Any]:
        return [None] * (len(self) - 1) + [dy]

    def _compose_backward(self, shares: list[Any], call: CallBack, input_grad: bool) -> Any:
        dy = shares[-1]
        for place in reversed(range(len(self))):
            dy = call(place, dy, input_grad or place > 0)
        return dy

    def _evaluate(self, place: int, x: Any, state: Any, keywords: dict[str, Any]) -> tuple[Any, Any]:
        embedding = self._embedding(place)
        if embedding is None:
            return evaluate(self._row[place], x, state, **keywords)
        return embedded_input(embedding, x, state)[0], None

    def _forward(self, place: int, x: Any, state: Any, keywords: dict[str, Any]) -> tuple[Any, Any, Any]:
        embedding = self._embedding(place)
        if embedding is None:
            return run_forward(self._row[place], x, state, **keywords)
        y, saved = embedded_input(embedding, x, state)
        return y, None, Tape(embedding, saved)

    def _embedding(self, place: int) -> Embedding | None:
        """The module at `place` if it is an embedding whose table the next module can read."""
        row = self._row
        module = row[place]
        if type(module) is Embedding and place + 1 < len(row) and reads_embedded(row[place + 1]):
            return module
        return None
