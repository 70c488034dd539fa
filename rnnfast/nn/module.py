"""The protocol all modules share: forward, backward, tapes, seeds of masks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from threading import local
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from rnnfast import _core, checks
from rnnfast.nn.lock import sharing
from rnnfast.nn.members import Members
from rnnfast.nn.parameter import Parameter, add_gradients, check_writeable, gradients_kept
from rnnfast.nn.tape import NO_GRADIENT, Tape

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = [
    "Module",
    "Stateless",
    "add_fresh",
    "check_first",
    "check_gradient",
    "check_grads",
    "evaluate",
    "read_only",
    "reads_embedded",
    "refuse_state",
    "results",
    "run_backward",
    "run_forward",
]


class _Evaluating(local):
    """The user's module whose forward this thread runs for an evaluation, if any."""

    module: Module | None = None


_evaluating = _Evaluating()

_HANDED_ON = frozenset({"lengths", "reset", "training", "rng", "checkpoint"})  # keywords of forward
_RESULTS = {"__call__": ("y", "state"), "forward": ("y", "state", "tape"), "backward": ("dx", "dstate")}
_BACKWARD = frozenset({"input_grad", "retain", "grads"})  # keywords of backward


def _keywords(function: Callable[..., Any], first: int) -> frozenset[str]:
    """The names of a method's parameters behind the first ones, and "**" if it takes any name."""
    try:
        parameters = list(inspect.signature(function).parameters.values())[first:]
    except ValueError:  # compiled code may have no signature
        return frozenset({"**"})
    return frozenset("**" if each.kind is each.VAR_KEYWORD else each.name for each in parameters)


class Module(Members):
    """The base of every module: `m(x, state)`, `forward`, `backward` and named parameters.

    Modules and Parameters that are set as attributes are registered under the attribute's name, as in
    PyTorch; those in lists and dicts by `ModuleList`, `ModuleDict`, `ParameterList`, `ParameterDict`.

    A module of one's own calls ``super().__init__()`` first, and gives two methods:

    ``forward(self, x, state=None)``
        y, the final state (None without one) and a tape: anything that holds what `backward` needs, such as a
        tuple of the members' tapes. Further keywords are those that it names.
    ``backward(self, tape, dy=None, dstate=None)``
        dx and the gradient of the initial state. It calls the members' `backward`, which add to their
        parameters' gradients, and `Parameter.add_grad` for parameters of its own. None for dy or dstate means
        zero. It may also take ``input_grad``, ``retain`` and ``grads``.

    ``m(x, state)`` runs `forward` with ``training=False`` (if it takes that), unless there is a `__call__`.

    Attributes
    ----------
    takes : frozenset of str
        The keywords that this module's `forward` takes. Of these, ``lengths``, ``reset``, ``training``,
        ``rng`` and ``checkpoint`` also come from a `Sequential`.
    causal : bool
        Whether y at a step needs no later step, so that a stream can take one step at a time.
    mask_seed : int or None
        The seed of this module's random masks; None for a module that draws none.
    mask_calls : int
        How many passes have drawn masks from it. The two key the next pass's masks, and may be set.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> class Tagger(rf.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.trunk = rf.GRU(2, 16, rng=0)
    ...         self.head = rf.Linear(16, 1, rng=1)
    ...
    ...     def forward(self, x, state=None, *, lengths=None):
    ...         h, state, trunk = self.trunk.forward(x, state, lengths=lengths)
    ...         y, _, head = self.head.forward(h)
    ...         return y, state, (trunk, head)
    ...
    ...     def backward(self, tape, dy=None, dstate=None):
    ...         trunk, head = tape
    ...         dh, _ = self.head.backward(head, dy)
    ...         return self.trunk.backward(trunk, dh, dstate)
    >>> model = Tagger()
    >>> [name for name, parameter in model.named_parameters()][::3]
    ['trunk.weight_ih_l0', 'trunk.bias_hh_l0']
    >>> x = np.ones((5, 4, 2), np.float32)
    >>> loss, state = rf.loss_and_grad(model, rf.losses.mse, x, np.zeros((5, 4, 1)))
    >>> model.head.bias.grad.shape
    (1,)
    """

    takes: ClassVar[frozenset[str]] = frozenset()
    causal: ClassVar[bool] = True
    _reads_embedded: ClassVar[bool] = False  # whether x may be an `Embedded`, and dx its table's gradient
    _backward_takes: ClassVar[frozenset[str]] = _BACKWARD  # those of these keywords that its backward takes
    _checks_first: ClassVar[bool] = False  # whether its backward is `Module.backward`
    mask_seed: int | None = None
    mask_calls: int = 0

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        own = cls.__dict__
        if "forward" in own and "takes" not in own:
            names = _keywords(own["forward"], 3)
            every = (cls.takes or _HANDED_ON) if "**" in names else frozenset()
            cls.takes = (names | every) - {"return_states", "**"}
        if "backward" in own:
            names = _keywords(own["backward"], 4)
            cls._backward_takes = _BACKWARD if "**" in names else _BACKWARD & names
        if "backward" in own or "_backward" in own:
            cls._checks_first = "_backward" in own

    def __call__(self, x: Any, state: Any = None, *args: Any, **keywords: Any) -> tuple[Any, ...]:
        """Evaluate: y and the final state; nothing is saved."""
        if "training" in self.takes:
            keywords["training"] = False
        outer, _evaluating.module = _evaluating.module, self
        try:
            y, state, _ = results("forward", self, self.forward(x, state, *args, **keywords))
        finally:
            _evaluating.module = outer
        return y, state

    def forward(self, x: ArrayLike, state: Any = None) -> tuple[np.ndarray, Any, Any]:
        """Evaluate and save what `backward` needs: y, the final state and the tape."""
        raise NotImplementedError(
            f"{type(self).__name__}: expected a method forward(x, state=None) that returns y, state, tape"
        )

    def backward(
        self,
        tape: Tape,
        dy: ArrayLike | None = None,
        dstate: Any = None,
        *,
        input_grad: bool = True,
        retain: bool = False,
        grads: dict[str, np.ndarray] | None = None,
    ) -> tuple[np.ndarray | None, Any]:
        """Go back through one forward pass: gradients of its input, initial state and parameters.

        Parameters
        ----------
        tape : Tape
            From this module's `forward`. It is used up, unless `retain`.
        dy : array_like, optional
            The gradient of y, of y's shape. None means zero.
        dstate : optional
            The gradient of the final state, in the state's form. None means zero, as does any part of it.
        input_grad : bool
            False: the gradient of x is not computed.
        retain : bool
            True: the tape may be used again.
        grads : dict, optional
            Where the parameters' gradients are added, under the names of `named_parameters`; missing keys are
            created. Without it they are added to each parameter's `.grad`.

        Returns
        -------
        dx : numpy.ndarray or None
            The gradient of x, of its shape; None with ``input_grad=False`` and where x is no float array.
        dstate
            The gradient of the initial state, in the state's form (None for a module without state).

        Raises
        ------
        TypeError, ValueError
            Before anything is written: the tape is another module's or used up, or an argument has the wrong
            shape or dtype.
        RuntimeError
            Without `retain`, while another thread runs a backward pass over the tape with it.
        """
        if type(self)._backward is Module._backward:
            raise NotImplementedError(
                f"{type(self).__name__}: expected a method backward(tape, dy=None, dstate=None) that returns "
                "dx, dstate"
            )
        checks.flag("input_grad", input_grad)
        checks.flag("retain", retain)
        saved = self._saved_on(tape)
        dy, dstate = self._check_gradients(saved, dy, dstate)
        parameters = self._named()
        check_grads(parameters, grads)
        tape.begin(retain)
        try:
            dx, dstate, fresh = self._backward(saved, dy, dstate, input_grad, retain)
        finally:
            tape.end(retain)
        add_fresh(grads, parameters, fresh)
        return dx, dstate

    def _saved_on(self, tape: Any) -> Any:
        """What this module's forward saved on the tape."""
        if not isinstance(tape, Tape):
            raise TypeError(f"tape: expected the tape that forward gave, got {type(tape).__name__}")
        return tape.saved_for(self)

    def _check_gradients(
        self, saved: Any, dy: ArrayLike | None, dstate: Any
    ) -> tuple[np.ndarray | None, Any]:
        """`dy` and `dstate` as arrays that fit the pass that left `saved`, in the caller's form."""
        raise NotImplementedError

    def _backward(
        self, saved: Any, dy: np.ndarray | None, dstate: Any, input_grad: bool, retain: bool
    ) -> tuple[np.ndarray | None, Any, dict[str, np.ndarray]]:
        """dx, the initial state's gradient, and a fresh gradient array for each parameter's name."""
        raise NotImplementedError

    # Masks

    def _seed_masks(self, source: np.random.Generator) -> None:
        """Draw the seed of this module's masks."""
        self.mask_seed = checks.seed(source)
        self.mask_calls = 0

    def _mask_key(self, rng: checks.Rng) -> tuple[int, int]:
        """The (seed, call) that keys one training pass's masks: the module's next, or the one `rng` says."""
        if _evaluating.module is not None:
            raise TypeError(
                f"{type(_evaluating.module).__name__}.forward: expected it to take a keyword training and to "
                f"hand it on to {type(self).__name__}, which draws masks in evaluation otherwise"
            )
        if rng is not None:
            return checks.seed(rng), 0
        assert self.mask_seed is not None
        with sharing:
            call = self.mask_calls
            self.mask_calls = call + 1
        return self.mask_seed, call


class Stateless(Module):
    """What modules without a state share.

    A subclass gives `_apply` and `_dx`, or `_backward` if it has parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.nn.module import Stateless
    >>> class Square(Stateless):
    ...     def _apply(self, x):
    ...         return x * x, (x.shape, x.dtype, x)
    ...
    ...     def _dx(self, saved, dy):
    ...         return 2 * saved[2] * dy
    >>> square = Square()
    >>> y, state, tape = square.forward(np.array([1.0, 3.0]))
    >>> square.backward(tape, np.ones(2))[0].tolist()
    [2.0, 6.0]
    """

    def _apply(self, x: ArrayLike) -> tuple[np.ndarray, Any]:
        """y, which shares no memory with x, and what backward needs: a tuple (y's shape, its dtype, …)."""
        raise NotImplementedError

    def _dx(self, saved: Any, dy: np.ndarray) -> np.ndarray:
        """The gradient of x, which shares no memory with `dy`, of a module without parameters."""
        raise NotImplementedError

    def __call__(self, x: ArrayLike, state: None = None) -> tuple[np.ndarray, None]:
        """Evaluate.

        Parameters
        ----------
        x : array_like
            The input.
        state : None
            There is none.

        Returns
        -------
        y : numpy.ndarray
            The output.
        state : None
            There is none.
        """
        refuse_state("state", state, self)
        return self._apply(x)[0], None

    def forward(self, x: ArrayLike, state: None = None) -> tuple[np.ndarray, None, Tape]:
        """As calling the module, with a tape for `backward` as the third of what is returned."""
        refuse_state("state", state, self)
        check_gradient(self)
        y, saved = self._apply(x)
        return y, None, Tape(self, saved if self._trains else NO_GRADIENT)

    def _check_gradients(
        self, saved: Any, dy: ArrayLike | None, dstate: Any
    ) -> tuple[np.ndarray | None, None]:
        refuse_state("dstate", dstate, self)
        shape, dtype = saved[:2]
        return None if dy is None else checks.shaped("dy", dy, dtype, shape), None

    def _backward(
        self, saved: Any, dy: np.ndarray | None, dstate: None, input_grad: bool, retain: bool
    ) -> tuple[np.ndarray | None, None, dict[str, np.ndarray]]:
        if not input_grad:
            return None, None, {}
        shape, dtype = saved[:2]
        return self._dx(saved, np.zeros(shape, dtype) if dy is None else dy), None, {}


def check_gradient(module: Module) -> None:
    """Refuse a forward pass over products without a gradient, unless it only evaluates a module around it."""
    if _evaluating.module is None and not all(inner._trains for inner in module.modules()):
        raise ValueError(
            "matmul_precision: expected 'float32' or 'bfloat16' in a forward pass for gradients, got 'int8'; "
            "to evaluate, call the model itself"
        )


def run_forward(module: Module, x: Any, state: Any = None, **keywords: Any) -> tuple[Any, Any, Any]:
    """Call `module.forward`, and check that it returns three results."""
    return results("forward", module, module.forward(x, state, **keywords))


def evaluate(module: Module, x: Any, state: Any = None, **keywords: Any) -> tuple[Any, Any]:
    """Call `module(x, state)`, and check that it returns two results."""
    return results("__call__", module, module(x, state, **keywords))


def run_backward(
    module: Module,
    tape: Any,
    dy: Any,
    dstate: Any = None,
    *,
    input_grad: bool = True,
    retain: bool = False,
    grads: dict[str, np.ndarray] | None = None,
) -> tuple[Any, Any]:
    """Call `module.backward`, with those keywords that it takes: a user's method may take fewer."""
    if type(module)._checks_first:
        return module.backward(tape, dy, dstate, input_grad=input_grad, retain=retain, grads=grads)
    takes = type(module)._backward_takes
    if retain and "retain" not in takes:
        raise TypeError(f"{type(module).__name__}.backward: expected a keyword retain, which is needed here")
    given = {"input_grad": input_grad, "retain": retain, "grads": grads}
    keywords = {name: value for name, value in given.items() if name in takes}
    parameters = module._named()
    check_grads(parameters, grads)
    if grads is None or "grads" in takes:
        dx, dstate = _backward_of(module, tape, dy, dstate, keywords)
    else:
        with gradients_kept() as kept:
            dx, dstate = _backward_of(module, tape, dy, dstate, keywords)
        add_fresh(grads, parameters, {name: kept[own] for name, own in parameters.items() if own in kept})
    return dx if input_grad else None, dstate


def check_first(module: Module, tape: Any, dy: Any, dstate: Any) -> tuple[Any, Any]:
    """dy and dstate, checked as the module's `backward` does; unchanged if a user wrote `backward`."""
    if not module._checks_first:
        return dy, dstate
    return module._check_gradients(module._saved_on(tape), dy, dstate)


def reads_embedded(module: Module) -> bool:
    """Whether x may be an `Embedded`; dx is then the gradient of its table."""
    return module._reads_embedded


def _backward_of(
    module: Module, tape: Any, dy: Any, dstate: Any, keywords: dict[str, Any]
) -> tuple[Any, Any]:
    return results("backward", module, module.backward(tape, dy, dstate, **keywords))


def results(method: str, module: Module, given: Any) -> Any:
    """The results of a module's method; an error unless they are a tuple of the expected length."""
    expected = _RESULTS[method]
    if not isinstance(given, tuple) or len(given) != len(expected):
        came = f"{len(given)} of them" if isinstance(given, tuple) else type(given).__name__
        raise TypeError(
            f"{type(module).__name__}.{method}: expected it to return {', '.join(expected)}, got {came}"
        )
    return given


def check_grads(parameters: Mapping[str, Parameter], grads: Any) -> None:
    """Refuse a `grads` that the parameters' gradients cannot be added into; None means their `.grad`."""
    if grads is None:
        check_writeable(parameters, "grad")
        return
    if not isinstance(grads, dict):
        raise TypeError(f"grads: expected a dict, got {type(grads).__name__}")
    if not grads:
        return
    for name, parameter in parameters.items():
        if name not in grads:
            continue
        entry = grads[name]
        if not isinstance(entry, np.ndarray) or entry.dtype != parameter.dtype:
            came = entry.dtype if isinstance(entry, np.ndarray) else type(entry).__name__
            raise TypeError(f"grads[{name!r}]: expected an array of {parameter.dtype}, got {came}")
        if entry.shape != parameter.shape:
            raise ValueError(f"grads[{name!r}]: expected shape {parameter.shape}, got {entry.shape}")
        if not entry.flags.writeable:
            raise ValueError(f"grads[{name!r}]: expected a writeable array, got a read-only one")


def add_fresh(
    grads: dict[str, np.ndarray] | None, parameters: dict[str, Parameter], fresh: dict[str, np.ndarray]
) -> None:
    """Add fresh gradients to those in `grads`, or to the parameters' own where that is None."""
    if grads is None:
        add_gradients([(own, fresh[name]) for name, own in parameters.items() if name in fresh])
        return
    if not grads and len(fresh) == len(parameters):
        grads.update((name, fresh[name]) for name in parameters)  # in the order of the names
        return
    both = [name for name in parameters if name in fresh and name in grads]
    _core.add_arrays([grads[name] for name in both], [fresh[name] for name in both])
    for name in parameters:
        if name in fresh and name not in grads:
            grads[name] = fresh[name]


def refuse_state(name: str, value: Any, module: Module) -> None:
    """Refuse a state given to a module that has none."""
    if value is not None:
        raise ValueError(
            f"{name}: expected None ({type(module).__name__} has no state), got {type(value).__name__}"
        )


def read_only(array: np.ndarray) -> np.ndarray:
    """A view of `array` that nobody can write through or unlock: the owner of its memory is locked too."""
    owner = array if array.base is None else array.base
    owner.setflags(write=False)
    view = array.view()
    view.setflags(write=False)
    return view
