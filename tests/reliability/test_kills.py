"""A training run that is killed at random moments and resumed has the bits of an uninterrupted one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.depth import times

KILLS = times(3, 33)
TRAINING = """
import importlib, os, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import rnnfast as rf
from helpers.models import weights_of
from training.runs import classifier, fit_quietly, labelled

importlib.import_module("rnnfast.training.fit")._SAVE_SECONDS = 0.0  # a checkpoint after each update
path, end, epochs = sys.argv[2], sys.argv[3], int(sys.argv[4])
model = classifier(dropout=0.2, recurrent_dropout=0.1)
fit_quietly(
    model, labelled(), batch_size=4, epochs=epochs, checkpoint=path, validation=labelled(1),
    resume=path if os.path.exists(path) else None, schedule=rf.schedules.cosine(5 * epochs),
    callbacks=[lambda run: print(run.step, flush=True)],
)
np.save(end, weights_of(model))
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bits(
    tmp_path: Path, figure: Callable[[str], None]
) -> None:
    here = str(Path(__file__).parents[1])

    def start(name: str) -> subprocess.Popen[str]:
        arguments = [here, str(tmp_path / f"{name}.npz"), str(tmp_path / f"{name}.npy"), str(4 + 2 * KILLS)]
        return subprocess.Popen(
            [sys.executable, "-c", TRAINING, *arguments], stdout=subprocess.PIPE, text=True, cwd=tmp_path
        )

    with start("whole") as whole:
        whole.communicate(timeout=120)
    rng = random.Random(0)
    reached = []
    for _ in range(KILLS):
        with start("killed") as process:
            assert process.stdout is not None
            for _ in range(rng.randint(1, 8)):
                line = process.stdout.readline()
                assert line, "the run has ended by itself"
            time.sleep(rng.uniform(0, 0.01))
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        reached.append(int(line))
    with start("killed") as process:
        process.communicate(timeout=120)
    assert (whole.returncode, process.returncode) == (0, 0)
    assert (tmp_path / "killed.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".rnnfast-")) == [
        "killed.npy", "killed.npz", "whole.npy", "whole.npz",
    ]  # fmt: skip
    figure(
        f"a training run, killed {KILLS} times between updates {min(reached)} and {max(reached)}: equal bits"
    )
