"""The rates of dropout, zoneout, recurrent dropout and weight dropout that a recurrent layer has."""

from __future__ import annotations

from typing import ClassVar

from rnnfast import checks
from rnnfast.nn.module import Module
from rnnfast.recurrent.masks import Masks

__all__ = ["Regularized"]


class Regularized(Module):
    """The part of a recurrent layer that has these rates and draws the masks of a call."""

    rates: ClassVar[dict[str, float]] = {"zoneout": 0.0, "recurrent_dropout": 0.0, "weight_dropout": 0.0}
    zoned: ClassVar[bool] = True  # whether the cell has zoneout
    num_layers: int
    dropout: float
    parts: tuple[str, ...]
    recurrent_dropout = weight_dropout = 0.0
    _zoneout: tuple[float, ...] = (0.0,)  # of each part of the state

    def _regularize(
        self,
        zoneout: float | tuple[float, ...] = 0.0,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
    ) -> None:
        """Set the rates but that of dropout, checked."""
        self._zoneout = checks.zoneout(zoneout, self.parts)
        self.recurrent_dropout = checks.probability("recurrent_dropout", recurrent_dropout)
        self.weight_dropout = checks.probability("weight_dropout", weight_dropout)
        self._check_zoneout(self._zoneout)

    @property
    def zoneout(self) -> float | tuple[float, ...]:
        """The probability that a unit keeps its state in a step; a pair where those of h and c differ."""
        return self._zoneout if len(set(self._zoneout)) > 1 else self._zoneout[0]

    @zoneout.setter
    def zoneout(self, value: float | tuple[float, ...]) -> None:
        rates = checks.zoneout(value, self.parts)
        self._check_zoneout(rates)
        self._zoneout = rates
        self.__dict__["_from_arrays"] = None  # the cells have the expectation

    def _check_zoneout(self, rates: tuple[float, ...]) -> None:
        if any(rates) and not self.zoned:
            raise ValueError(f"zoneout: expected 0, as {type(self).__name__} has none")

    def _masks(self, rng: checks.Rng) -> Masks | None:
        """The masks of a training call; None if all rates are zero."""
        rates = self.recurrent_dropout, self.weight_dropout
        if not any((self.dropout and self.num_layers > 1, *self._zoneout, *rates)):
            return None
        return Masks(self._mask_key(rng), self.dropout, self._zoneout, *rates)
