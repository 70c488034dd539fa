"""What lower precisions change in results, here and in installed peers: `make accuracy` prints Markdown.

It compares a voice activity detector, a character model, whole trainings, and one LSTM layer. A part whose
packages are not installed is left out with a note.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from voice import chunks  # beside this file

import rnnfast as rf
from rnnfast.benchmark.contenders import Rnnfast, limited_threads
from rnnfast.benchmark.machine import describe
from rnnfast.benchmark.peers.onnxruntime import OnnxRuntime, quantized
from rnnfast.benchmark.peers.openvino import OpenVino, layer_precision
from rnnfast.benchmark.peers.torch import Torch
from rnnfast.benchmark.problems import Contender, NotOffered, Problem, Reference, make_problem

PACKAGES = ("torch", "onnxruntime", "openvino", "silero-vad")
EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
PRECISIONS = ("float32", "bfloat16", "int8")
TRAINED = ("float32", "bfloat16")  # the precisions that have a backward pass


def missing(*packages: str) -> str:
    """The first of the packages that is not installed, or nothing."""
    return next((package for package in packages if find_spec(package) is None), "")


def row(*cells: object) -> None:
    """Print one row of a table."""
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def heading(title: str, *columns: str) -> None:
    """Print a title and the head of its table, whose first column is text."""
    print(f"\n{title}\n")
    row(*columns)
    print("|---|" + "--:|" * (len(columns) - 1))


def difference(found: np.ndarray, exact: np.ndarray) -> tuple[float, float]:
    """The largest difference and the root mean square of all."""
    error = found - exact
    return float(abs(error).max()), float(np.sqrt((error**2).mean()))


# The voice activity detector

Detector = Callable[[dict[str, np.ndarray]], Sequence[np.ndarray]]  # gives the probability, h and c


def own_detector(file: Path, precision: str) -> Detector:
    prepared: Detector = import_module("rnnfast.onnx").prepare(file, matmul_precision=precision).run
    return prepared


def onnxruntime_detector(file: Path, **options: Any) -> Detector:
    """In float32, or after `quantize_dynamic` with these options."""
    model = quantized(file.read_bytes(), "LSTM", **options) if options else file.read_bytes()
    session = import_module("onnxruntime").InferenceSession(model, providers=["CPUExecutionProvider"])
    return partial(session.run, None)


def openvino_detector(file: Path) -> tuple[str, Detector]:
    """In which precision OpenVINO runs the LSTM without a hint, and how."""
    compiled = import_module("openvino").Core().compile_model(str(file), "CPU")
    return layer_precision(compiled), lambda feed: compiled(feed).to_tuple()


def detectors(file: Path) -> Iterator[tuple[str, Detector]]:
    """Each detector that is installed, by a label; the one in float32 of this library first."""
    for precision in PRECISIONS:
        yield f"rnnfast {precision}", own_detector(file, precision)
    if not missing("onnxruntime"):
        yield "onnxruntime float32", onnxruntime_detector(file)
        for how, per_channel in (("tensor", False), ("channel", True)):
            options: dict[str, Any] = {"per_channel": per_channel}
            lstm_alone = onnxruntime_detector(file, op_types_to_quantize=["LSTM"], **options)
            yield f"onnxruntime int8, the LSTM alone, per {how}", lstm_alone
            yield f"onnxruntime int8, convolutions too, per {how}", onnxruntime_detector(file, **options)
    if not missing("openvino"):
        runs_in, detector = openvino_detector(file)
        yield f"openvino by default ({runs_in})", detector


def probabilities(detector: Detector, steps: np.ndarray) -> np.ndarray:
    """The probability of speech in each step [N], one step a call, with the state of the call before."""
    state, found = dict.fromkeys("hc", np.zeros((1, 1, 128), np.float32)), []
    for step in steps:
        y, *memory = detector({"input": step[np.newaxis], **state})
        state = dict(zip("hc", memory, strict=True))
        found.append(np.ravel(y)[0])
    return np.array(found, np.float64)


def voice_activity() -> None:
    """Silero's detector: probabilities and decisions beside those of this library in float32."""
    if absent := missing("onnx", "silero_vad"):
        return print(f"\nNo voice activity detector: {absent} is not installed.")
    file = Path(find_spec("silero_vad").origin).parent / "data" / "silero_vad_16k_sequence.onnx"
    steps, made_by = chunks()
    heading(
        f"Silero VAD on {made_by}, {len(steps)} steps of 32 ms",
        "run by",
        "largest difference",
        "root mean square",
        "decisions that flip",
    )
    exact = probabilities(own_detector(file, "float32"), steps)
    for label, detector in detectors(file):
        y = probabilities(detector, steps)
        largest, rms = difference(y, exact)
        row(label, f"{largest:.1e}", f"{rms:.1e}", int(((y > 0.5) != (exact > 0.5)).sum()))
    unsure = int((abs(exact - 0.5) < 0.2).sum())
    print(f"\nSpeech in {(exact > 0.5).sum()} of the steps; {unsure} probabilities are within 0.3 to 0.7.")


# The character model, and whole trainings


def character_model(epochs: int = 3) -> None:
    """The model of `rnnfast train`, trained in each precision and scored in each, on the held-out text."""
    text = rf.text.default_text()
    columns = [f"scored in {precision}" for precision in PRECISIONS]
    heading(f"Bits per character on held-out text, {epochs} epochs", "trained in", *columns)
    for precision in TRAINED:
        model = rf.text.build(text.alphabet, rng=0)
        model.model.matmul_precision = precision
        rf.text.train(model, text, epochs=epochs, validate=False, progress=False)
        row(precision, *(f"{bits(model, text, scored):.4f}" for scored in PRECISIONS))


def bits(model: rf.text.TextModel, text: rf.text.Text, precision: str) -> float:
    model.model.matmul_precision = precision
    return model.bits_per_symbol(text.held_out_from_before)


SEEDS = range(6)
# Example, its arguments, and what its lines of results say: the cell and a number.
TRAININGS = {
    "adding problem, T 100, updates until solved": (
        "adding_problem",
        ["--steps", "100", "--cell", "lstm-forget", "gru"],
        r"(lstm|gru)\S* +solved.* (\d+) updates",
    ),
    "digits, % right": ("digits", [], r"(RNN|LSTM|GRU) +([\d.]+)% of"),
}


def trainings() -> None:
    """Scores of the examples, each trained wholly in float32 and wholly in bfloat16, over seeds."""
    heading(
        f"Trained wholly in one precision: mean (lowest to highest) of {len(SEEDS)} seeds", "task", *TRAINED
    )
    for task, (example, arguments, pattern) in TRAININGS.items():
        if example == "digits" and missing("sklearn"):
            row(task, "scikit-learn is not installed", "")
            continue
        scores = [scores_by_cell(example, arguments, pattern, precision) for precision in TRAINED]
        for cell in scores[0]:
            row(f"{task}: {cell.upper()}", *(spread(own.get(cell, [])) for own in scores))


def scores_by_cell(
    example: str, arguments: list[str], pattern: str, precision: str
) -> dict[str, list[float]]:
    """What an example prints for each cell, over the seeds."""
    command = [sys.executable, str(EXAMPLES / f"{example}.py"), *arguments, "--matmul-precision", precision]
    scores: dict[str, list[float]] = {}
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:  # where it draws its figure
            seeded = [*command, "--seed", str(seed)]
            said = subprocess.run(seeded, check=True, capture_output=True, text=True, cwd=folder).stdout
        for cell, score in re.findall(pattern, said):
            scores.setdefault(cell, []).append(float(score))
    return scores


def spread(scores: list[float]) -> str:
    """The mean, the lowest and the highest; and how many seeds came to a score, if not all did."""
    if not scores:
        return "none"
    text = f"{np.mean(scores):.1f} ({min(scores):g} to {max(scores):g})"
    return text if len(scores) == len(SEEDS) else f"{text}, {len(scores)} of {len(SEEDS)} seeds"


# One LSTM layer

SHAPES = [(100, 8, 64, 64), (100, 1, 256, 256), (100, 32, 256, 256)]  # T, B, I, H


class OnnxRuntimePerChannel(OnnxRuntime):
    """Its int8 with a scale for each row of a weight."""

    per_channel = True


LAYERS: dict[str, tuple[type[Contender], str]] = {
    "rnnfast bfloat16": (Rnnfast, "bfloat16"),
    "torch bfloat16": (Torch, "bfloat16"),
    "openvino by default": (OpenVino, "bfloat16"),
    "rnnfast int8": (Rnnfast, "int8"),
    "onnxruntime int8, per tensor": (OnnxRuntime, "int8"),
    "onnxruntime int8, per channel": (OnnxRuntimePerChannel, "int8"),
    "torch int8": (Torch, "int8"),
}


def layer_problem(shape: tuple[int, int, int, int], inputs: str) -> Problem:
    """An LSTM with standard normal inputs, or with uniform ones of -1 to 1."""
    problem = make_problem("lstm", *shape)
    if inputs == "normal":
        return problem
    return problem._replace(x=np.random.default_rng(1).uniform(-1, 1, shape[:3]).astype(np.float32))


def layer_error(Known: type[Contender], problem: Problem) -> str:
    """The largest difference and the root mean square, in percent of the largest output."""
    if absent := missing(*Known.needs):
        return f"{absent} is not installed"
    try:
        contender = Known(problem, 1)
    except NotOffered as reason:
        return str(reason)
    exact = Reference(problem.astype("float64")).evaluate()[0]
    y = contender.arrays(contender.evaluate())["y"].reshape(exact.shape)
    largest, rms = (100 * error / abs(exact).max() for error in difference(y, exact))
    return f"{largest:.2f} / {rms:.3f}"


def layers() -> None:
    """Errors of an LSTM's output, for several shapes and inputs."""
    columns = [(shape, inputs) for shape in SHAPES for inputs in ("normal", "uniform")]
    names = [f"{', '.join(map(str, shape))}, {inputs}" for shape, inputs in columns]
    heading(
        "LSTM: largest difference / root mean square, % of the largest output", "T, B, I, H, inputs", *names
    )
    for label, (Known, precision) in LAYERS.items():
        problems = [layer_problem(*column).at(precision) for column in columns]
        row(label, *(layer_error(Known, problem) for problem in problems))


if __name__ == "__main__":
    print(", ".join(f"{name} {version}" for name, version in describe(PACKAGES).items()))
    with limited_threads(1):
        layers()
        voice_activity()
        trainings()
        character_model()
