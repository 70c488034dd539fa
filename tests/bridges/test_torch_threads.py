"""Jobs on torch's threads: the same bits as on rnnfast's own, and nothing left behind in these threads."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers.processes import run_python

torch = pytest.importorskip("torch")

import rnnfast as rf  # noqa: E402
import rnnfast.torch  # noqa: E402
from rnnfast import _core  # noqa: E402
from rnnfast.torch.threads import openmp_functions, share_threads  # noqa: E402

pytestmark = pytest.mark.skipif(openmp_functions() is None, reason="torch without an OpenMP that is known")
LENT = []  # functions of runtimes that tests have made; rnnfast keeps their addresses for good


@pytest.fixture(autouse=True)
def threads_as_before():
    before = torch.get_num_threads(), rf.get_num_threads()
    yield
    torch.set_num_threads(before[0])
    rf.set_num_threads(before[1])
    _core.force_split(None)
    share_threads()


def everything(module, x):
    """y, the final state and all gradients, as bytes."""
    module.zero_grad()
    x = x.clone().requires_grad_()
    y, (h, c) = module(x)
    (y.square().sum() + h.sum() + c.sum()).backward()
    tensors = [y, h, c, x.grad, *[parameter.grad for parameter in module.parameters()]]
    return [tensor.detach().numpy().tobytes() for tensor in tensors]


@pytest.mark.parametrize("split", ["rows", "units", None])
def test_the_bits_are_those_of_own_threads(split):
    torch.manual_seed(0)
    module, x = rnnfast.torch.LSTM(20, 70, num_layers=2, bidirectional=True), torch.randn(30, 7, 20)
    _core.force_split(split)
    _core.borrow_threads(None)
    rf.set_num_threads(1)
    expected = everything(module, x)
    share_threads()
    for theirs, ours in [(1, 2), (2, 2), (4, 2), (2, 4), (4, 4), (4, 3)]:
        torch.set_num_threads(theirs)
        rf.set_num_threads(ours)
        for _ in range(3):
            assert everything(module, x) == expected, (theirs, ours)


COUNTED = """
import os
import numpy as np, torch, rnnfast as rf, rnnfast.torch
from rnnfast import _core

def threads_of(job):
    before = len(os.listdir("/proc/self/task"))
    job()
    return len(os.listdir("/proc/self/task")) - before

_core.force_split("units")
torch.set_num_threads(3)
rf.set_num_threads(3)
torch.randn(1 << 20).exp()
layer, x = rf.GRU(32, 96, rng=0), np.ones((40, 16, 32), np.float32)
shared = threads_of(lambda: layer(x))
_core.borrow_threads(None)
print("libother" in open("/proc/self/maps").read(), shared, threads_of(lambda: layer(x)))
"""
counts_threads = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts by Linux's /proc")


@counts_threads
def test_a_job_starts_no_threads_beside_torchs():
    assert run_python(COUNTED).stdout.split() == ["False", "0", "2"]


@counts_threads
def test_a_preloaded_runtime_is_the_one_that_torch_uses(tmp_path):
    own = Path(torch.__file__).parent / "lib" / "libgomp.so.1"
    if not own.exists():
        pytest.skip("torch without a libgomp of its own")
    other = tmp_path / "libother.so1"  # its own name, as the loader knows libraries by this
    other.write_bytes(own.read_bytes().replace(b"libgomp.so.1\0", b"libother.so1\0"))
    done = run_python(COUNTED, environment={**os.environ, "LD_PRELOAD": str(other)})
    assert done.stdout.split() == ["True", "0", "2"], done.stderr


def test_torchs_threads_keep_their_floating_point_environment():
    torch.set_num_threads(4)
    rf.set_num_threads(4)
    _core.force_split("units")
    with torch.no_grad():
        rnnfast.torch.LSTM(32, 96)(torch.randn(20, 16, 32))
    tiny = torch.full((1 << 20,), 1e-38)
    assert bool(((tiny * 0.01) > 0).all())  # subnormal numbers are kept in all of them


FORKED = """
import os, sys
import numpy as np, torch, rnnfast as rf, rnnfast.torch
from rnnfast import _core
_core.force_split("units")
torch.set_num_threads(2)
rf.set_num_threads(2)
layer, x = rf.GRU(32, 96, rng=0), np.ones((40, 16, 32), np.float32)
torch.randn(1 << 20).exp()
expected = layer(x)[0]
child = os.fork()
if not child:
    os._exit(0 if np.array_equal(layer(x)[0], expected) else 3)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), np.array_equal(layer(x)[0], expected))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_threads_of_its_own():
    assert run_python(FORKED).stdout.split() == ["0", "True"]


def test_callers_in_several_threads():
    torch.manual_seed(0)
    module, x = rnnfast.torch.LSTM(20, 70), torch.randn(30, 7, 20)
    _core.force_split("units")
    torch.set_num_threads(2)
    rf.set_num_threads(2)

    def evaluated(_):
        with torch.no_grad():
            return module(x)[0].numpy().tobytes()

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(evaluated, range(40)))) == 1


LONG_PASS = """
import numpy as np, torch, rnnfast as rf, rnnfast.torch
from rnnfast import _core
torch.set_num_threads(2)
rf.set_num_threads(2)
_core.force_split("units")
layer, x = rf.LSTM(32, 32, rng=0), np.zeros((2_000_000, 2, 32), np.float32)
print("running", flush=True)
try:
    layer(x)
    print("not interrupted")
except KeyboardInterrupt:
    same = np.array_equal(layer(x[:9])[0], layer(x[:9])[0])
    print("interrupted", bool(same), torch.ones(1 << 20).sum().item())
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_ends_a_pass_on_torchs_threads():
    with subprocess.Popen([sys.executable, "-c", LONG_PASS], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "running\n"
        try:
            process.wait(0.4)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert rest == "interrupted True 1048576.0\n"


def test_another_layer_than_torchs_runs_there_too():
    layer, x = rf.GRU(20, 70, rng=0), np.random.default_rng(0).standard_normal((30, 7, 20), dtype=np.float32)
    rf.set_num_threads(1)
    expected = layer(x)[0]
    torch.set_num_threads(2)
    rf.set_num_threads(2)
    _core.force_split("rows")
    assert np.array_equal(layer(x)[0], expected)


FORKED_BEFORE_THE_IMPORT = """
import os, signal
import numpy as np, torch
{before}
torch.set_num_threads(2)
torch.randn(1 << 20).exp()
child = os.fork()
if not child:
    signal.alarm(30)
    import rnnfast as rf, rnnfast.torch
    from rnnfast import _core
    _core.borrow_threads(rnnfast.torch.threads.openmp_functions())  # as where Linux does not tell
    _core.force_split("units")
    rf.set_num_threads(2)
    rf.GRU(32, 96, rng=0)(np.ones((40, 16, 32), np.float32))
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_that_imports_the_bridge_has_threads_of_its_own():
    assert run_python(FORKED_BEFORE_THE_IMPORT.replace("{before}", "import rnnfast")).stdout.split() == ["0"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells that it is a fork")
def test_so_has_one_whose_parent_did_not_import_rnnfast():
    program = FORKED_BEFORE_THE_IMPORT.replace("{before}", "")
    program = "".join(line for line in program.splitlines(keepends=True) if "borrow_threads" not in line)
    assert run_python(program).stdout.split() == ["0"]


IMPORTED_BY_A_HANDLER = """
import signal
import numpy as np, torch, rnnfast as rf
from rnnfast import _core

def handler(*_):
    import rnnfast.torch
    raise KeyboardInterrupt

rf.set_num_threads(2)
_core.force_split("units")
layer, x = rf.LSTM(32, 32, rng=0), np.zeros((2_000_000, 2, 32), np.float32)
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.3)
try:
    layer(x)
except KeyboardInterrupt:
    print("imported")
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_an_import_does_not_wait_for_the_job_that_runs():
    assert run_python(IMPORTED_BY_A_HANDLER, timeout=60).stdout.split() == ["imported"]


def test_jobs_run_alone_after_the_runtimes_threads_were_late():
    """A runtime of Python's whose other threads end 0.2 s after the caller."""
    calls = []

    @ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
    def parallel(function, data, _threads, _flags):
        calls.append(1)
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(function)(data)
        time.sleep(0.2)

    count = ctypes.CFUNCTYPE(ctypes.c_int)
    functions = parallel, count(lambda: 2), count(lambda: 1), count(lambda: 0)
    LENT.append(functions)
    layer, x = rf.GRU(20, 70, rng=0), np.ones((300, 64, 20), np.float32)
    rf.set_num_threads(2)
    _core.borrow_threads(tuple(ctypes.cast(function, ctypes.c_void_p).value for function in functions))
    _core.force_split("rows")  # a job that shares its work even if one before was late
    layer(x)
    _core.force_split(None)
    layer(x)
    assert len(calls) == 1
    time.sleep(1.1)  # longer than jobs stay alone
    layer(x)
    assert len(calls) == 2
