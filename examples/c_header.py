"""A filter that is trained in Python and runs in C: one header, without a library.

The input is a slow signal in noise, one sample a step. A GRU learns to give the signal as it is now. Then
`rf.export_c` writes it as a C header, in float32 and in int8. A C program of a few lines includes the header,
and this program compiles and runs it. Its outputs must have the bits of `model.stream()`, or the program ends
with an error.
"""

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile

import numpy as np

import rnnfast as rf

parser = argparse.ArgumentParser()
parser.add_argument("--updates", type=int, default=300, help="of the weights")
options = parser.parse_args()

PROGRAM = """
#include <stdio.h>
#include <time.h>
#include "filter.h"

int main(void)
{
    filter_state state;
    float x[filter_inputs], y[filter_outputs];
    long steps = 0;
    const clock_t began = clock();
    filter_init(&state);
    for (; fread(x, sizeof x, 1, stdin); steps++) {
        filter_step(&state, x, y);
        fwrite(y, sizeof y, 1, stdout);
    }
    fprintf(stderr, "%zu bytes of memory, %.2f us a step with input and output", sizeof state,
            (double)(clock() - began) / CLOCKS_PER_SEC * 1e6 / (double)steps);
    return 0;
}
"""
rng = np.random.default_rng(0)


def signals(T: int, B: int) -> tuple[np.ndarray, np.ndarray]:
    """A sum of slow waves in noise and without, [T, B, 1] each."""
    t, periods = np.arange(T)[:, None, None], rng.uniform(20, 80, (1, B, 3))
    waves = np.sin(2 * np.pi * (t / periods + rng.random((1, B, 3)))).mean(axis=-1, keepdims=True)
    return (waves + 0.4 * rng.standard_normal(waves.shape)).astype(np.float32), waves.astype(np.float32)


model = rf.Sequential(rf.GRU(1, 24, rng=1), rf.Linear(24, 1, rng=2))
optimizer = rf.optim.Adam(model.parameters(), lr=0.01)
for _ in range(options.updates):
    x, wave = signals(100, 16)
    optimizer.zero_grad()
    rf.loss_and_grad(model, rf.losses.mse, x, wave)
    optimizer.step()

x, wave = signals(20_000, 1)
print(f"mean square of the noise {np.mean((x - wave) ** 2):.3f}, of what the filter leaves ", end="")
print(f"{np.mean((model(x)[0] - wave) ** 2):.3f}")

native = ["-march=native"] if platform.machine() == "x86_64" else []  # AArch64 always has multiply-adds
compiler = shutil.which("cc")
if compiler is None:
    sys.exit("no C compiler: the header was not compiled")
with tempfile.TemporaryDirectory() as folder:
    header, program = os.path.join(folder, "filter.h"), os.path.join(folder, "program")
    with open(program + ".c", "w") as file:
        file.write(PROGRAM)
    for precision in ("float32", "int8"):
        rf.export_c(model, header, matmul_precision=precision)
        subprocess.run([compiler, "-O3", *native, program + ".c", "-o", program], check=True)
        done = subprocess.run([program], input=x.tobytes(), capture_output=True, check=True)

        model.matmul_precision = precision
        step = model.stream()
        expected = np.stack([step(x_t) for x_t in x])
        if done.stdout != expected.tobytes():
            sys.exit(f"{precision}: the program differs from the stream")
        weights = re.search(r"(\d+) bytes of weights", open(header).read()).group(1)
        print(f"{precision:7} {weights} bytes of weights, {done.stderr.decode()}: the bits of the stream")
