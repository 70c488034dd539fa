"""An exported header has the bits of the model's stream: each option, precision, compiler and target."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from helpers.c_headers import HERE, WARNINGS, build, passes, program
from helpers.exported import FAMILIES, mixture, models_of

import rnnfast as rf

X86 = platform.machine() in ("x86_64", "AMD64")
FUSED = ["-mfma"] if X86 and "avx2" in rf._core.available_isas() else []
PEDANTIC_C = [option for option in WARNINGS if option != "-std=c11"]
COMPILERS = {  # the compiler, and its options
    "gcc -O0": ("gcc", ["-O0"]),
    "gcc -O0, fused": ("gcc", ["-O0", *FUSED]),
    "gcc, software": ("gcc", ["-O2"]),
    "gcc, contracting": ("gcc", ["-std=gnu17", "-O3", "-march=native", "-ffp-contract=fast"]),
    "g++": ("g++", ["-x", "c++", "-O2", *FUSED]),
    "clang-14": ("clang-14", ["-O2", *FUSED]),
    "clang-16": ("clang-16", ["-O2", *FUSED]),
    "clang-16, contracting": ("clang-16", ["-O3", "-march=native", "-ffp-contract=fast"]),
    "clang-19, software": ("clang-19", ["-O2"]),
    "clang": ("clang", ["-O2"]),
}

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("family", FAMILIES)
def test_each_option(tmp_path: Path, family: str, precision: str) -> None:
    source = program(tmp_path, models_of(family, precision))
    passes(build(source, "gcc", "-O1", *FUSED))


@pytest.mark.parametrize("which", COMPILERS)
def test_each_compiler(tmp_path: Path, which: str) -> None:
    compiler, options = COMPILERS[which]
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    warnings = PEDANTIC_C if compiler == "g++" or "-std=gnu17" in options else WARNINGS
    passes(build(program(tmp_path, mixture()), compiler, *options, warnings=warnings))


@pytest.mark.parametrize(
    ("machine", "processor"),
    [
        ("mps2-an386", ["-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"]),
        ("mps2-an385", ["-mcpu=cortex-m3"]),  # no floating-point unit
    ],
)
def test_a_cortex_m(tmp_path: Path, machine: str, processor: list[str]) -> None:
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    options = [
        "-O2",
        "-mthumb",
        *processor,
        "--specs=rdimon.specs",
        f"-T{HERE}/board.ld",
        f"{HERE}/startup.c",
    ]
    built = build(program(tmp_path, mixture()), "arm-none-eabi-gcc", *options)
    semihosting = ["-semihosting-config", "enable=on,target=native"]
    silent = ["-nographic", "-monitor", "none", "-serial", "none"]
    passes("qemu-system-arm", "-M", machine, *silent, *semihosting, "-kernel", built)


RUN_WASM = """
import sys, wasmtime
engine = wasmtime.Engine()
store, linker, wasi = wasmtime.Store(engine), wasmtime.Linker(engine), wasmtime.WasiConfig()
linker.define_wasi()
wasi.inherit_stdout()
store.set_wasi(wasi)
linker.instantiate(store, wasmtime.Module.from_file(engine, sys.argv[1])).exports(store)["_start"](store)
"""


def test_webassembly(tmp_path: Path) -> None:
    for package in ("ziglang", "wasmtime"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    compiler = f"{sys.executable} -m ziglang cc -target wasm32-wasi"
    passes(sys.executable, "-c", RUN_WASM, build(program(tmp_path, mixture()), compiler, "-O2"))


def test_activations_that_numpy_computes_are_near(tmp_path: Path) -> None:
    kinds = {"tanh": rf.Tanh, "sigmoid": rf.Sigmoid, "silu": rf.SiLU, "gelu": rf.GELU}
    models = {name: rf.Sequential(rf.LayerNorm(64), kind()) for name, kind in kinds.items()}
    for model in models.values():
        model[0].weight.data = np.linspace(0, 8, 64, dtype=np.float32)
    passes(build(program(tmp_path, models, tolerance=2e-6), "gcc", "-O2", *FUSED))


@pytest.mark.skipif(not X86, reason="the test reads the mode of an x86")
def test_a_step_leaves_the_mode_of_the_caller(tmp_path: Path) -> None:
    rf.export_c(rf.Sequential(rf.GRU(2, 3, rng=0), rf.Residual(rf.LayerNorm(3))), tmp_path / "model.h")
    source = tmp_path / "program.c"
    source.write_text(
        """
#include <stdio.h>
#include <xmmintrin.h>
#include "model.h"
int main(void)
{
    model_state state;
    const float x[2] = {1, 2};
    float y[3];
    int wrong = 0;
    for (unsigned mode = 0; mode < 4; mode++) {
        const unsigned set = 0x1f80u | mode << 13 | 0x8000u; /* rounding, flush to zero */
        model_init(&state);
        _mm_setcsr(set);
        model_step(&state, x, y);
        wrong += (_mm_getcsr() & ~0x3fu) != set;
        _mm_setcsr(0x1f80u);
    }
    printf("%d wrong\\n", wrong);
    return wrong;
}
"""
    )
    passes(build(source, "gcc", "-O2"))


@pytest.mark.parametrize("compiler", ["gcc", "clang-14", "clang-16", "clang-19"])
def test_the_arithmetic_of_the_caller_keeps_its_mode(tmp_path: Path, compiler: str) -> None:
    """A subnormal product beside a step is no zero, though the step flushes such numbers."""
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    rf.export_c(rf.GRU(2, 3, rng=0), tmp_path / "model.h")
    source = tmp_path / "program.c"
    source.write_text(
        """
#include <stdio.h>
#include "model.h"
int main(int count, char **arguments)
{
    (void)arguments;
    model_state state;
    const float x[2] = {1, 2}, p = 1e-20f * (float)count;
    float y[3];
    model_init(&state);
    const float product = p * p;
    model_step(&state, x, y);
    printf("%d wrong\\n", model_bits(product) != 71362);
    return model_bits(product) != 71362;
}
"""
    )
    for level in ("-O1", "-O2", "-O3"):
        passes(build(source, compiler, level))


def test_the_square_root_is_rounded_correctly(tmp_path: Path) -> None:
    rf.export_c(rf.LayerNorm(2), tmp_path / "model.h")
    source = tmp_path / "program.c"
    source.write_text(
        """
#include <math.h>
#include <stdio.h>
#include "model.h"
int main(void)
{
    union { double number; uint64_t bits; } x;
    uint64_t state = 88172645463325252u;
    int wrong = 0;
    for (int n = 0; n < 100000; n++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        x.bits = state & 0x7fffffffffffffffu;
        if (!(x.number >= DBL_MIN && x.number <= DBL_MAX)) continue;
        wrong += model_root(x.number) != sqrt(x.number);
    }
    printf("%d wrong\\n", wrong);
    return wrong != 0;
}
"""
    )
    passes(_with_libm(source))


def test_no_weight_is_subnormal_in_a_header(tmp_path: Path) -> None:
    """Weights that count as zero are zero in the header, for processors that do not flush them."""
    kinds = [rf.Linear(3, 4, rng=0), rf.LayerNorm(4), rf.LSTM(4, 4, peephole=True, rng=1)]
    kinds += [
        rf.LSTM(4, 4, layer_norm=True, rng=2),
        rf.IndRNN(4, 4, rng=3),
        rf.LSTM(4, 4, proj_size=2, rng=4),
    ]
    model = rf.Sequential(*kinds)
    for _, parameter in model.named_parameters():
        parameter.data.reshape(-1)[:2] = 1e-40, -1e-40
    rf.export_c(model, tmp_path / "model.h")
    numbers = re.findall(r"[0-9.]+e-[0-9]+(?=f)", (tmp_path / "model.h").read_text())
    assert not [number for number in numbers if 0 < float(number) < np.finfo(np.float32).tiny]


def test_the_multiply_add_in_software_rounds_once(tmp_path: Path) -> None:
    """Among the sums are many that are half way between two floats but for a small number."""
    rf.export_c(rf.Linear(2, 3, rng=0), tmp_path / "model.h")
    source = tmp_path / "program.c"
    source.write_text(
        """
#include <math.h>
#include <stdio.h>
#include "model.h"
int main(void)
{
    uint64_t state = 88172645463325252u;
    int wrong = 0, twice = 0;
    for (int n = 0; n < 200000; n++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        const uint32_t high = (uint32_t)(state >> 32), low = (uint32_t)state;
        const uint32_t small = n % 2 ? 0x20000000u : 0x40000000u;
        const float a = model_of_bits(0x3f800800u | (high & 0x807ff000u));
        const float b = model_of_bits(0x3f801000u | (low & 0x807fe000u));
        const float c = model_of_bits((high * 2654435761u & 0x807fffffu) | small);
        wrong += model_bits(model_fma(a, b, c)) != model_bits(fmaf(a, b, c));
        twice += model_bits((float)((double)a * b + c)) != model_bits(fmaf(a, b, c));
    }
    printf("%d wrong\\n%d rounded twice\\n", wrong, twice);
    return twice < 1000;
}
"""
    )
    passes(_with_libm(source))


def _with_libm(source: Path) -> Path:
    """Compile a program that compares with the mathematical library."""
    target = source.with_suffix(".out")
    subprocess.run(["gcc", "-std=c11", "-O2", source, "-o", target, "-lm"], check=True, timeout=100)
    return target


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("-ffast-math", "without -ffast-math"),
        ("-funsafe-math-optimizations", "without -ffast-math"),
        ("-fassociative-math -fno-signed-zeros -fno-trapping-math", "without -ffast-math"),
        ("-freciprocal-math", "without -ffast-math"),
        ("-ffinite-math-only", "without -ffast-math"),
        ("-fno-signed-zeros", "without -ffast-math"),
        pytest.param(
            "-mfpmath=both", "arithmetic in float32", marks=pytest.mark.skipif(not X86, reason="of x86")
        ),
    ],
)
def test_fast_mathematics_are_refused(tmp_path: Path, options: str, message: str) -> None:
    rf.export_c(rf.Linear(2, 3, rng=0), tmp_path / "model.h")
    source = tmp_path / "program.c"
    source.write_text('#include "model.h"\nint main(void) { return 0; }\n')
    with pytest.raises(AssertionError, match=message):
        build(source, "gcc", "-O2", *options.split())
