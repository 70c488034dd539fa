"""A worker of an MPI program: it trains a small classifier, and worker 0 prints the checksums of all weights.

Arguments: a checkpoint to write or "", one to resume from or "", and what worker 1 does at step 5: "kill"
itself, "raise" an error, "interrupt" itself by Ctrl-C, or "" nothing.
"""

from __future__ import annotations

import os
import signal
import sys
import zlib
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from helpers.models import weights_of
from training.runs import classifier, fit_quietly, labelled

import rnnfast as rf
from rnnfast.distributed import mpi
from rnnfast.training import Run


def train(comm: Any = None, checkpoint: str = "", resume: str = "", fault: str = "") -> str:
    """Where the run ended, and the checksum of its weights."""

    def act(run: Run) -> None:
        if comm is None or comm.rank != 1 or run.event != "step" or run.step != 5:
            return
        if fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
        if fault == "raise":
            raise OSError("a fault of worker 1")

    model = classifier(dropout=0.2)
    history = fit_quietly(
        model,
        labelled(),
        batch_size=7,  # three batches an epoch
        epochs=4,
        validation=labelled(1, 9),
        clip_norm=0.5,
        checkpoint=checkpoint or None,
        resume=resume or None,
        callbacks=[act],
        shards=4,
        comm=comm,
    )
    return f"step {history.step[-1]} {history.stopped} {zlib.crc32(weights_of(model))}"


if __name__ == "__main__":
    rf.set_num_threads(1)
    workers = mpi()
    line = train(workers, *sys.argv[1:])
    lines = workers.allgather([np.frombuffer(line.encode(), np.uint8)])
    workers.barrier()
    if workers.rank == 0:  # lines of several processes may be mixed up
        print(*(text.tobytes().decode() for (text,) in lines), sep="\n")
