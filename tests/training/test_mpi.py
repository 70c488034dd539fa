"""`rf.fit` over MPI: processes have the bits of one, and resume each other's runs.

The tests need mpi4py and an MPI: ``pip install mpi4py mpich``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from training.mpi_program import train

from rnnfast.distributed import mpi

PROGRAM = Path(__file__).with_name("mpi_program.py")
FOLDERS = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
MPIEXEC = shutil.which("mpiexec", path=FOLDERS)
EVERYWHERE = {  # also as root and with more workers than cores, which Open MPI asks about
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "RNNFAST_NUM_THREADS": "1",
}


def run(size: int, checkpoint: Path | None = None, resume: Path | None = None, fault: str = "") -> str:
    """What the workers of a program print, both streams."""
    pytest.importorskip("mpi4py")
    if MPIEXEC is None:
        pytest.skip("mpiexec is not installed")
    command = [MPIEXEC, "-n", str(size), sys.executable, PROGRAM, checkpoint or "", resume or "", fault]
    done = subprocess.run(
        command, env=os.environ | EVERYWHERE, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode == 0) == (fault in ("", "interrupt")), done.stderr
    return done.stdout + done.stderr


def results(printed: str) -> list[str]:
    return re.findall(r"^step .*", printed, re.MULTILINE)


def test_processes_have_the_bits_of_one_and_resume_a_killed_run(tmp_path: Path) -> None:
    path, want = tmp_path / "run.npz", train()
    assert want.startswith("step 12 epochs ")
    for size in (1, 2):
        assert results(run(size)) == [want] * size
    assert not results(run(2, path, None, "kill"))
    assert results(run(4, None, path)) == [want] * 4
    assert train(None, "", str(path)) == want


def test_ctrl_c_and_an_error_of_one_process_end_all(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    first, second = results(run(2, path, None, "interrupt"))
    assert first == second
    assert first.startswith("step 5 interrupted ")
    assert train(None, "", str(path)) == train()
    printed = run(2, None, None, "raise")
    assert "WorkerError: worker 1 of 2 ended with OSError: a fault of worker 1" in printed


def test_mpi_takes_communicators_alone() -> None:
    pytest.importorskip("mpi4py")
    with pytest.raises(TypeError, match="comm: expected a communicator of mpi4py or None, got int"):
        mpi(3)
