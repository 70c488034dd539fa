"""The one training loop: validation, early stopping, schedule, clipping, checkpoints, progress, Ctrl-C."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rnnfast import checks
from rnnfast.files import file_name
from rnnfast.nn.clip import clip_grad_norm, clip_grad_value
from rnnfast.nn.module import Module
from rnnfast.nn.optim import Optimizer
from rnnfast.nn.schedules import Plateau, Schedule
from rnnfast.training.batches import Source, source
from rnnfast.training.grad import Loss, as_loss, check_model
from rnnfast.training.history import History
from rnnfast.training.interrupts import Interrupts
from rnnfast.training.progress import Progress, check_progress, describe_loss, shown
from rnnfast.training.run import Run
from rnnfast.training.shards import Sharded, Updates, Whole, own_shards, share_run
from rnnfast.training.team import Communicator, Team, joined

__all__ = ["fit"]

_SAVE_SECONDS = 600.0  # between checkpoints within an epoch


@joined
def fit(
    model: Module,
    loss: Loss,
    data: Any,
    optimizer: Optimizer,
    *,
    epochs: int | None = None,
    minutes: float | None = None,
    batch_size: int | None = 32,
    shuffle: bool | None = None,
    stateful: bool = False,
    truncate: tuple[int, int] | None = None,
    validation: Any = None,
    patience: int | None = None,
    schedule: Schedule | None = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    resume: str | os.PathLike[str] | None = None,
    callbacks: Sequence[Callable[[Run], object]] = (),
    describe: Callable[[Run], str] = describe_loss,
    progress: Progress = True,
    rng: Any = None,
    axes: tuple[int, int] | None = None,
    shards: int = 1,
    comm: Communicator | None = None,
) -> History:
    """Train a model.

    Parameters
    ----------
    model : Module
    loss : callable or str
        ``loss(y, targets)`` giving (float, dy), as those of `rnnfast.losses`, or the name of one of these.
    data : (x, targets), (x, targets, keywords), iterable of batches, or callable
        Arrays are cut into batches of `batch_size` sequences along the batch axis: axis 1 of x as layers want
        it, axis 0 with ``batch_first`` (the model's first module that has it decides) or without any
        recurrent layer. Targets have the same axis where they begin with x's first two axes; where they do
        not, or where the model holds a `Last`, there is one for each sequence, along axis 0. Where that is
        not what is meant, `axes` says it. Keywords are those of :func:`loss_and_grad`, for all sequences:
        ``{"lengths": lengths, "reset": reset}``. ``lengths``, ``reset``, ``mask`` and ``weights`` are cut
        with the sequences; any other goes with every batch as it is.

        Batches of your own are ``(x, targets)`` or ``(x, targets, keywords)``, the keywords being those of
        :func:`loss_and_grad`, ``mask`` and ``weights`` among them. The iterable is gone through once for each
        epoch; an iterator (a generator) gives one epoch. A callable is given the number of the epoch, from 0,
        and returns its batches.
    optimizer : Optimizer
    epochs : int, optional
        How many in all, those before a `resume` counted. By default 1, or no limit with `minutes`.
    minutes : float, optional
        Wall clock after which this call ends, with the step it is in. The first limit reached ends the run.
    batch_size : int or None, default 32
        Sequences in a batch, when arrays are given; the last batch has what is left. None: all in one.
    shuffle : bool, optional
        Draw arrays in a new order each epoch. By default yes, unless `stateful`.
    stateful : bool, default False
        Each batch starts from the final state of the batch before, without a gradient between them. Each
        epoch starts from zero. Row b of a batch continues row b of the batch before, so all batches have
        one size.
    truncate : (k1, k2), optional
        Truncated backpropagation through time, as :func:`truncated_bptt` does it: an update after every k1
        steps of a batch, by gradients that go back k2 >= k1 steps. Events, steps and the schedule count these
        updates, also where no target of a window counts and the weights stay as they are. Evaluation goes k1
        steps at a time, too, to the same loss with less memory.
    validation : as data, optional
        Evaluated after each epoch, and when the run ends within one. The model ends with the parameters that
        had the lowest validation loss, however the run ends.
    patience : int, optional
        End after this many epochs in a row without a lower validation loss.
    schedule : callable, optional
        From the number of steps done to a factor of the optimizer's learning rate, which is back at its first
        value at the end. :func:`rnnfast.schedules.plateau` is given the validation loss of each epoch.
    clip_norm : float, optional
        Bound on the joint norm of the gradients, as :func:`rnnfast.clip_grad_norm` applies it.
    clip_value : float, optional
        Bound on each element of the gradients, as :func:`rnnfast.clip_grad_value` applies it. One of the two
        bounds may be given.
    checkpoint : path, optional
        A file written, whole or not at all, after each epoch, every ten minutes within one, and at the end.
        `load` reads the best parameters so far from it.
    metadata : mapping, optional
        Kept in the checkpoint: anything that JSON can hold. The key "fit" is taken.
    resume : path, optional
        A checkpoint from which the run continues, as if it had not stopped: the same data give the same bits.
        Settings of the optimizer, like its learning rate, are those it has now; its averages come from the
        file. Another `batch_size`, `shuffle`, `stateful`, `truncate`, `axes`, `clip_norm` or `clip_value`, or
        other constraints of the optimizer, are refused. Limits, the schedule, validation, callbacks and files
        may change; the seed is the file's, and so are the reductions of a plateau.
    callbacks : sequence of callables
        Each is called as ``callback(run)`` at every :class:`Run` event, and may call ``run.stop()``.
    describe : callable, optional
        ``describe(run)`` is the text that ``progress=True`` shows; by default the losses.
    progress : bool or callable, default True
        True: show progress on stderr, one line redrawn on a terminal, a line now and then elsewhere. False:
        show nothing. A callable shows it instead: ``progress(run)`` is called at every :class:`Run` event,
        after all callbacks. Callbacks act on a run and leave what is shown as it is.
    rng : int, numpy.random.Generator or None
        Seeds the order of the sequences. (Masks of dropout have the seeds that their modules were made with.)
    axes : (int, int), optional
        The batch axis of x and that of targets, when arrays are given, or batches of your own with `shards`.
    shards : int, default 1
        How many shards each batch is cut into, by place. The gradient is the sum of theirs, each times its
        part of what counts in the mean loss. A multiple of the number of workers.
    comm : Communicator, optional
        Shares the shards among workers, as that of :func:`rnnfast.distributed.mpi` does: the model has the
        same bits for any number of them. Each calls `fit` with the same model, data and arguments, and each
        calls its `callbacks`. The first one writes files, shows the progress and decides on `minutes`.

    Returns
    -------
    History
        What happened. After Ctrl-C too: no update is ever left half done, ``history.interrupted`` is True
        then, and the checkpoint is written if there is to be one.

    Raises
    ------
    TypeError, ValueError
        An argument that cannot be, before anything is written.
    FloatingPointError
        A loss or gradient norm that is not finite, before the update it would have led to.
    WorkerError
        Another worker ended with an error, or the workers differ in the number of their updates or in their
        weights. Other data of the same number of batches are not noticed.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> x = np.random.default_rng(0).standard_normal((20, 64, 1), np.float32)    # [T, N, I]
    >>> targets = (np.cumsum(x[..., 0], axis=0) > 0).astype(int)    # [T, N]
    >>> model = rf.Sequential(rf.GRU(1, 16, rng=1), rf.Linear(16, 2, rng=2))
    >>> optimizer = rf.optim.Adam(model.parameters(), lr=0.02)
    >>> history = rf.fit(model, rf.losses.cross_entropy, (x, targets), optimizer, epochs=20,
    ...                  validation=(x, targets), clip_norm=1.0, progress=False, rng=3)
    >>> history.best < 0.3 < history.loss[0]
    True

    With tqdm installed, its bar shows the progress::

        with tqdm.tqdm() as bar:

            def show(run):
                bar.total = run.epochs * run.batches
                bar.set_postfix_str(f"loss {run.mean:.4f}", refresh=False)
                bar.update(run.step - bar.n)

            rf.fit(model, loss, data, optimizer, epochs=20, progress=show)
    """
    team = checks.instance("comm", comm, Team)  # `joined` made it
    check_model(model)
    loss = as_loss(loss)
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer: expected one of rnnfast.optim, got {type(optimizer).__name__}")
    if epochs is not None:
        epochs = checks.positive("epochs", epochs)
    if patience is not None:
        patience = checks.positive("patience", patience)
        if validation is None:
            raise ValueError("patience: expected validation data with it, got none")
    minutes = None if minutes is None else checks.limit_above_zero("minutes", minutes)
    clip_norm = None if clip_norm is None else checks.limit_above_zero("clip_norm", clip_norm)
    clip_value = None if clip_value is None else checks.limit_above_zero("clip_value", clip_value)
    if clip_norm is not None and clip_value is not None:
        raise ValueError(
            f"clip_norm, clip_value: expected one of them, got clip_norm={clip_norm:g} and "
            f"clip_value={clip_value:g}"
        )
    if batch_size is not None:
        batch_size = checks.positive("batch_size", batch_size)
    stateful = checks.flag("stateful", stateful)
    check_progress(progress)
    if schedule is not None:
        checks.function("schedule", schedule)
    plateau = schedule if isinstance(schedule, Plateau) else None
    if plateau is not None and validation is None:
        raise ValueError("schedule: expected validation data with a plateau, got none")
    checks.function("describe", describe)
    for place, callback in enumerate(callbacks):
        checks.function(f"callbacks[{place}]", callback)
    for path in (checkpoint, resume):
        if path is not None:
            file_name(path)
    if checkpoint is not None and not model.parameters():
        raise ValueError(
            f"model: expected at least one parameter for a checkpoint, got {type(model).__name__} without any"
        )
    if metadata is not None and not isinstance(metadata, Mapping):
        raise TypeError(f"metadata: expected a mapping, got {type(metadata).__name__}")
    if metadata is not None and "fit" in metadata:
        raise ValueError('metadata: expected other keys than "fit", which holds the run itself')
    shards = checks.positive("shards", shards)
    own = own_shards(shards, team)
    keywords: dict[str, Any] = {
        "batch_size": batch_size,
        "axes": axes,
        "stateful": stateful,
        "truncate": truncate,
        "shards": shards,
        "own": own,
    }
    train = source("data", data, model, shuffle=shuffle, **keywords)
    held_out = None if validation is None else source("validation", validation, model, **keywords)
    if epochs is None and (minutes is None or train.once):
        epochs = 1
    for name, batches in (("data", train), ("validation", held_out)):
        if batches is not None and batches.once and epochs != 1:
            raise ValueError(
                f"{name}: expected batches that can be gone through once an epoch, got an iterator"
            )
    checks.check_rng(rng)
    seed = checks.seed(np.random.default_rng() if rng is None else rng)
    settings = {
        "batch_size": batch_size,
        "shuffle": train.shuffle,
        "stateful": stateful,
        "truncate": None if truncate is None else list(map(int, truncate)),
        "axes": None if axes is None else list(map(int, axes)),
        "clip_norm": clip_norm,
        "clip_value": clip_value,
        "shards": shards,
    }
    if team.rank > 0:
        checkpoint, progress, minutes = None, False, None

    run = Run(model, optimizer, seed, epochs, train.count, settings, plateau)
    if plateau is not None:
        plateau.reset()
    if resume is not None and team.rank == 0:
        run.resume(resume)
    alike = {**settings, "patience": patience, "validation": held_out and held_out.count}
    with Interrupts() as interrupts, shown(progress, describe, minutes) as showing:
        loop = _Loop(
            run,
            Whole(loss) if shards == 1 else Sharded(model, loss, team, own, optimizer),
            team,
            train,
            held_out,
            interrupts,
            stateful=stateful,
            minutes=minutes,
            patience=patience,
            schedule=schedule,
            clip_norm=clip_norm,
            clip_value=clip_value,
            checkpoint=checkpoint,
            metadata=metadata or {},
            watchers=[*callbacks, *showing],
        )
        try:
            try:
                with interrupts.held():
                    share_run(team, run, alike)
                run.history.stopped = loop.go()
                interrupts.hold()
                team.agree("the end of the training", "")  # or Ctrl-C on another worker
            except KeyboardInterrupt:
                run.history.stopped = "interrupted"
            interrupts.hold()
            if run.history.interrupted:
                team.interrupt()
            loop.finish()
            team.compare_parameters("the end", model)
            if interrupts.release():
                run.history.stopped = "interrupted"
        finally:
            optimizer.lr = run.base_lr
    return run.history


class _Loop:
    """The loop itself: it moves `run` on, step by step and epoch by epoch."""

    def __init__(
        self,
        run: Run,
        updates: Updates,
        team: Team,
        train: Source,
        held_out: Source | None,
        interrupts: Interrupts,
        *,
        stateful: bool,
        minutes: float | None,
        patience: int | None,
        schedule: Schedule | None,
        clip_norm: float | None,
        clip_value: float | None,
        checkpoint: str | os.PathLike[str] | None,
        metadata: Mapping[str, Any],
        watchers: Sequence[Callable[[Run], object]],
    ) -> None:
        self._run = run
        self._updates = updates
        self._team = team
        self._train = train
        self._held_out = held_out
        self._interrupts = interrupts
        self._stateful = stateful
        self._limit = math.inf if minutes is None else 60.0 * minutes
        self._patience = math.inf if patience is None else patience
        self._schedule = schedule
        self._clip_norm = clip_norm
        self._clip_value = clip_value
        self._checkpoint = checkpoint
        self._metadata = metadata
        self._watchers = watchers
        self._saved_at = 0.0
        self._saved_step = -1
        self._validated_step = -1

    def go(self) -> str:
        """Train until something ends the run; what it was."""
        run = self._run
        self._emit("start")
        while True:
            if self._agreed(f"the start of epoch {run.epoch}", "callback" if run.stopping else ""):
                return "callback"
            if run.epochs is not None and run.epoch >= run.epochs:
                return "epochs"
            if run.misses >= self._patience:
                return "patience"
            if run.batch == 0:
                run.begin_epoch()
            reason = self._rest_of_epoch()
            if run.batch == 0:
                raise ValueError("data: expected at least one batch in each epoch, got none")
            self._validate()
            if reason and run.batch != run.batches:
                return reason
            with self._interrupts.held():
                self._team.compare_parameters(f"the end of epoch {run.epoch}", run.model)
                run.end_epoch()
            self._save()
            self._emit("epoch")
            if reason:
                return reason

    def finish(self) -> None:
        """Leave all as promised: the checkpoint, the row of a part of an epoch, the best parameters."""
        run = self._run
        if self._saved_step != run.step:
            self._save()
        if run.batch > 0:
            run.add_row(run.validation if self._validated_step == run.step else None)
            self._emit("epoch")
        run.restore_best()
        self._emit("end")

    def _rest_of_epoch(self) -> str:
        """Make the epoch's updates that are left, all of them ("") or until something ends the run."""
        run = self._run
        order = run.order_rng() if self._train.shuffle else None
        for update in self._train.epoch(run.epoch, run.batch, order):
            self._step(update)
            self._emit("step")
            reason = "callback" if run.stopping else "minutes" if run.seconds >= self._limit else ""
            if reason := self._agreed(f"the end of step {run.step}", reason):
                return reason
            if run.seconds - self._saved_at >= _SAVE_SECONDS:
                self._save()
        return ""

    def _agreed(self, place: str, reason: str) -> str:
        """The first reason of any worker to end the run; Ctrl-C waits until all have told theirs."""
        with self._interrupts.held():
            return self._team.agree(place, reason)

    def _step(self, update: Any) -> None:
        run, model, optimizer = self._run, self._run.model, self._run.optimizer
        if self._schedule is not None:
            optimizer.lr = run.base_lr * checks.at_least_zero("schedule", self._schedule(run.step))
        model.zero_grad()
        carry = self._stateful or not update.last
        found = self._updates.gradients(f"step {run.step}", update, run.state, carry)
        with self._interrupts.held():
            done = self._updates.combined(found)
            self._refuse_unless_finite("loss", done.loss)
            self._clip()
            if done.weight:
                optimizer.step()
            run.advance(*done)

    def _clip(self) -> None:
        """Bound the gradients by what is given; an error where they are not finite."""
        params = self._run.optimizer.params
        if self._clip_norm is not None:
            self._refuse_unless_finite("gradient norm", clip_grad_norm(params, self._clip_norm))
        if self._clip_value is not None:  # which would make a finite number of infinity
            self._refuse_unless_finite("gradient norm", clip_grad_norm(params, math.inf))
            clip_grad_value(params, self._clip_value)

    def _refuse_unless_finite(self, name: str, value: float) -> None:
        if not math.isfinite(value):
            raise FloatingPointError(
                f"{name}: expected a finite number, got {value} at step {self._run.step} "
                f"(epoch {self._run.epoch}), before its update; a lower learning rate or a clipped "
                "gradient may help"
            )

    def _validate(self) -> None:
        if self._held_out is None:
            return
        run = self._run
        began = run.seconds
        found = self._updates.losses("validation", self._held_out, run.epoch, self._stateful)
        with self._interrupts.held():
            value = self._updates.mean("validation", found)
            run.paused += run.seconds - began
            run.judge(value)
            self._validated_step = run.step
            self._saved_step = -1

    def _save(self) -> None:
        if self._checkpoint is not None:
            self._run.save(self._checkpoint, self._metadata)
        self._saved_at, self._saved_step = self._run.seconds, self._run.step

    def _emit(self, event: str) -> None:
        self._run.event = event
        for watcher in self._watchers:
            watcher(self._run)
