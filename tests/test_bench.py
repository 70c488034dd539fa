"""`pytest bench`: all who run one shape are rows of one group, with their times over rnnfast's."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROWS = ("rnnfast", "reference", "numpy")


def test_the_rows_of_a_shape_are_one_group(tmp_path):
    pytest.importorskip("pytest_benchmark")
    pytest.importorskip("threadpoolctl")
    file = tmp_path / "bench.json"
    runs = [f"bench/test_bench_layers.py::test_bench_layers[gru-step-8-training-{row}]" for row in ROWS]
    quick = ["--benchmark-min-rounds=1", "--benchmark-max-time=0.001"]
    own = {name: value for name, value in os.environ.items() if "XDIST" not in name}  # there nothing is timed
    own["PYTEST_ADDOPTS"] = "-p no:cacheprovider"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *runs, "--benchmark-only", *quick, f"--benchmark-json={file}"],
        cwd=ROOT,
        env=own,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(file.read_text())["benchmarks"]
    assert {row["group"] for row in rows} == {"gru training step-8 (1, 1, 8, 8), threads: 1"}
    assert [row["name"].partition("training-")[2] for row in rows] == [f"{row}]" for row in ROWS]
    ratios = [row["stats"]["median"] / rows[0]["stats"]["median"] for row in rows]
    assert [row["extra_info"]["over rnnfast"] for row in rows] == pytest.approx(ratios)
    shown = re.search(r"\(1, 1, 8, 8\), threads: 1: reference (\S+)  numpy (\S+)\n", done.stdout)
    assert [float(ratio) for ratio in shown.groups()] == pytest.approx(ratios[1:], abs=0.006)
