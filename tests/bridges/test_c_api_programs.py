"""Programs over the C API: without Python, without allocations; the documented modules and the examples."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bridges.plans import PACKAGE, ROOT, Pair, load_module
from helpers.arrays import assert_equal

import rnnfast as rf
from rnnfast import _core


@pytest.mark.parametrize("probe", ["probe", "probe_cpp"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_thread_without_python_works_while_another_holds_the_gil(
    bridge, built, probe, threads, precision, restored
):
    layer = rf.LSTM(5, 40, rng=0, matmul_precision=precision)
    x = np.random.default_rng(0).normal(size=(30, 2, 5)).astype(np.float32)
    y, _, tape = layer.forward(x)
    dx, _ = layer.backward(tape, y)
    _core.force_split("units")
    weights = tuple(parameter.data for parameter in layer.parameters())
    grads = tuple(map(np.empty_like, weights))
    stepped, got, got_dx = np.empty_like(y), np.empty_like(y), np.empty_like(x)
    options = (threads, precision == "bfloat16", True)
    load_module(built, probe).run(*weights, *grads, x, stepped, got, got_dx, 2, 5, 40, *options)
    assert_equal((stepped, got, got_dx), (y, y, dx))
    for gradient, parameter in zip(grads, layer.parameters(), strict=True):
        np.testing.assert_array_equal(gradient, parameter.grad)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts calls of glibc's allocator")
def test_steps_and_passes_allocate_nothing(built):
    program = """
import itertools
import numpy as np, rnnfast as rf
from rnnfast import _core
import probe
layer = rf.LSTM(5, 40, rng=0)
x = np.zeros((300, 2, 5), np.float32)
y, dx = np.empty((300, 2, 40), np.float32), np.empty_like(x)
weights = [parameter.data for parameter in layer.parameters()]
grads = [np.empty_like(weight) for weight in weights]
_core.force_split("units")
rf.set_num_threads(2)
layer(x)  # starts the workers
for options in itertools.product((1, 2), (False, True), (False, True)):
    print(probe.run(*weights, *grads, x, y, y, dx, 2, 5, 40, *options))
"""
    (counter,) = built.glob("allocations.*.so")
    environment = os.environ | {"LD_PRELOAD": str(counter), "PYTHONPATH": f"{PACKAGE}{os.pathsep}{built}"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0"] * 8


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_plans_give_their_memory_back(bridge):
    pair = Pair(bridge, "lstm", H=128, T=50)
    grads = pair.per_pass({name: np.empty_like(p.data) for name, p in pair.layer.named_parameters()})

    def resident() -> float:
        """MB."""
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def once() -> None:
        plan = pair.plan(training=1)  # of some 5 MB
        plan.forward(pair.T, pair.x, pair.y)
        plan.backward(grads)
        with pytest.raises(bridge.Refused):
            pair.plan(cell=7)

    for _ in range(5):
        once()
    before = resident()
    for _ in range(40):
        once()
    assert resident() - before < 20


def test_the_documented_c_module_builds_and_gives_the_bits_of_the_layer(tmp_path):
    page = (ROOT / "docs/bridges/c.md").read_text()
    (source,) = re.findall(r"```c\n(/\* mine\.c.*?)```", page, re.DOTALL)
    (setup,) = re.findall(r"```py\n(# setup\.py\n.*?)```", page, re.DOTALL)
    (use,) = re.findall(r"```py\n(# try\.py\n.*?)```", page, re.DOTALL)
    (commands,) = re.findall(r"```sh\n(python setup\.py .*?)```", page, re.DOTALL)
    for name, content in (("mine.c", source), ("setup.py", setup), ("try.py", use)):
        (tmp_path / name).write_text(content)
    environment = os.environ | {"PYTHONPATH": PACKAGE, "CFLAGS": "-Wall -Wextra -Werror"}
    environment["PATH"] = str(Path(sys.executable).parent) + os.pathsep + environment["PATH"]
    done = subprocess.run(
        commands, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("the bits of the layer: True\n")


def test_the_examples_run(built):
    environment = os.environ | {"PYTHONPATH": PACKAGE}
    done = subprocess.run(
        [sys.executable, "run.py"], cwd=built, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "us from C" in done.stdout


def test_the_documented_cython_module_gives_the_gradients_of_the_layer(built):
    rnn = rf.RNN(3, 8, bias=False, rng=0)
    x = np.random.default_rng(0).normal(size=(7, 4, 3)).astype(np.float32)
    y, _, tape = rnn.forward(x)
    rnn.backward(tape, np.ones_like(y))
    got = load_module(built, "gradient").gradient(x, rnn.weight_ih_l0.data, rnn.weight_hh_l0.data)
    assert_equal(got, (rnn.weight_ih_l0.grad, rnn.weight_hh_l0.grad))
