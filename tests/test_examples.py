"""Every example runs, in a short form, and says that it learned what it is to learn."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import rnnfast as rf

EXAMPLES = Path(__file__).parents[1] / "examples"
SHORT = {  # arguments, and what the output must match
    "c_header": (["--updates", "40"], r"int8 .* the bits of the stream"),
    "adding_problem": (["--steps", "20", "--cell", "gru", "--seconds", "60"], r"gru +solved"),
    "character_model": (["{text}"], r"epoch 3: 0\.[01]"),
    "copy_memory": (
        ["--delay", "10", "--cell", "linear-orthogonal", "--seconds", "60"],
        r"orthogonal +solved",
    ),
    "darts_forecast": (["3"], r"forecasts differ by at most \S+e-0[678]"),
    "encoder_decoder": (["300"], r"[789]\d\.\d% of 640 new words"),
    "digits": (["--epochs", "12"], r"GRU +9\d\.\d% of 397 right"),
    "jax_training": (["150"], r"rnnfast +loss 0\.1(.|\n)*as streams: 9\d%.*bits of the JAX program: True"),
    "layer_norm": (["--updates", "150"], r"LSTM, layer norm +(9[5-9]|100)"),
    "long_sequence": (["--steps", "500", "--updates", "100"], r"right on new sequences: (0\.9|1)"),
    "keras_layers": (["1"], r"rnnfast.keras +loss \S+, [89]\d(.|\n)*differ by at most \de-0[6-9]"),
    "onnx_model": ([], r"rnnfast: largest difference from the model \S+e-0[678]"),
    "recurrent_ppo": (["1"], r"parameters differ by at most \S+e-0[678]"),
    "recurrent_policy": (["16"], r"after 16 rollouts (9\d|100)% of the answers are right"),
    "scikit_learn": (
        ["--epochs", "5"],
        r"the best of them [89]\d(.|\n)*: 9\d\.\d% of all letters right, 8\d",
    ),
    "streaming": (
        ["--updates", "100", "--frames", "300"],
        r"GRU +[789]\d(.|\n)*8 side by side.*the bits of",
    ),
    "shards_mpi": ([], r"1 workers: validation loss 0\.0"),
    "sunspots": (["--updates", "150"], r"LSTM.* 4,513 +\S+ +[12]\d"),
    "sweep_settings": ([], r"16 +0\.03 (.|\n)*the best on new data: 0\.00"),
    "torch_compile": ([], r"compiled +loss 0\.0[01](.|\n)*differ by at most 0e\+00(.|\n)*steps: True"),
    "torch_distributed": (["5"], r"with 2 processes"),
    "voice_activity": ([], r"largest difference \S+e-0[67]"),
    "time_series": ([], r"GRU +0\.0[12]"),
}
NEEDS = {
    "darts_forecast": ["darts", "torch"],
    "digits": ["sklearn"],
    "jax_training": ["jax"],
    "keras_layers": ["keras", "torch"],
    "onnx_model": ["onnx", "onnxruntime"],
    "recurrent_ppo": ["sb3_contrib", "torch"],
    "scikit_learn": ["sklearn"],
    "sunspots": ["matplotlib", "statsmodels"],
    "torch_compile": ["torch"],
    "torch_distributed": ["torch"],
    "voice_activity": ["onnx", "onnxruntime", "silero_vad"],
}  # what comes with extras


def test_every_example_is_here():
    assert sorted(SHORT) == sorted(path.stem for path in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("name", SHORT)
def test_it_learns(name, tmp_path):
    for package in NEEDS.get(name, []):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    if name == "c_header" and shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    arguments, words = SHORT[name]
    text = tmp_path / "text.txt"
    text.write_text("what is written twice is easily read twice. " * 800)
    command = [sys.executable, EXAMPLES / f"{name}.py", *(a.format(text=text) for a in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(words, done.stdout), done.stdout


def test_the_page_shows_the_rows_that_sunspots_prints():
    """Of the rungs that draw no random numbers; seconds differ from run to run."""
    sunspots = pytest.importorskip("statsmodels.datasets").sunspots
    series = sunspots.load_pandas().data["SUNACTIVITY"].to_numpy()
    rungs = rf.baselines.ladder(season=11)
    scores = list(rf.baselines.backtest(series, [rungs[n] for n in ("last", "season", "ar")], horizon=11))
    page = (EXAMPLES.parent / "docs" / "examples.md").read_text(encoding="utf-8")
    for line in rf.baselines.score_table(scores).splitlines()[1:]:
        name, parameters, _, *errors = re.split(r" {2,}", line.lstrip("* "))
        assert re.search(
            " +".join(map(re.escape, (name, parameters))) + r" +\S+ +" + " +".join(errors), page
        ), line
