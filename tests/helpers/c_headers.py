"""Exported headers in a C program that compares its outputs with those of streams, bit for bit."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import rnnfast as rf
from rnnfast.nn import Module

HERE = Path(__file__).parents[1] / "c_export"
STEPS, RESET, NAN = 12, 7, 5  # how many; the step before which the state is reset; the step that reads NaN
WARNINGS = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror"]


def program(folder: Path, models: Mapping[str, Module], tolerance: float = 0) -> Path:
    """Write a program over the headers of these models, by name.

    Its exit code is 0 if all outputs have the bits of the models' streams, or are within a tolerance.
    """
    rng = np.random.default_rng(len(models))
    lines = ['#include "check.h"', *(f'#include "{name}.h"' for name in models)]
    for name, model in models.items():
        path = folder / f"{name}.h"
        rf.export_c(model, path)
        kind, size = re.search(rf"{name}_(inputs|tokens) = (\d+)", path.read_text()).groups()
        tokens = kind == "tokens"
        x = rng.integers(0, int(size), (STEPS, 1)) if tokens else inputs_of(int(size), rng)
        y = outputs_of(model, x).astype(np.float32)
        lines += [
            _array(f"{name}_x", x) if tokens else _array(f"{name}_x", x.view(np.uint32)),
            _array(f"{name}_resets", np.arange(STEPS) == RESET),
            _array(f"{name}_y", y.view(np.uint32)),
            f"CHECK({name}, {STEPS}, {tolerance:g}f, READS_{'TOKENS' if tokens else 'NUMBERS'}({name}))"
            if tolerance
            else f"CHECK({name}, {STEPS}, 0, READS_{'TOKENS' if tokens else 'NUMBERS'}({name}))",
        ]
    calls = [f"    wrong += check_{name}();" for name in models]
    lines += ["int main(void)", "{", "    int wrong = 0;", *calls, r'    printf("%d wrong\n", wrong);']
    target = folder / "program.c"
    target.write_text("\n".join([*lines, "    return wrong != 0;", "}", ""]))
    return target


def inputs_of(width: int, rng: np.random.Generator) -> np.ndarray:
    """Numbers of several sizes, with zeros, subnormal numbers and one NaN among them."""
    shape = (STEPS, width)
    x = (rng.standard_normal(shape) * rng.choice([0.01, 1.0, 5.0], shape)).astype(np.float32)
    x[rng.random(shape) < 0.1] = 1e-40
    x[rng.random(shape) < 0.1] = -0.0
    x[NAN, 0] = np.nan
    return x


def outputs_of(model: Module, x: np.ndarray) -> np.ndarray:
    """What the model's stream gives for each step."""
    if not hasattr(model, "stream"):
        return np.concatenate([model(x_t[np.newaxis])[0] for x_t in x])
    step = model.stream()
    y = []
    for t, x_t in enumerate(x):
        if t == RESET:
            step.reset()
        y.append(step(x_t).reshape(-1))
    return np.stack(y)


def build(source: Path, compiler: str, *options: str, warnings: list[str] = WARNINGS) -> Path:
    """Compile a program, without the mathematical library."""
    target = source.with_suffix(".out")
    command = [*compiler.split(), *warnings, f"-I{HERE}", *options, str(source), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[:4000]
    return target


def passes(*command: str | Path) -> None:
    """Run a program of this module, or something that runs it."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert "\n0 wrong" in "\n" + done.stdout, done.stdout + done.stderr
    assert done.returncode == 0


def _array(name: str, values: np.ndarray) -> str:
    """An array of integers in C."""
    unsigned = values.dtype == np.uint32
    kind, suffix = ("uint32_t", "u") if unsigned else ("int32_t", "")
    numbers = ", ".join(f"{int(n)}{suffix}" for n in values.reshape(-1))
    return f"static const {kind} {name}[] = {{{numbers}}};"
