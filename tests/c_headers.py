"""Exported headers compiled into a program that compares its outputs with those of streams, bit for bit."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import rnnfast as rf
from rnnfast.nn import Module

STEPS = 12
WARNINGS = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror"]
FOUND = {name: shutil.which(name) for name in ("gcc", "clang-19", "clang-16", "clang-14", "clang", "g++", "clang++")}

MAIN = """
int main(void)
{{
    int wrong = 0;
{calls}
    printf("%d wrong\\n", wrong);
    return wrong != 0;
}}
"""
CHECK = """
static int check_{name}(void)
{{
    static {name}_state state;
    static float y[{name}_outputs];
    int wrong = 0;
    {name}_init(&state);
    for (int t = 0; t < {steps}; t++) {{
        if ({name}_resets[t]) {name}_reset(&state);
        {step}
        for (int k = 0; k < {name}_outputs; k++) {{
            uint32_t bits;
            memcpy(&bits, &y[k], sizeof bits);
            if (bits == {name}_y[t * {name}_outputs + k]) continue;
            if (!wrong++) printf("{name}: step %d, y[%d]: %08lx, expected %08lx\\n", t, k, (unsigned long)bits,
                                 (unsigned long){name}_y[t * {name}_outputs + k]);
        }}
    }}
    return wrong;
}}
"""


def bits(name: str, kind: str, values: Any) -> str:
    """An array of integers in C."""
    flat = np.asarray(values).reshape(-1).tolist()
    return f"static const {kind} {name}[] = {{{', '.join(f'{n}u' if kind == 'uint32_t' else str(n) for n in flat)}}};\n"


def inputs_of(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Numbers of several sizes, with zeros and subnormal numbers among them."""
    x = (rng.standard_normal(shape) * rng.choice([0.01, 1.0, 5.0], shape)).astype(np.float32)
    x[rng.random(shape) < 0.1] = 1e-40
    x[rng.random(shape) < 0.1] = -0.0
    return x


def outputs_of(model: Module, x: np.ndarray, resets: np.ndarray) -> np.ndarray:
    """What the model's stream gives for each step."""
    if not hasattr(model, "stream"):
        return np.concatenate([model(x_t[np.newaxis])[0] for x_t in x])
    step = model.stream()
    y = []
    for x_t, reset in zip(x, resets, strict=True):
        if reset:
            step.reset()
        y.append(step(x_t).reshape(-1))
    return np.stack(y)


def write_program(folder: Path, models: Mapping[str, Module]) -> Path:
    """A program over the headers of these models, by name."""
    rng = np.random.default_rng(len(models))
    text = "#include <stdio.h>\n#include <string.h>\n" + "".join(f'#include "{name}.h"\n' for name in models)
    for name, model in models.items():
        path = folder / f"{name}.h"
        rf.export_c(model, path)
        kind, size = re.search(rf"{name}_(inputs|tokens) = (\d+)", path.read_text()).groups()
        tokens = kind == "tokens"
        x = rng.integers(0, int(size), (STEPS, 1)) if tokens else inputs_of((STEPS, int(size)), rng)
        resets = np.arange(STEPS) == 7
        y = outputs_of(model, x, resets)
        kinds = ("int32_t", x) if tokens else ("uint32_t", x.view(np.uint32))
        text += bits(f"{name}_x", *kinds) + bits(f"{name}_resets", "int32_t", resets.astype(int))
        text += bits(f"{name}_y", "uint32_t", np.array(y, np.float32).view(np.uint32))
        step = f"float x[{name}_inputs]; memcpy(x, {name}_x + t * {name}_inputs, sizeof x); {name}_step(&state, x, y);"
        if tokens:
            step = f"if ({name}_step(&state, {name}_tokens, y) != -1 || {name}_step(&state, {name}_x[t], y)) return -1;"
        text += CHECK.format(name=name, steps=STEPS, step=step)
    calls = "\n".join(f"    wrong += check_{name}() != 0;" for name in models)
    path = folder / "program.c"
    path.write_text(text + MAIN.format(calls=calls))
    return path


def compiled(program: Path, compiler: str, *options: str) -> Path:
    """The program, compiled without the mathematical library."""
    target = program.with_suffix(".out")
    command = [compiler, *WARNINGS, *options, str(program), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[:4000]
    return target


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0 and "0 wrong" in done.stdout, done.stdout + done.stderr
