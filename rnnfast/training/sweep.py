"""Many models, one after the other or side by side: a grid of settings, trained and compared."""

from __future__ import annotations

import copy
import inspect
import itertools
import math
import pickle
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnfast import checks
from rnnfast._core import get_num_threads, set_num_threads
from rnnfast.nn.module import Module
from rnnfast.nn.optim import Adam, Optimizer
from rnnfast.training.fit import fit
from rnnfast.training.grad import Loss
from rnnfast.training.history import History
from rnnfast.training.status_line import StatusLine, bar, clock

__all__ = ["Sweep", "SweepRow", "sweep"]

_OF_ONE_MODEL = ("checkpoint", "resume")  # that `make` may give, and no other
_OF_SWEEP = ("model", "data", "optimizer", "progress", "comm")  # that no one gives


@dataclass
class SweepRow:
    """One model of a sweep.

    Attributes
    ----------
    point : dict
        The settings that it was made with.
    score : float
        Its lowest validation loss, or without validation its last epoch's training loss; NaN after an error.
    seconds : float
        What making and training it took.
    history : History or None
        None after an error.
    error : str
        The error that ended it, or "".
    model : Module or None
        The trained model, where it is the best of its sweep.
    """

    point: dict[str, Any]
    score: float
    seconds: float
    history: History | None = None
    error: str = ""
    model: Module | None = None


class Sweep:
    """What :func:`sweep` gives; printed, it is a table, the best row first.

    Attributes
    ----------
    rows : list of SweepRow
        In the order of the grid. After Ctrl-C, those that were trained.
    interrupted : bool
        Whether Ctrl-C ended the sweep.
    """

    def __init__(self, rows: list[SweepRow], interrupted: bool) -> None:
        self.rows = rows
        self.interrupted = interrupted

    @property
    def best(self) -> SweepRow | None:
        """The row of the lowest score, which has its model: of several, the first. None without a score."""
        scored = [row for row in self.rows if not math.isnan(row.score)]
        return min(scored, key=lambda row: row.score, default=None)

    def __str__(self) -> str:
        names = list(dict.fromkeys(name for row in self.rows for name in row.point))
        lines = [[*names, "score", "epochs", "seconds"]]
        for row in sorted(self.rows, key=lambda row: (math.isnan(row.score), row.score)):
            point = [_shown(row.point[name]) if name in row.point else "" for name in names]
            if row.history is None:
                lines.append([*point, row.error.splitlines()[0]])
            else:
                lines.append([*point, f"{row.score:.4g}", str(len(row.history.loss)), f"{row.seconds:.1f}"])
        widths = [max(len(line[n]) for line in lines if n < len(line)) for n in range(len(names))]
        widths += [9, 6, 7]  # an error may be longer than its columns
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def sweep(
    make: Callable[..., Any],
    grid: Mapping[str, Iterable[Any]] | Iterable[Mapping[str, Any]],
    data: Any,
    *,
    loss: Loss | None = None,
    n_jobs: int = -1,
    threads: int | None = None,
    errors: str = "keep",
    progress: bool = True,
    **options: Any,
) -> Sweep:
    """Train a model at each point of a grid of settings, and keep the best.

    Each model has the bits that it has alone: neither the number of jobs nor their order matters.

    Parameters
    ----------
    make : callable
        ``make(**point)`` gives a model; or ``(model, optimizer)``; or ``(model, optimizer, keywords)``, where
        the keywords are those of :func:`fit` for this model alone. Without an optimizer, or where it is None,
        it is ``rf.optim.Adam(model.parameters())``.
    grid : dict of iterables, or iterable of dicts
        The values of each setting, all combined; or the points themselves.
    data
        As for :func:`fit`, all models the same; no iterator, which gives one epoch. So is `validation`.
    loss : callable or str
        As for :func:`fit`. It may also be among the keywords of `make`.
    n_jobs : int, default -1
        How many models are trained side by side, as joblib counts: -1 is one for each core. 1 trains in this
        process and needs no joblib. Others run in joblib's backend: processes of this machine by default, and
        those of a cluster within ``joblib.parallel_config(backend="dask")`` or ``"ray"``.
    threads : int, optional
        The threads of each job. By default those of this process divided by the number of jobs, at least one.
    errors : {"keep", "raise"}
        What becomes of a model that ends with an error: its row has the error, and the others are trained; or
        the error ends the sweep. If all models end with an error, it is raised in any case. A process that is
        killed ends the sweep in any case.
    progress : bool, default True
        Show on stderr how many models are trained, and the best score.
    **options
        Keywords of :func:`fit` for all models, such as `validation`, `epochs` or `rng`.

    Returns
    -------
    Sweep
        A row for each point, with its score and history. The best one has its model.

    Raises
    ------
    ImportError
        joblib is not installed (``pip install "rnnfast[sweep]"``), and `n_jobs` is not 1.
    TypeError, ValueError
        An argument of `sweep` itself that cannot be, before any model is made. `fit` checks the values of
        `options` with each model, so an error in these is that of a row.
    RuntimeError
        All models ended with an error; it names the first.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> x = np.random.default_rng(0).standard_normal((20, 64, 1), np.float32)
    >>> targets = np.cumsum(x, axis=0)
    >>> def make(hidden, lr):
    ...     model = rf.Sequential(rf.GRU(1, hidden, rng=1), rf.Linear(hidden, 1, rng=2))
    ...     return model, rf.optim.Adam(model.parameters(), lr=lr)
    >>> grid = {"hidden": [4, 16], "lr": [0.001, 0.03]}
    >>> found = rf.sweep(make, grid, (x[:, :48], targets[:, :48]), loss="mse", epochs=8, rng=0,
    ...                  validation=(x[:, 48:], targets[:, 48:]), n_jobs=1, progress=False)
    >>> len(found.rows), found.best.point
    (4, {'hidden': 16, 'lr': 0.03})
    >>> y, state = found.best.model(x)
    """
    checks.function("make", make)
    points = _points(grid)
    checks.one_of("errors", errors, ("keep", "raise"))
    checks.flag("progress", progress)
    threads = None if threads is None else checks.positive("threads", threads)
    n_jobs = checks.integer("n_jobs", n_jobs)
    if n_jobs == 0:
        raise ValueError("n_jobs: expected a number of jobs or -1, got 0")
    _refuse_iterators(data=data, validation=options.get("validation"))
    if loss is not None:
        options["loss"] = loss
    _check_names("options", options, _OF_ONE_MODEL + _OF_SWEEP)
    if isinstance(options.get("rng"), np.random.Generator):
        options["rng"] = checks.seed(options["rng"])  # the same for each, in any order
    task = _Task(make, data, options, threads, errors == "keep")
    before = get_num_threads()
    try:
        found = map(task, range(len(points)), points) if n_jobs == 1 else _side_by_side(task, points, n_jobs)
        return _collected(found, len(points), progress)
    finally:
        set_num_threads(before)  # jobs in threads of this process may have changed it


@dataclass(eq=False)  # hashed by identity, which Dask asks for
class _Task:
    """The training of one model, in whatever process."""

    make: Callable[..., Any]
    data: Any
    options: dict[str, Any]
    threads: int | None
    keep_errors: bool
    pack: Callable[[Module], Any] | None = None  # for the way from another process

    def __call__(self, place: int, point: dict[str, Any]) -> tuple[int, SweepRow, Any]:
        """The place, the row, and the model as it is or as `pack` gives it."""
        began = time.perf_counter()
        before = get_num_threads()
        if self.threads is not None:
            set_num_threads(self.threads)
        try:
            model, history = self._train(point)
            sent = model if self.pack is None else self.pack(model)
        except Exception as error:
            if not self.keep_errors:
                raise
            text = f"{type(error).__name__}: {error}"
            return place, SweepRow(point, math.nan, time.perf_counter() - began, error=text), None
        finally:
            set_num_threads(before)
        return place, SweepRow(point, _score(history), time.perf_counter() - began, history), sent

    def _train(self, point: dict[str, Any]) -> tuple[Module, History]:
        model, optimizer, keywords = _made(self.make(**point))
        options = {**self.options, **keywords, "progress": False}
        if "loss" not in options:
            raise TypeError("loss: expected one, of sweep or among the keywords that make gives, got none")
        if "schedule" in options:
            options["schedule"] = copy.deepcopy(options["schedule"])  # one with a state is the model's own
        return model, fit(model, options.pop("loss"), self.data, optimizer, **options)


def _score(history: History) -> float:
    """The lowest validation loss, or without validation the last epoch's training loss."""
    if any(value is not None for value in history.validation):
        return math.nan if history.best is None else history.best
    return history.loss[-1] if history.loss else math.nan


def _points(grid: Any) -> list[dict[str, Any]]:
    """The points of a grid."""
    if isinstance(grid, Mapping):
        values = [_values(name, given) for name, given in grid.items()]
        points = [dict(zip(grid, each, strict=True)) for each in itertools.product(*values)]
    else:
        given = list(checks.iterated("grid", grid, "a dict of iterables or dicts"))
        for place, point in enumerate(given):
            if not isinstance(point, Mapping):
                raise TypeError(f"grid[{place}]: expected a dict, got {checks.shown(point)}")
        points = [dict(point) for point in given]
    for point in points:
        for name in point:
            checks.string("grid: a name", name)
    if not points:
        raise ValueError("grid: expected at least one point, got none")
    return points


def _values(name: Any, given: Any) -> list[Any]:
    is_scalar = isinstance(given, np.ndarray) and given.ndim == 0
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable) or is_scalar:
        raise TypeError(f"grid[{name!r}]: expected the values in a list, got {checks.shown(given)}")
    return given.tolist() if isinstance(given, np.ndarray) else list(given)


def _made(given: Any) -> tuple[Module, Optimizer, Mapping[str, Any]]:
    """The model, the optimizer and the keywords that `make` gave."""
    parts = given if isinstance(given, tuple) else (given,)
    model, optimizer, keywords = (*parts, None, None)[:3]
    if len(parts) > 3 or not isinstance(model, Module):
        came = f"{len(parts)} of them" if len(parts) != 1 else type(model).__name__
        raise TypeError(f"make: expected a model, or a tuple (model, optimizer, keywords), got {came}")
    if not (keywords is None or isinstance(keywords, Mapping)):
        raise TypeError(f"make: expected keywords of fit in a dict, got {type(keywords).__name__}")
    keywords = keywords or {}
    _check_names("make", keywords, _OF_SWEEP)
    _refuse_iterators(validation=keywords.get("validation"))
    return model, optimizer or Adam(model.parameters()), keywords


def _refuse_iterators(**given: Any) -> None:
    """Refuse data that only the first model could go through."""
    for name, data in given.items():
        if hasattr(data, "__next__"):
            raise ValueError(f"{name}: expected data that every model can go through, got an iterator")


def _check_names(name: str, keywords: Mapping[str, Any], refused: tuple[str, ...]) -> None:
    """Refuse keywords that fit does not take, or not from here."""
    known = inspect.signature(fit).parameters.keys() - set(refused)
    for each in keywords:
        if each not in known:
            raise TypeError(f"{name}: expected keywords of fit other than {', '.join(refused)}, got {each!r}")


def _side_by_side(
    task: _Task, points: list[dict[str, Any]], n_jobs: int
) -> Iterable[tuple[int, SweepRow, Any]]:
    """The rows of all points, as joblib's jobs finish them."""
    try:
        import joblib
    except ImportError as error:
        message = 'sweep needs joblib unless n_jobs is 1: pip install "rnnfast[sweep]"'
        raise ImportError(message) from error
    if task.threads is None:
        jobs = min(joblib.effective_n_jobs(n_jobs), len(points))
        task.threads = max(1, get_num_threads() // jobs)
    backend, _ = joblib.parallel.get_active_backend()
    at_once = getattr(backend, "supports_return_generator", False)
    if not getattr(backend, "supports_sharedmem", False):
        task.pack = _packed
    parallel = joblib.Parallel(n_jobs, return_as="generator_unordered" if at_once else "list")
    return parallel(joblib.delayed(task)(place, point) for place, point in enumerate(points))


def _packed(model: Module) -> bytes:
    """A model as pickle loads it, whatever module its class is from."""
    import joblib

    return pickle.dumps(joblib.wrap_non_picklable_objects(model, keep_wrapper=False))


def _collected(found: Iterable[tuple[int, SweepRow, Any]], count: int, progress: bool) -> Sweep:
    """The rows in the order of the grid; only the best keeps its model."""
    began, interrupted = time.monotonic(), False
    line = StatusLine(sys.stderr) if progress and sys.stderr is not None else None
    rows: dict[int, SweepRow] = {}
    best: tuple[float, int] | None = None
    model: Any = None  # of the best
    try:
        for place, row, sent in found:
            rows[place] = row
            if not math.isnan(row.score) and (best is None or (row.score, place) < best):
                best, model = (row.score, place), sent
            if line is not None:
                line.show(_progress(len(rows), count, best, time.monotonic() - began))
            interrupted = row.history is not None and row.history.interrupted
            if interrupted:
                break
    except KeyboardInterrupt:
        interrupted = True
    finally:
        if line is not None:
            line.close()
    if best is not None:
        rows[best[1]].model = pickle.loads(model) if isinstance(model, bytes) else model
    result = Sweep([rows[place] for place in sorted(rows)], interrupted)
    if len(rows) == count and all(row.error for row in result.rows):
        raise RuntimeError(f"all {count} models ended with an error, the first with {result.rows[0].error}")
    return result


def _progress(done: int, count: int, best: tuple[float, int] | None, seconds: float) -> str:
    """The line that shows how far a sweep is."""
    parts = [f"{bar(done / count)}  {done}/{count} models"]
    if best is not None:
        parts.append(f"best {best[0]:.4g}")
    parts.append(clock(seconds))
    if done < count:
        parts.append(f"{clock(seconds * (count - done) / done)} left")
    return "  ".join(parts)


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else " ".join(str(value).split())
