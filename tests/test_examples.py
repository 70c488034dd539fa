"""Every example runs, in a short form, and says what it should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SHORT = {  # arguments, and words of the output
    "character_model": (["{text}"], "epoch 3: "),
    "long_sequence": (["--steps", "2000", "--updates", "2"], ""),
    "recurrent_policy": (["2"], "after 2 rollouts "),
    "time_series": ([], "GRU "),
    "torch_distributed": (["5"], "with 2 processes"),
}
NEEDS = {"torch_distributed": "torch"}


def test_every_example_is_here():
    assert sorted(SHORT) == sorted(path.stem for path in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("name", SHORT)
def test_it_runs(name, tmp_path):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    arguments, words = SHORT[name]
    text = tmp_path / "text.txt"
    text.write_text("what is written twice is easily read twice. " * 100)
    command = [sys.executable, EXAMPLES / f"{name}.py", *(a.format(text=text) for a in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert words in done.stdout
