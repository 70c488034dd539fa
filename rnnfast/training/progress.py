"""How a run's progress is shown: on stderr, one line redrawn or a line now and then, or by the caller."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np

from rnnfast import checks
from rnnfast.training.run import Run
from rnnfast.training.status_line import StatusLine, bar, clock

__all__ = ["Progress", "check_progress", "describe_loss", "shown"]

Progress: TypeAlias = "bool | Callable[[Run], object]"


def describe_loss(run: Run) -> str:
    """The mean training loss, and the validation loss if there is one."""
    text = f"loss {run.mean:.4f}"
    return text if run.validation is None else f"{text}  validation {run.validation:.4f}"


def check_progress(value: Any) -> None:
    """Refuse what is neither a flag nor a function of a run."""
    is_class = isinstance(value, type)  # such as tqdm, which would make a bar at each event
    if is_class or not (callable(value) or isinstance(value, (bool, np.bool_))):
        raise TypeError(f"progress: expected True, False or a function of a run, got {checks.shown(value)}")


@contextmanager
def shown(
    progress: Progress, describe: Callable[[Run], str], minutes: float | None
) -> Iterator[list[Callable[[Run], object]]]:
    """What shows a run as long as the context lasts: at most one function, to be called at each event."""
    if callable(progress):
        yield [progress]
    elif not progress or sys.stderr is None:
        yield []
    else:
        bar = _Bar(describe, minutes)
        try:
            yield [bar.update]
        finally:
            bar.close()


class _Bar:
    """Shows a run on stderr.

    Parameters
    ----------
    describe : callable
        What to say of the run, beside how far it is.
    minutes : float or None
        The run's time limit.
    """

    def __init__(self, describe: Callable[[Run], str], minutes: float | None) -> None:
        self._describe = describe
        self._minutes = minutes
        self._status = StatusLine(sys.stderr)
        self._shown_at = 0.0
        self._begun: float | None = None  # the share of all epochs that had been done before

    def update(self, run: Run) -> None:
        """Show the progress of `run`, at its end or if the last time is long enough ago."""
        if self._begun is None:
            self._begun = _share_of_epochs(run) or 0.0
        if run.event != "end" and run.seconds - self._shown_at < self._status.interval:
            return
        self._shown_at = run.seconds
        self._status.show(self._line(run))

    def close(self) -> None:
        """Leave the cursor on a line of its own."""
        self._status.close()

    def _line(self, run: Run) -> str:
        parts = [f"epoch {run.epoch + (run.batch > 0)}" + (f"/{run.epochs}" if run.epochs else "")]
        shares, waits = [], []  # what each limit says of how much is done, and of the seconds to go
        share = _share_of_epochs(run)
        if share is not None:
            shares.append(share)
            if share > (self._begun or 0.0):
                waits.append(run.seconds * (1.0 - share) / (share - (self._begun or 0.0)))
        if self._minutes is not None:
            shares.append(run.seconds / (60.0 * self._minutes))
            waits.append(60.0 * self._minutes - run.seconds)
        if shares:
            parts.append(bar(max(shares)))
        parts += [f"step {run.step}", self._describe(run), clock(run.seconds)]
        if waits and run.event != "end":
            parts.append(f"{clock(max(min(waits), 0.0))} left")
        return "  ".join(parts)


def _share_of_epochs(run: Run) -> float | None:
    """How much of all epochs is done, where both their number and their length are known."""
    if run.epochs is None or (run.batches is None and run.batch > 0):
        return None
    return min((run.epoch + run.batch / (run.batches or 1)) / run.epochs, 1.0)
