"""Tapes: what a module's forward pass leaves for its backward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from rnnfast.nn.lock import sharing

if TYPE_CHECKING:
    from rnnfast.nn.module import Module

__all__ = ["NO_GRADIENT", "Tape"]

NO_GRADIENT = object()  # what a tape holds if its products have no gradient


class Tape:
    """What one forward pass saved for its backward pass; only the module that made it can read it.

    A tape is used up by `backward` unless `retain=True`, and can be neither pickled nor copied. Several
    threads may run ``backward(retain=True)`` over one tape at once. Without `retain`, the first thread uses
    the tape up, and the others get an error. So does a thread without `retain` while another one retains it.
    """

    __slots__ = ("_owner", "_readers", "_saved")

    def __init__(self, owner: Module, saved: Any) -> None:
        self._owner = owner
        self._saved = saved
        self._readers = 0  # backward passes that retain it and have not ended

    def saved_for(self, owner: Module) -> Any:
        """What `owner` saved on the tape; a ValueError if another module made it or it is used up."""
        if self._owner is not owner:
            raise ValueError(
                f"tape: expected one made by this {type(owner).__name__}'s own forward, got another module's"
            )
        if self._saved is NO_GRADIENT:
            raise ValueError(
                "tape: expected one with gradients, got one of products in int8, which have none"
            )
        if self._saved is None:
            raise ValueError(
                "tape: expected an unused one, got one used up by backward (retain=True keeps it)"
            )
        return self._saved

    def begin(self, retain: bool) -> None:
        """Begin a backward pass, which drops everything that was saved unless it retains the tape.

        Raises
        ------
        ValueError
            If another thread used the tape up first.
        RuntimeError
            If another thread's pass retains the tape, has not ended, and this one would not retain it.
        """
        with sharing:
            self.saved_for(self._owner)
            if retain:
                self._readers += 1
            elif self._readers:
                raise RuntimeError(
                    "tape: expected one that no other thread reads, got one in another thread's "
                    "backward(retain=True); let that end first, or retain the tape here too"
                )
            else:
                self._saved = None

    def end(self, retain: bool) -> None:
        """End what `begin` began."""
        if retain:
            with sharing:
                self._readers -= 1

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(
            "a tape belongs to one forward pass of one module: it can be neither pickled nor copied"
        )

    def __repr__(self) -> str:
        return f"<Tape of {type(self._owner).__name__}{', used up' if self._saved is None else ''}>"
