"""Lists and dicts that register their modules or parameters. They do not run them."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any, ClassVar, Generic, NoReturn, TypeVar

from rnnfast.nn.members import note_change
from rnnfast.nn.module import Module
from rnnfast.nn.parameter import Parameter

__all__ = ["ModuleDict", "ModuleList", "ParameterDict", "ParameterList"]

_Kind = TypeVar("_Kind", Module, Parameter)


class _Container(Module, Generic[_Kind]):
    """What lists and dicts share: the place of their entries, and the class of the entries."""

    _kind: ClassVar[type]

    @property
    def _entries(self) -> dict[str, _Kind]:
        return self.__dict__["_modules" if self._kind is Module else "_parameters"]

    def _checked(self, name: str, value: Any) -> Any:
        if not isinstance(value, self._kind):
            raise TypeError(f"{name}: expected a {self._kind.__name__}, got {type(value).__name__}")
        return value

    def forward(self, x: Any, state: Any = None) -> NoReturn:
        """Raise a TypeError: the module that holds this container runs its entries."""
        raise TypeError(
            f"{type(self).__name__}: it holds a {self._kind.__name__} by name and has no forward; "
            "the module around it runs its entries"
        )

    def __call__(self, x: Any, state: Any = None, *args: Any, **keywords: Any) -> NoReturn:
        """As `forward`."""
        self.forward(x, state)

    def __len__(self) -> int:
        return len(self._entries)


class _List(_Container[_Kind]):
    """Entries in a row, named by their places."""

    def __init__(self, entries: Iterable[_Kind] = ()) -> None:
        super().__init__()
        self.extend(entries)

    def _rename(self, entries: list[_Kind]) -> None:
        """Take these entries in place of the present ones."""
        before = dict(self._entries)
        self._entries.clear()
        note_change()
        try:
            for place, entry in enumerate(entries):
                self._register(str(place), self._checked(f"entry {place}", entry))
        except BaseException:
            self._entries.clear()
            self._entries.update(before)
            raise

    def __iter__(self) -> Iterator[_Kind]:
        return iter(list(self._entries.values()))

    def __getitem__(self, place: Any) -> Any:
        found = list(self._entries.values())[place]
        return type(self)(found) if isinstance(place, slice) else found

    def __setitem__(self, place: Any, value: Any) -> None:
        entries: list[Any] = list(self)
        entries[place] = value
        self._rename(entries)

    def __delitem__(self, place: Any) -> None:
        entries = list(self)
        del entries[place]
        self._rename(entries)

    def append(self, entry: _Kind) -> None:
        """Add one at the end."""
        self.extend([entry])

    def extend(self, entries: Iterable[_Kind]) -> None:
        """Add several at the end."""
        self._rename(list(self) + list(entries))

    def insert(self, place: int, entry: _Kind) -> None:
        """Insert one before the entry at a place; the names of later entries change."""
        changed = list(self)
        changed.insert(place, entry)
        self._rename(changed)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self)!r})"


class _Dict(_Container[_Kind]):
    """Entries by name."""

    def __init__(self, entries: Mapping[str, _Kind] | Iterable[tuple[str, _Kind]] = ()) -> None:
        super().__init__()
        self.update(entries)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._entries))

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __getitem__(self, name: str) -> _Kind:
        return self._entries[name]

    def __setitem__(self, name: str, value: _Kind) -> None:
        if not isinstance(name, str):
            raise TypeError(f"name: expected text, got {name!r}")
        self._register(name, self._checked(name, value))

    def __delitem__(self, name: str) -> None:
        del self._entries[name]
        note_change()

    def update(self, entries: Mapping[str, _Kind] | Iterable[tuple[str, _Kind]]) -> None:
        """Set several."""
        for name, value in dict(entries).items():
            self[name] = value

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._entries.keys()

    def values(self) -> ValuesView[_Kind]:
        """The entries."""
        return self._entries.values()

    def items(self) -> ItemsView[str, _Kind]:
        """The names with their entries."""
        return self._entries.items()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict(self._entries)!r})"


class ModuleList(_List[Module]):
    """Modules in a list that registers them, named by their places.

    A plain list registers nothing. It has what lists have: ``len``, iteration, places and slices, `append`,
    `extend`, `insert`, ``del``.

    Parameters
    ----------
    entries : iterable of Module

    Raises
    ------
    TypeError
        An entry is no Module.

    Examples
    --------
    >>> import rnnfast as rf
    >>> class Heads(rf.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.heads = rf.ModuleList(rf.Linear(8, n, bias=False, rng=n) for n in (2, 3))
    >>> [(name, parameter.shape) for name, parameter in Heads().named_parameters()]
    [('heads.0.weight', (2, 8)), ('heads.1.weight', (3, 8))]
    """

    _kind = Module


class ModuleDict(_Dict[Module]):
    """Modules by name, registered.

    A plain dict registers nothing. It has what dicts have: ``len``, iteration, `keys`, `values`, `items`,
    `update`, ``del``.

    Parameters
    ----------
    entries : mapping of str to Module
        Names without a dot.

    Raises
    ------
    TypeError, ValueError
        An entry is no Module, or a name is no text or has a dot.

    Examples
    --------
    >>> import rnnfast as rf
    >>> pair = rf.ModuleDict({"encoder": rf.GRU(3, 8), "head": rf.Linear(8, 2)})
    >>> [name for name, parameter in pair.named_parameters()][-2:]
    ['head.weight', 'head.bias']
    """

    _kind = Module


class ParameterList(_List[Parameter]):
    """Parameters in a list that registers them, named by their places; used as `ModuleList`.

    Parameters
    ----------
    entries : iterable of Parameter

    Raises
    ------
    TypeError
        An entry is no Parameter.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> scales = rf.ParameterList([rf.Parameter(np.ones(2))])
    >>> scales.append(rf.Parameter(np.zeros(3)))
    >>> [(name, parameter.shape) for name, parameter in scales.named_parameters()]
    [('0', (2,)), ('1', (3,))]
    """

    _kind = Parameter


class ParameterDict(_Dict[Parameter]):
    """Parameters by name, registered; used as `ModuleDict`.

    Parameters
    ----------
    entries : mapping of str to Parameter
        Names without a dot.

    Raises
    ------
    TypeError, ValueError
        An entry is no Parameter, or a name is no text or has a dot.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> scales = rf.ParameterDict({"left": rf.Parameter(np.ones(2))})
    >>> scales["left"].shape
    (2,)
    """

    _kind = Parameter
