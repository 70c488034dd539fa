"""The protocol all modules share: parameters by name, tapes, gradients, seeds of masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np

from rnnfast import _core
from rnnfast.nn import checks
from rnnfast.nn.lock import sharing
from rnnfast.nn.parameter import Parameter

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class Tape:
    """What one forward pass left for its backward pass; only the module that made it can read it.

    A tape is used up by `backward` unless `retain=True`, and can be neither pickled nor copied.
    """

    __slots__ = ("_owner", "_saved")

    def __init__(self, owner: Module, saved: Any) -> None:
        self._owner = owner
        self._saved = saved

    def saved_for(self, owner: Module) -> Any:
        """What `owner` put on the tape; a ValueError if another module made it or it is used up."""
        if self._owner is not owner:
            raise ValueError(
                f"tape: expected one made by this {type(owner).__name__}'s own forward, got another module's"
            )
        if self._saved is None:
            raise ValueError(
                "tape: expected an unused one, got one used up by backward (retain=True keeps it)"
            )
        return self._saved

    def use_up(self) -> None:
        """Let go of everything saved; a ValueError if another thread did so first."""
        with sharing:
            self.saved_for(self._owner)
            self._saved = None

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(
            "a tape belongs to one forward pass of one module: it can be neither pickled nor copied"
        )

    def __repr__(self) -> str:
        return f"<Tape of {type(self._owner).__name__}{', used up' if self._saved is None else ''}>"


class Module:
    """The base of every module: `m(x, state)`, `forward`, `backward` and named parameters.

    A subclass gives `__call__`, `forward` (which ends in ``Tape(self, saved)``) and the two halves of
    `backward`: `_check_gradients`, which refuses what does not fit before anything is written, and
    `_backward`, which computes.

    Attributes
    ----------
    takes : frozenset of str
        The keywords of this module's `forward` that a model hands on to it: of ``lengths``, ``reset``,
        ``training``, ``rng`` and ``checkpoint`` those it has.
    causal : bool
        Whether y at a step needs no later step, so that a stream can take one step at a time.
    mask_seed : int or None
        The seed of this module's random masks; None for a module that draws none.
    mask_calls : int
        How many passes have drawn masks from it. The two key the next pass's masks, and may be set.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> module = rf.GRU(3, 5, rng=0)
    >>> [(name, parameter.shape) for name, parameter in module.named_parameters()][:2]
    [('weight_ih_l0', (15, 3)), ('weight_hh_l0', (15, 5))]
    >>> weights = module.state_dict()
    >>> weights["bias_ih_l0"][:] = 0
    >>> module.load_state_dict(weights)
    >>> bool(module.bias_ih_l0.data.any())
    False
    """

    takes: ClassVar[frozenset[str]] = frozenset()
    causal: ClassVar[bool] = True
    _reads_embedded: ClassVar[bool] = False  # whether x may be an `Embedded`, and dx its table's gradient
    mask_seed: int | None = None
    mask_calls: int = 0
    _parameters: dict[str, Parameter]

    def __init__(self) -> None:
        self._parameters = {}

    def __call__(self, x: ArrayLike, state: Any = None) -> tuple[np.ndarray, Any]:
        """Evaluate: y and the final state; nothing is saved."""
        raise NotImplementedError

    def forward(self, x: ArrayLike, state: Any = None) -> tuple[np.ndarray, Any, Tape]:
        """Evaluate and save what `backward` needs: y, the final state and the tape."""
        raise NotImplementedError

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
        """
        if not isinstance(tape, Tape):
            raise TypeError(f"tape: expected the tape that forward gave, got {type(tape).__name__}")
        saved = tape.saved_for(self)
        dy, dstate = self._check_gradients(saved, dy, dstate)
        if grads is None:
            self._check_own_grads()
        else:
            self._check_grads(grads)
        if not retain:
            tape.use_up()
        dx, dstate, fresh = self._backward(saved, dy, dstate, input_grad, retain)
        with _core.Arithmetic():
            for name, parameter in self._parameters.items():
                if grads is None:
                    parameter._add_checked(fresh[name])
                elif name in grads:
                    grads[name] += fresh[name]
                else:
                    grads[name] = fresh[name]
        return dx, dstate

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

    def _check_own_grads(self) -> None:
        """Refuse gradients whose shape was set in place, by the parameter's name."""
        for name, parameter in self._parameters.items():
            try:
                parameter.check_grad()
            except ValueError as error:
                raise ValueError(f"{name}.{error}") from error

    def _check_grads(self, grads: Any) -> None:
        """Refuse a `grads` that the parameters' gradients cannot be added into."""
        if not isinstance(grads, dict):
            raise TypeError(f"grads: expected a dict, got {type(grads).__name__}")
        for name, parameter in self._parameters.items():
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

    # Parameters

    @property
    def dtype(self) -> np.dtype | None:
        """The dtype of the (first) parameters; None for a module without any."""
        for parameter in self._parameters.values():
            return parameter.dtype
        return None

    def parameters(self) -> list[Parameter]:
        """The parameters, in the order of their names' creation."""
        return list(self._parameters.values())

    def named_parameters(self) -> list[tuple[str, Parameter]]:
        """The parameters with their names."""
        return list(self._parameters.items())

    def modules(self) -> list[Module]:
        """This module and, after it, those inside it, however deep."""
        return [self]

    def zero_grad(self) -> None:
        """Set every gradient there is to zero."""
        for parameter in self._parameters.values():
            parameter.zero_grad()

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters' values, by name."""
        return {name: parameter.data.copy() for name, parameter in self._parameters.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the values of all parameters.

        Parameters
        ----------
        state_dict : mapping of str to array_like
            Exactly this module's names, each with its parameter's shape; an open ``.npz`` file will do.
            Floats of another dtype are cast.

        Raises
        ------
        TypeError
            If it is no mapping.
        ValueError
            Before anything is written, and naming every entry that is missing, unexpected, wrongly shaped
            or no array of floats.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(
                f"state_dict: expected a mapping of names to arrays, got {type(state_dict).__name__}"
            )
        problems = [f"missing {name}" for name in self._parameters if name not in state_dict]
        problems += [f"unexpected {name}" for name in state_dict if name not in self._parameters]
        values = {}
        for name, parameter in self._parameters.items():
            if name in state_dict:
                try:
                    values[name] = checks.shaped(name, state_dict[name], parameter.dtype, parameter.shape)
                except (TypeError, ValueError) as error:
                    problems.append(str(error))
        if problems:
            raise ValueError(f"state_dict: {'; '.join(problems)}")
        for name, value in values.items():
            self._parameters[name].data = value

    def __getattr__(self, name: str) -> Parameter:
        parameters = self.__dict__.get("_parameters", {})
        if name in parameters:
            return parameters[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__.get("_parameters", ()):
            raise AttributeError(f"{name}: a parameter stays what it is; assign to {name}.data instead")
        object.__setattr__(self, name, value)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._parameters]

    # Masks

    def _seed_masks(self, source: np.random.Generator) -> None:
        """Draw the seed of this module's masks."""
        self.mask_seed = checks.seed(source)
        self.mask_calls = 0

    def _mask_key(self, rng: checks.Rng) -> tuple[int, int]:
        """The (seed, call) that keys one training pass's masks: the module's next, or the one `rng` says."""
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
        y, saved = self._apply(x)
        return y, None, Tape(self, saved)

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
