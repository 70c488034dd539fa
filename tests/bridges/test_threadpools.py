"""Limits of others on rnnfast's threads: threadpoolctl, imported before or after, and OMP_NUM_THREADS."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.arrays import normal
from helpers.processes import run_python

import rnnfast as rf
from rnnfast import _core

LIMITED = """
import rnnfast as rf
from threadpoolctl import threadpool_info, threadpool_limits
rf.set_num_threads(2)
found = [pool for pool in threadpool_info() if pool["user_api"] == "rnnfast"]
assert [pool["num_threads"] for pool in found] == [2], found
assert found[0]["version"] == rf.__version__
with threadpool_limits(1):
    assert rf.get_num_threads() == 1
assert rf.get_num_threads() == 2
"""


@pytest.fixture
def threadpoolctl() -> Any:
    return pytest.importorskip("threadpoolctl", "3.2")


def without_limits(**variables: str) -> dict[str, str]:
    """This process's environment, without limits on threads but those given."""
    ours = ("RNNFAST_NUM_THREADS", "OMP_NUM_THREADS")
    return {name: value for name, value in os.environ.items() if name not in ours} | variables


def threads_of(**variables: str) -> int:
    done = run_python(
        "import rnnfast; print(rnnfast.get_num_threads())", environment=without_limits(**variables)
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def flops_per_turn() -> float:
    """In proportion to the threads that ran."""
    return _core.fma_chains(np.float32, 1000)


@pytest.mark.usefixtures("restored")
def test_a_limit_holds_for_the_kernels_and_ends_with_its_block(threadpoolctl: Any) -> None:
    model = rf.Sequential(rf.LSTM(8, 64, rng=0), rf.Linear(64, 2, rng=1))
    x = normal(20, 32, 8)
    _core.set_num_threads(1)
    alone, one = flops_per_turn(), model(x)[0]
    _core.set_num_threads(4)
    _core.force_split("rows")
    before = _core.runs_so_far()
    with threadpoolctl.threadpool_limits(1):
        assert rf.get_num_threads() == 1
        assert flops_per_turn() == alone
        y = model(x)[0]
        with threadpoolctl.threadpool_limits(limits={"rnnfast": 3}):
            assert rf.get_num_threads() == 3
        assert rf.get_num_threads() == 1
    assert _core.runs_so_far() == before + 1
    assert rf.get_num_threads() == 4
    np.testing.assert_array_equal(y, one)
    np.testing.assert_array_equal(model(x)[0], one)


@pytest.mark.usefixtures("restored")
def test_limits_of_other_libraries_are_theirs(threadpoolctl: Any) -> None:
    _core.set_num_threads(4)
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        assert rf.get_num_threads() == 4
    with threadpoolctl.threadpool_limits(1, user_api="rnnfast"):
        assert rf.get_num_threads() == 1
    with threadpoolctl.threadpool_limits(1000):
        assert rf.get_num_threads() == 256
    controller = threadpoolctl.ThreadpoolController().select(user_api="rnnfast")
    assert len(controller) == 1
    with controller.limit(limits=2):
        assert rf.get_num_threads() == 2


@pytest.mark.parametrize(
    "imports",
    [
        "import threadpoolctl, rnnfast",
        "import rnnfast, threadpoolctl",
        "import rnnfast, importlib.util; importlib.util.find_spec('threadpoolctl')",
        "import rnnfast, sys; assert 'threadpoolctl' not in sys.modules; from threadpoolctl import *",
    ],
    ids=["before", "after", "looked for", "names"],
)
def test_either_may_be_imported_first(threadpoolctl: Any, imports: str) -> None:
    check = "import sys; assert not [f for f in sys.meta_path if 'rnnfast' in type(f).__module__]"
    done = run_python(f"{imports}\n{LIMITED}\n{check}")
    assert done.returncode == 0, done.stderr


def test_a_loader_that_takes_no_attribute_still_loads_it(threadpoolctl: Any) -> None:
    program = """
import importlib.machinery, importlib.util, sys

class Slotted:
    __slots__ = ("loader",)

    def __init__(self, loader):
        self.loader = loader

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        self.loader.exec_module(module)

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name != "threadpoolctl":
            return None
        found = importlib.machinery.PathFinder.find_spec(name, path, target)
        return importlib.util.spec_from_loader(name, Slotted(found.loader))

sys.meta_path.insert(0, Finder())
import rnnfast
import threadpoolctl
assert threadpoolctl.threadpool_limits
"""
    done = run_python(program)
    assert done.returncode == 0, done.stderr


def test_without_threadpoolctl_its_import_fails_as_ever() -> None:
    program = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name == "threadpoolctl":
            raise ModuleNotFoundError("No module named 'threadpoolctl'", name=name)

sys.meta_path.insert(0, Hidden())
import rnnfast
try:
    import threadpoolctl
except ModuleNotFoundError as error:
    assert error.name == "threadpoolctl"
else:
    raise AssertionError
assert rnnfast.GRU(2, 3).hidden_size == 3
"""
    done = run_python(program)
    assert done.returncode == 0, done.stderr


def test_a_version_that_can_be_told_of_no_library_is_left_as_it_is() -> None:
    program = """
import sys, types
sys.modules["threadpoolctl"] = types.ModuleType("threadpoolctl")
import rnnfast
assert rnnfast.get_num_threads() >= 1
"""
    done = run_python(program)
    assert done.returncode == 0, done.stderr


def test_another_library_of_the_same_file_name_is_not_rnnfast(tmp_path: Path) -> None:
    pytest.importorskip("threadpoolctl", "3.3")  # 3.2 asks no library for symbols
    compiled = Path(import_module("rnnfast._core.loops").__file__ or "")
    other = tmp_path / compiled.name
    other.write_bytes(compiled.read_bytes())
    program = f"import ctypes; other = ctypes.CDLL({str(other)!r})\n{LIMITED}"
    done = run_python(program)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("given", ["1", " 1 ", "1,4"])
def test_omp_num_threads_is_a_limit(given: str) -> None:
    assert threads_of(OMP_NUM_THREADS=given) == 1


@pytest.mark.parametrize(
    "given", ["", "0", "-1", "many", "100000", pytest.param("9" * 5000, id="5000 digits")]
)
def test_omp_num_threads_that_limits_nothing_changes_nothing(given: str) -> None:
    assert threads_of(OMP_NUM_THREADS=given) == threads_of()


def test_rnnfast_num_threads_comes_before_omp_num_threads() -> None:
    assert threads_of(OMP_NUM_THREADS="1", RNNFAST_NUM_THREADS="3") == 3


@pytest.mark.parametrize(
    "given", ["0", "257", "-1", "many", "1.0", pytest.param("9" * 5000, id="5000 digits")]
)
def test_rnnfast_num_threads_out_of_range_is_refused_by_name(given: str) -> None:
    done = run_python("import rnnfast", environment=without_limits(RNNFAST_NUM_THREADS=given))
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ValueError: RNNFAST_NUM_THREADS: expected a number of threads from 1 to 256, ")
    assert len(last) < 200


def test_joblibs_inner_limit_reaches_its_workers() -> None:
    pytest.importorskip("joblib")
    program = """
import numpy as np, joblib

def work(seed):
    import rnnfast as rf
    from rnnfast import _core
    before = _core.runs_so_far()
    y = rf.GRU(3, 4, rng=0)(np.ones((5, 2, 3), np.float32))[0]
    return rf.get_num_threads(), _core.runs_so_far() - before, y.tobytes()

with joblib.parallel_config("loky", inner_max_num_threads=1):
    found = joblib.Parallel(n_jobs=2)(joblib.delayed(work)(seed) for seed in range(2))
assert found == [(1, 1, work(0)[2])] * 2, found
"""
    done = run_python(program, environment=without_limits(OMP_NUM_THREADS="7"))  # which joblib replaces
    assert done.returncode == 0, done.stderr
