"""What a training run was like: numbers by epoch and by step, and their plot."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

from rnnfast.files import file_name

__all__ = ["History"]

_COLUMNS = ("step", "loss", "validation", "lr", "seconds")


class History:
    """The course of a training run: a row for each epoch, or for the part of one in which the run ended.

    Attributes
    ----------
    step : list of int
        Updates made when the row was written, from the run's first.
    loss : list of float
        Mean training loss since the row before.
    validation : list of float or None
        Validation loss then; None where there was no validation.
    lr : list of float
        Learning rate of the row's last update.
    seconds : list of float
        Wall clock since the start, resumed runs added up.
    batch_loss : list of float
        The loss of every single update.
    stopped : str
        Why the run ended: "epochs", "minutes", "patience", "callback" or "interrupted"; "" before it has.
    """

    def __init__(self) -> None:
        self.step: list[int] = []
        self.loss: list[float] = []
        self.validation: list[float | None] = []
        self.lr: list[float] = []
        self.seconds: list[float] = []
        self.batch_loss: list[float] = []
        self.stopped = ""

    @property
    def best(self) -> float | None:
        """The lowest validation loss that is not NaN, None without any."""
        numbers = (value for value in self.validation if value is not None and not math.isnan(value))
        return min(numbers, default=None)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the run."""
        return self.stopped == "interrupted"

    def add(self, step: int, loss: float, validation: float | None, lr: float, seconds: float) -> None:
        """Append a row."""
        for name, value in zip(_COLUMNS, (step, loss, validation, lr, seconds), strict=True):
            getattr(self, name).append(value)

    def rows(self) -> dict[str, list[Any]]:
        """All rows by column, as JSON can hold them."""
        return {name: list(getattr(self, name)) for name in _COLUMNS}

    @classmethod
    def from_rows(cls, rows: Mapping[str, list[Any]], batch_loss: list[float]) -> History:
        """The history that :meth:`rows` came from; a ValueError or KeyError where it is not one."""
        history = cls()
        for row in zip(*(rows[name] for name in _COLUMNS), strict=True):
            step, loss, validation, lr, seconds = row
            value = None if validation is None else float(validation)
            history.add(int(step), float(loss), value, float(lr), float(seconds))
        history.batch_loss = batch_loss
        return history

    def plot(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        scale: float = 1.0,
        label: str = "loss",
        lines: Mapping[str, float] | None = None,
    ) -> Any:
        """Draw training and validation loss over the steps.

        Parameters
        ----------
        path : str or path-like, optional
            Where to save the picture; its suffix says in what format. None saves nothing and makes a pyplot
            figure, which a notebook or ``plt.show()`` shows.
        scale : float, default 1.0
            Factor on all losses: ``1 / log(2)`` turns nats into bits.
        label : str, default "loss"
            What the vertical axis says.
        lines : mapping of str to float, optional
            Level lines to compare with, by name, in the scaled unit.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            matplotlib is not installed.
        TypeError
            `path` is no name of a file.
        """
        if path is not None:
            path = file_name(path)
        try:
            from matplotlib.figure import Figure

            if path is None:
                from matplotlib import pyplot

                figure = pyplot.figure(figsize=(7, 4.5), layout="constrained")
            else:
                figure = Figure(figsize=(7, 4.5), layout="constrained")
        except ImportError as error:
            raise ImportError('plot needs matplotlib: pip install "rnnfast[cli]"') from error

        axes = figure.add_subplot(xlabel="step", ylabel=label)
        if self.batch_loss:
            first = max(self.step[-1] if self.step else 0, len(self.batch_loss)) - len(self.batch_loss) + 1
            steps = range(first, first + len(self.batch_loss))
            axes.plot(
                steps, [scale * value for value in self.batch_loss], color="0.85", linewidth=0.8, zorder=0
            )
        axes.plot(self.step, [scale * value for value in self.loss], label="training")
        known = [
            (step, scale * value)
            for step, value in zip(self.step, self.validation, strict=True)
            if value is not None
        ]
        if known:
            axes.plot(*zip(*known, strict=True), marker="o", markersize=3, label="validation")
        for place, (name, level) in enumerate((lines or {}).items()):
            axes.axhline(level, linestyle="--", linewidth=1.0, color=f"C{place + 2}", label=name)
        axes.legend()
        if path is not None:
            figure.savefig(path, dpi=150)
        return figure

    def __repr__(self) -> str:
        last = f", loss {self.loss[-1]:.4g}" if self.loss else ""
        best = f", best validation {self.best:.4g}" if self.best is not None else ""
        return f"<History of {len(self.batch_loss)} steps{last}{best}>"
