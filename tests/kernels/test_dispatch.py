"""RNNFAST_ISA and the choice of the kernels, each in a process of its own."""

from __future__ import annotations

import os
import subprocess

import numpy as np
import pytest
from helpers.processes import run_python

import rnnfast as rf
from rnnfast import _core

BEST_FIRST = ("neon", "avx512", "avx2", "scalar")


def isa_of_a_new_process(isa: str | None) -> subprocess.CompletedProcess[str]:
    """Imports rnnfast with RNNFAST_ISA set and prints the kernels it chose."""
    environment = {name: value for name, value in os.environ.items() if name != "RNNFAST_ISA"}
    if isa is not None:
        environment["RNNFAST_ISA"] = isa
    code = "import rnnfast; from rnnfast import _core; print(_core.get_isa())"
    return run_python(code, environment=environment)


@pytest.mark.parametrize("isa", _core.available_isas())
def test_a_runnable_isa_is_obeyed(isa):
    done = isa_of_a_new_process(isa)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == isa


@pytest.mark.parametrize("isa", ["mmx", *sorted(set(BEST_FIRST) - set(_core.available_isas()))])
def test_another_isa_is_a_clear_error_at_import(isa):
    done = isa_of_a_new_process(isa)
    assert done.returncode != 0
    last_line = done.stderr.strip().splitlines()[-1]
    assert last_line.startswith(("ImportError", "ValueError"))
    assert "RNNFAST_ISA" in last_line
    assert isa in last_line


def test_without_the_variable_the_best_is_chosen():
    available = _core.available_isas()
    assert available == sorted(available, key=BEST_FIRST.index)
    assert available[-1] == "scalar"
    assert isa_of_a_new_process(None).stdout.strip() == available[0]


def test_force_isa(restored):
    for isa in _core.available_isas():
        _core.force_isa(isa)
        assert _core.get_isa() == isa
        with pytest.raises(ValueError, match="mmx"):
            _core.force_isa("mmx")
        assert _core.get_isa() == isa


def test_every_pass_and_every_step_is_counted():
    layer = rf.GRU(2, 3, num_layers=2, bidirectional=True)
    before = _core.runs_so_far()
    *_, tape = layer.forward(np.ones((4, 1, 2), np.float32))
    assert _core.runs_so_far() == before + 4
    layer.backward(tape)
    assert _core.runs_so_far() == before + 8
    rf.GRU(2, 3, num_layers=2).stream()(np.ones(2, np.float32))
    assert _core.runs_so_far() == before + 9
