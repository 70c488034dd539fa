"""Threads: signals are seen, a forked child has a pool of its own, busy callers work alone, and the caller's
floating-point environment is put back."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers.depth import times
from helpers.processes import run_python

import rnnfast as rf
from rnnfast import _core

posix = pytest.mark.skipif(os.name != "posix", reason="signals and fork of POSIX")
both_splits = pytest.mark.parametrize("split", ["rows", "units"])


@pytest.fixture
def problem():
    """A layer, an input and the output that one thread gives."""
    layer = rf.LSTM(20, 70, rng=0)
    x = np.random.default_rng(0).normal(size=(30, 8, 20)).astype(np.float32)
    rf.set_num_threads(1)
    return layer, x, layer(x)[0]


LONG_PASS = """
import sys
import numpy as np
import rnnfast as rf
from rnnfast import _core
rf.set_num_threads(int(sys.argv[1]))
_core.force_split(sys.argv[2])
layer = rf.LSTM(32, 32, rng=0)
x = np.zeros((2_000_000, 2, 32), np.float32)
print("running", flush=True)
try:
    layer(x)
    print("not interrupted")
except KeyboardInterrupt:
    print("interrupted", bool(np.array_equal(layer(x[:9])[0], layer(x[:9])[0])))
"""


@posix
@both_splits
@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_ends_a_long_pass_and_leaves_the_pool_whole(threads, split, figure):
    signals = times(1, 5)
    for n in range(signals):
        interrupt(threads, split, 0.3 + 0.05 * n)
    figure(f"SIGINT in a pass of {threads} threads by {split}: {signals} interrupted, the next call right")


def interrupt(threads, split, after):
    """Sends SIGINT to a long pass after so many seconds of it."""
    command = [sys.executable, "-c", LONG_PASS, str(threads), split]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent) as process:
        assert process.stdout.readline() == "running\n"
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert rest == "interrupted True\n"


@posix
@both_splits
def test_a_forked_child_computes_with_workers_of_its_own(problem, split, restored, figure):
    layer, x, want = problem
    rf.set_num_threads(2)
    _core.force_split(split)
    np.testing.assert_array_equal(layer(x)[0], want)  # the parent has its pool now
    context = multiprocessing.get_context("fork")
    forks = times(1, 100)
    for _ in range(forks):
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=lambda: sender.send(layer(x)[0]))  # noqa: B023
        child.start()
        assert receiver.poll(60), "the child hangs"
        np.testing.assert_array_equal(receiver.recv(), want)
        child.join()
        np.testing.assert_array_equal(layer(x)[0], want)
    figure(f"forks, by {split}: {forks} children and their parent compute the same bits")


DAEMONS = """
import ctypes, sys, threading, time
import numpy as np
import rnnfast as rf
rf.set_num_threads(1)
layer = rf.LSTM(16, 16, rng=0)
x = np.zeros((400_000, 2, 16), np.float32)
for _ in range(4):
    threading.Thread(target=layer, args=(x,), daemon=True).start()
time.sleep(float(sys.argv[1]))
libc = ctypes.CDLL(None)  # the threads outlive the interpreter by so many microseconds:
libc.__cxa_atexit(libc.usleep, ctypes.c_void_p(500_000), None)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the C library's exit handlers by name")
def test_the_end_of_python_waits_for_no_daemon_thread(figure):
    """A call that outlives the interpreter asks for no GIL, so that it does not crash."""
    pauses = ("0.005", "0.02", "0.04", "0.06", "0.08", "0.1")
    commands = [[sys.executable, "-c", DAEMONS, pause] for pause in pauses]
    here, rounds = Path(__file__).parent, times(1, 10)
    for _ in range(rounds):
        started = [subprocess.Popen(command, stderr=subprocess.PIPE, cwd=here) for command in commands]
        for process in started:
            with process:
                _, errors = process.communicate(timeout=60)
                assert (process.returncode, errors) == (0, b"")
    figure(f"exits while threads compute: {rounds * len(commands)}, each with code 0 and without a message")


THREAD_THAT_FORKS = """
import os, signal, threading
import numpy as np
import rnnfast as rf
rf.set_num_threads(1)
layer = rf.LSTM(16, 16, rng=0)
x = np.zeros((2_000_000, 2, 16), np.float32)

def fork():
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, lambda *_: os._exit(7))
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        layer(x)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

thread = threading.Thread(target=fork)
thread.start()
thread.join()
"""


@posix
def test_a_child_s_main_thread_looks_for_signals():
    done = run_python(THREAD_THAT_FORKS, "-W", "ignore")
    assert (done.stdout, done.stderr) == ("7\n", "")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="sets the affinity of threads")
@both_splits
def test_the_affinity_may_change_while_a_pass_runs(problem, split, restored, figure):
    layer, x, want = problem
    rf.set_num_threads(2)
    _core.force_split(split)
    cores = os.sched_getaffinity(0)
    calls, over = times(20, 500), threading.Event()

    def change():
        for n in itertools.cycle(range(len(cores) + 1)):
            allowed = sorted(cores)[n : n + 1] or cores  # each core alone, then all of them
            for thread in os.listdir("/proc/self/task"):
                with contextlib.suppress(OSError):  # it has ended
                    os.sched_setaffinity(int(thread), allowed)
            if over.wait(0.001):
                return

    changer = threading.Thread(target=change)
    changer.start()
    try:
        for _ in range(calls):
            np.testing.assert_array_equal(layer(x)[0], want)
    finally:
        over.set()
        changer.join()
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(OSError):
                os.sched_setaffinity(int(thread), cores)
    assert rf.get_num_threads() == 2
    figure(f"affinity changed while passes run, by {split}: {calls} calls with the same bits")


@both_splits
def test_many_callers_at_once(problem, split, restored):
    layer, x, want = problem
    rf.set_num_threads(3)
    _core.force_split(split)
    with ThreadPoolExecutor(4) as callers:
        for got in callers.map(lambda _: layer(x)[0], range(40)):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("threads", [1, 2])
def test_subnormals_live_on_after_a_call(problem, threads, restored):
    layer, x, _ = problem
    rf.set_num_threads(threads)
    _core.force_split("units")
    _, _, tape = layer.forward(x)
    layer.backward(tape, np.ones((30, 8, 70), np.float32))
    smallest = np.array([1e-310])
    assert (smallest * 0.5)[0] != 0
