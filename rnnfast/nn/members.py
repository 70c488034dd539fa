"""The members of a module: parameters and modules that are set as attributes, by name."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Any, ClassVar, TypeVar

import numpy as np

from rnnfast import _core, checks
from rnnfast.nn.parameter import (
    Parameter,
    check_writeable,
    freeze,
    unfreeze,
    unwritable,
    zero_gradients,
)

__all__ = ["Members", "check_same_form", "note_change"]

_Own = TypeVar("_Own", bound="Members")

_PLAIN = frozenset({list, tuple, set, dict})
_LOOK = 64  # entries of a plain list or dict that are searched for modules


class _Version:
    """The version of the members of all modules: a new object after every change."""

    members = object()


_version = _Version()


def note_change() -> None:
    """Record that the members of some module have changed, so that names are collected again."""
    _version.members = object()


class Members:
    """The base of `Module`: registers parameters and modules that are set as attributes.

    Names are paths: ``trunk.weight_ih_l0`` is the parameter ``weight_ih_l0`` of the member ``trunk``. Own
    parameters come before those of members, each in the order in which it was first set. A parameter or
    module that is registered under several names is one: it is listed once, under the first of them.
    """

    _parameters: dict[str, Parameter]
    _modules: dict[str, Any]
    _unsearched: ClassVar[frozenset[str]] = frozenset()  # lists and dicts that never hold modules
    _precision: str | None = None  # of its own products; None for a module that does not multiply
    _from_arrays: Any = None  # what it made from its parameters' arrays, for as long as they are the same

    def __init__(self) -> None:
        for kind in ("_parameters", "_modules"):
            self.__dict__.setdefault(kind, {})

    # Attributes

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        for kind in ("_parameters", "_modules"):
            if name in own.get(kind, ()):
                return own[kind][name]
        if name in ("_parameters", "_modules"):
            raise AttributeError(f"{type(self).__name__}.__init__: expected it to call super().__init__()")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__
        if isinstance(value, (Parameter, Members)):
            if hasattr(getattr(type(self), name, None), "__set__"):  # a property: its setter decides
                object.__setattr__(self, name, value)
            else:
                self._register(name, value)
            return
        if name in own.get("_parameters", ()):
            if value is not None:
                raise AttributeError(f"{name}: a parameter stays what it is; assign to {name}.data instead")
            self._check_member(name, None)
            del self._parameters[name]
            note_change()
        elif name in own.get("_modules", ()):
            if value is not None:
                raise TypeError(f"{name}: expected a Module or None, got {type(value).__name__}")
            self._check_member(name, None)
            del self._modules[name]
            note_change()
        object.__setattr__(self, name, value)
        if type(value) in _PLAIN and name not in self._unsearched:
            own.setdefault("_containers", set()).add(name)

    def __delattr__(self, name: str) -> None:
        for kind in ("_parameters", "_modules"):
            members = self.__dict__.get(kind, {})
            if name in members:
                self._check_member(name, None)
                del members[name]
                note_change()
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._parameters, *self._modules]

    def _register(self, name: str, value: Parameter | Members) -> None:
        own = self.__dict__
        if "_modules" not in own:
            raise AttributeError(
                f"{type(self).__name__}.__init__: expected it to call super().__init__() "
                f"before it sets {name}"
            )
        if not name or "." in name:
            raise ValueError(f"name: expected one without a dot, got {name!r}")
        if isinstance(value, Members) and any(inner is self for inner in value.modules()):
            raise ValueError(f"{name}: expected a module that does not hold this {type(self).__name__}")
        self._check_member(name, value)
        mine: dict[str, Any] = self._parameters
        other: dict[str, Any] = self._modules
        if isinstance(value, Members):
            mine, other = other, mine
        other.pop(name, None)
        own.pop(name, None)
        if any(value is member for member in mine.values()):
            own["_tied"] = True  # several names of one parameter
        mine[name] = value
        note_change()

    def _check_member(self, name: str, value: Parameter | Members | None) -> None:
        """Raise an error if `value` (None: no member) may not be the member `name`; for subclasses."""

    # Walks

    def _every_name(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """All names of all parameters: a shared one comes under each of its names."""
        for name, parameter in self._parameters.items():
            yield prefix + name, parameter
        for name, module in self._modules.items():
            yield from module._every_name(f"{prefix}{name}.")

    def _named(self) -> dict[str, Parameter]:
        """Each parameter under its first name; not to be written into."""
        own = self._parameters
        if not self._modules and not self.__dict__.get("_tied"):
            return own
        known = self.__dict__.get("_known")
        if known is not None and known[0] is _version.members:
            return known[1]
        named: dict[str, Parameter] = {}
        self._collect("", named, set())
        self.__dict__["_known"] = (_version.members, named)
        return named

    def _collect(self, prefix: str, named: dict[str, Parameter], seen: set[Parameter]) -> None:
        """Add the parameters that were not seen before to `named`."""
        for name, parameter in self._parameters.items():
            if parameter not in seen:
                seen.add(parameter)
                named[prefix + name] = parameter
        for name, module in self._modules.items():
            module._collect(f"{prefix}{name}.", named, seen)

    def _check_lists(self) -> None:
        """Refuse modules and parameters in plain lists and dicts that nothing registers."""
        for module in self.modules():
            for name in module.__dict__.get("_containers", ()):
                value = module.__dict__.get(name)
                if type(value) not in _PLAIN or not value:
                    continue
                for entry in islice(value.values() if isinstance(value, dict) else value, _LOOK):
                    if isinstance(entry, (Members, Parameter)) and not self._holds(entry):
                        kind = "Parameter" if isinstance(entry, Parameter) else "Module"
                        raise TypeError(
                            f"{type(module).__name__}.{name}: expected an rf.{kind}List or rf.{kind}Dict "
                            f"(a plain {type(value).__name__} registers nothing), got one that holds "
                            f"a {type(entry).__name__}"
                        )

    def _holds(self, entry: Parameter | Members) -> bool:
        """Whether this module or one inside it registered `entry`."""
        if isinstance(entry, Members):
            return any(module is entry for module in self.modules())
        return any(parameter is entry for _, parameter in self._every_name())

    # What a module tells about its members

    @property
    def dtype(self) -> np.dtype | None:
        """The dtype of the (first) parameters; None for a module without any."""
        for _, parameter in self._every_name():
            return parameter.dtype
        return None

    @property
    def matmul_precision(self) -> str | None:
        """The precision of all products of this module: "float32", "bfloat16" or "int8".

        In "bfloat16", a product rounds its operands to bfloat16. In "int8" it rounds them to integers from
        -127 to 127, with a scale for each row of a weight, and for each sequence and step. Products in int8
        have no gradient, so they evaluate alone. Sums, parameters, gradients, states and all else stay
        float32. It may be set at any time; a tape or a stream keeps the precision that it was made with. None
        where nothing multiplies, "mixed" where modules inside this one differ.

        Raises
        ------
        TypeError, ValueError
            Setting it to anything else, or to another than "float32" where parameters are float64; nothing is
            set then.

        Examples
        --------
        >>> import rnnfast as rf
        >>> model = rf.Sequential(rf.GRU(4, 8), rf.Dropout(0.1), rf.Linear(8, 2))
        >>> model.matmul_precision = "bfloat16"
        >>> model.matmul_precision, model[0].matmul_precision, model[1].matmul_precision
        ('bfloat16', 'bfloat16', None)
        """
        found = {module._precision for module in self.modules() if module._precision is not None}
        return None if not found else found.pop() if len(found) == 1 else "mixed"

    @matmul_precision.setter
    def matmul_precision(self, precision: str) -> None:
        checks.one_of("matmul_precision", precision, _core.PRECISIONS)
        self.load_matmul_precisions(dict.fromkeys(self.matmul_precisions(), precision))

    @property
    def _trains(self) -> bool:
        """Whether the module's own products have gradients, if it has products."""
        return self._precision is None or self._precision in _core.TRAINABLE

    def matmul_precisions(self) -> dict[str, str]:
        """The `matmul_precision` of each module that multiplies, by the names of :meth:`named_modules`."""
        return {name: own for name, module in self.named_modules() if (own := module._precision) is not None}

    def load_matmul_precisions(self, precisions: Mapping[str, str]) -> None:
        """Set the `matmul_precision` of each module that is named; the others keep theirs.

        Parameters
        ----------
        precisions : mapping of str to str
            As :meth:`matmul_precisions` gives them. A module that does not multiply, or that is not there,
            may be named with "float32".

        Raises
        ------
        ValueError
            Before anything is set: an unknown precision, or one that a module cannot have.

        Examples
        --------
        >>> import rnnfast as rf
        >>> model = rf.Sequential(rf.GRU(4, 8), rf.Linear(8, 2))
        >>> model.load_matmul_precisions({"0": "bfloat16"})
        >>> model.matmul_precisions()
        {'0': 'bfloat16', '1': 'float32'}
        """
        modules = dict(self.named_modules())
        self.check_matmul_precisions(precisions)
        for name, precision in precisions.items():
            if name in modules and modules[name]._precision is not None:
                modules[name]._set_precision(precision)

    def check_matmul_precisions(self, precisions: Mapping[str, str]) -> None:
        """Raise the errors of :meth:`load_matmul_precisions` and change nothing."""
        modules = dict(self.named_modules())
        for name, precision in precisions.items():
            module = modules.get(name)
            if module is not None and module._precision is not None:
                checks.precision("matmul_precision", precision, module.dtype or np.dtype(np.float32))
            elif checks.one_of("matmul_precision", precision, _core.PRECISIONS) != "float32":
                raise ValueError(
                    f"matmul_precision: expected {name!r} to be a module that multiplies, got none"
                )

    def _set_precision(self, precision: str) -> None:
        """Multiply in this precision from now on."""
        self.__dict__.update(_precision=precision, _from_arrays=None)

    def _matrices(self) -> Collection[str]:
        """The names of the module's own parameters that its products multiply."""
        return ()

    def multiplied(self) -> list[str]:
        """The names of the matrices that products multiply: files may hold them with fewer bits.

        A matrix that is also another module's, such as an embedding's, is not among them.

        Examples
        --------
        >>> import rnnfast as rf
        >>> rf.Sequential(rf.Embedding(5, 3), rf.GRU(3, 4), rf.Linear(4, 5)).multiplied()
        ['1.weight_ih_l0', '1.weight_hh_l0', '2.weight']
        """
        matrices: set[Parameter] = set()
        others: set[Parameter] = set()
        for module in self.modules():
            names = module._matrices()
            for name, parameter in module._parameters.items():
                (matrices if name in names else others).add(parameter)
        return [name for name, parameter in self.named_parameters() if parameter in matrices - others]

    def parameters(self) -> list[Parameter]:
        """The parameters, each once, in the order of :meth:`named_parameters`."""
        return [parameter for _, parameter in self.named_parameters()]

    def named_parameters(self) -> list[tuple[str, Parameter]]:
        """The parameters with their names, each once.

        Raises
        ------
        TypeError
            A plain list or dict among the attributes holds a module or parameter that is not registered.
        """
        self._check_lists()
        return list(self._named().items())

    def modules(self: _Own) -> list[_Own]:
        """This module and, after it, those inside it, however deep, each once."""
        found: dict[Any, str] = {}
        self._find("", found)
        return list(found)

    def named_modules(self: _Own) -> list[tuple[str, _Own]]:
        """This module, named "", and those inside it with their names, each once."""
        found: dict[Any, str] = {}
        self._find("", found)
        return [(name, module) for module, name in found.items()]

    def _find(self, name: str, found: dict[Any, str]) -> None:
        """Add this module and those inside it that were not found before."""
        if self not in found:
            found[self] = name
            for inner, module in self._modules.items():
                module._find(f"{name}.{inner}" if name else inner, found)

    def zero_grad(self) -> None:
        """Set all gradients that are not None to zero."""
        parameters = self._named()
        check_writeable(parameters, "grad")
        zero_gradients(parameters.values())

    @property
    def frozen(self) -> bool:
        """Whether all parameters are constant, by :meth:`freeze`; False for a module without any."""
        parameters = self._named().values()
        return bool(parameters) and all(parameter.frozen for parameter in parameters)

    def freeze(self) -> None:
        """Make all parameters constant, those of members too, so that evaluation packs weights once.

        Each call of a recurrent layer or of `Linear` copies its weights into the order of the kernels. For a
        few short sequences that is a good part of a call. In a frozen module, the first call keeps the copy
        for later ones. All results have the same bits, and gradients are computed as before.

        Until :meth:`unfreeze`, nothing can write a parameter's `data`: no optimizer, `load_state_dict`,
        `rf.init` or `rf.load`, and nobody who took the array before. To train some parameters only, do not
        freeze the others: give the optimizer those alone.

        A parameter that other modules share is constant there too. Deep copies and pickles of a frozen module
        are frozen. `rf.save` stores the values alone.

        Notes
        -----
        A frozen module has its weights in memory twice: as parameters, and in the order of the kernels in its
        `matmul_precision`. On processors with VDPBF16PS, bfloat16 may keep a third copy: one or two sequences
        at a time and more of them have different kernels.

        Raises
        ------
        TypeError
            A plain list or dict among the attributes holds a module or parameter that is not registered.
        MemoryError
            There is no memory for the copies. No parameter is frozen then.

        Examples
        --------
        >>> import numpy as np, rnnfast as rf
        >>> model = rf.Sequential(rf.GRU(3, 8, rng=0), rf.Linear(8, 2, rng=1))
        >>> x = np.ones((5, 1, 3), np.float32)
        >>> y, state = model(x)
        >>> model.freeze()
        >>> np.array_equal(model(x)[0], y)
        True
        >>> model.frozen, model[1].bias.data.flags.writeable
        (True, False)
        >>> model.unfreeze()
        >>> model[1].bias.data[...] = 0
        """
        freeze(self.parameters())

    def unfreeze(self) -> None:
        """Make all parameters writeable again, with the same values, and drop the packed weights.

        Parameters get new arrays. A parameter that other modules share is writeable there too.
        """
        unfreeze(self.parameters())
        for module in self.modules():
            module.__dict__["_from_arrays"] = None

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters' values, by the names of :meth:`named_parameters`."""
        return {name: parameter.data.copy() for name, parameter in self.named_parameters()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the values of all parameters.

        Parameters
        ----------
        state_dict : mapping of str to array_like
            Exactly this module's names, each with its parameter's shape; an open ``.npz`` file will do.
            Floats of another dtype are cast, the bfloat16 of ml_dtypes too. A shared parameter's other names
            may be there, with the same values, as in a state_dict of PyTorch.

        Raises
        ------
        TypeError
            If it is no mapping.
        ValueError
            Before anything is written, and naming every entry that is missing, unexpected, wrongly shaped
            or no array of floats, and every parameter that cannot be written.
        """
        parameters = self._named()
        for name, value in self._read_state(state_dict).items():
            parameters[name].data = value

    def check_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Raise the errors of :meth:`load_state_dict` and change nothing."""
        self._read_state(state_dict)

    def _read_state(self, state_dict: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The values of all parameters, as arrays that fit them."""
        if not isinstance(state_dict, Mapping):
            raise TypeError(
                f"state_dict: expected a mapping of names to arrays, got {type(state_dict).__name__}"
            )
        parameters = dict(self.named_parameters())
        first = {id(parameter): name for name, parameter in parameters.items()}
        others = {name: first[id(shared)] for name, shared in self._every_name() if name not in parameters}
        problems = [f"missing {name}" for name in parameters if name not in state_dict]
        problems += [f"unexpected {name}" for name in state_dict if name not in {**parameters, **others}]
        values = {}
        for name, parameter in parameters.items():
            if name in state_dict:
                try:
                    value = checks.with_bfloat16(name, state_dict[name])
                    values[name] = checks.shaped(name, value, parameter.dtype, parameter.shape)
                except (TypeError, ValueError) as error:
                    problems.append(str(error))
            if problem := unwritable(parameter):
                problems.append(f"{name}: expected a parameter that can be written, got {problem}")
        for name, own in others.items():
            if name in state_dict and own in values:
                if not np.array_equal(checks.with_bfloat16(name, state_dict[name]), values[own], True):
                    problems.append(f"{name}: expected the values of {own}, whose parameter it shares")
        if problems:
            raise ValueError(f"state_dict: {'; '.join(problems)}")
        return values


def check_same_form(name: str, present: Parameter | None, value: Any) -> None:
    """Refuse a value that is no parameter of the shape and dtype of the `present` one."""
    if present is None:
        raise TypeError(f"{name}: expected None (the module was made without it), got {type(value).__name__}")
    if not isinstance(value, Parameter):
        came = "nothing" if value is None else type(value).__name__
        raise TypeError(f"{name}: expected a Parameter, got {came}")
    if value.dtype != present.dtype:
        raise TypeError(f"{name}: expected a Parameter of {present.dtype}, got one of {value.dtype}")
    if value.shape != present.shape:
        raise ValueError(f"{name}: expected a Parameter of shape {present.shape}, got {value.shape}")
