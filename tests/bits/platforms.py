"""The kernels' bits on other platforms: builds bits.c for each, runs it, and compares it with bits.txt.

Usage: python tests/bits/platforms.py [NAME ...], with names from PLATFORMS; without names, all. It prints a
line for each, and fails if a platform has other bits, or needs a tool that is not here.

Compilers: zig (`pip install ziglang`) and, for mingw, Debian's gcc-mingw-w64-x86-64. Emulators: qemu-user and
wine64 of Debian, and `pip install wasmtime`. The largest shapes are left out (`bits ISA short`), and nothing
is optimized, because most of the time is the compilers'.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
CSRC = HERE.parents[1] / "csrc"
BUILD = HERE / "build"
FLAGS = ["-std=c11", "-g0", "-DRNNFAST_DEBUG", "-ffp-contract=off", "-Wall", "-Wextra", "-Wshadow", "-Werror"]
FLAGS += ["-Wno-missing-field-initializers", f"-I{CSRC}"]
KERNELS = [CSRC / "clock.c", CSRC / "dispatch.c", CSRC / "cells/table.c", *sorted(CSRC.glob("isa/*.c"))]
JOBS = 2  # compilers at a time


class Missing(Exception):
    """A tool is not here; the message says how to get it."""


class Different(Exception):
    """A platform has other bits, or a program failed."""


@dataclass
class Platform:
    target: str  # of zig; or the name of a compiler
    runner: str  # the emulator; "" for this machine's own processor
    isas: list[str]  # arguments of bits
    flags: tuple[str, ...] = ()
    programs: bool = False  # whether isa.c and threads.c run too


def emulated(target: str, runner: str, *flags: str, isas: tuple[str, ...] = ("scalar",)) -> Platform:
    return Platform(target, runner, list(isas), flags)


X86_64 = ["avx512", "avx512 plain", "avx2", "avx2 plain", "scalar"]
PLATFORMS = {
    "x86_64-musl": Platform("x86_64-linux-musl", "", X86_64, programs=True),
    "windows-zig": Platform("x86_64-windows-gnu", "wine", X86_64, programs=True),
    "windows-mingw": Platform("x86_64-w64-mingw32-gcc", "wine", X86_64, programs=True),
    "aarch64": emulated("aarch64-linux-musl", "qemu-aarch64", isas=("neon", "neon plain", "scalar")),
    "i386": emulated("x86-linux-musl", "qemu-i386", "-msse2", "-mfpmath=sse"),
    "armhf": emulated("arm-linux-musleabihf", "qemu-arm"),
    "ppc64le": emulated("powerpc64le-linux-musl", "qemu-ppc64le"),
    "riscv64": emulated("riscv64-linux-musl", "qemu-riscv64"),
    "s390x": emulated("s390x-linux-musl", "qemu-s390x"),
    "wasm32": emulated("wasm32-wasi", "wasmtime"),
}


def compiler(platform: Platform) -> list[str]:
    """The command that compiles for a platform."""
    if platform.target.endswith("-gcc"):
        if not shutil.which(platform.target):
            raise Missing(f"{platform.target} (Debian: gcc-mingw-w64-x86-64)")
        return [platform.target]
    if shutil.which("zig"):
        zig = ["zig"]
    elif importlib.util.find_spec("ziglang"):
        zig = [sys.executable, "-m", "ziglang"]
    else:
        raise Missing("zig (pip install ziglang)")
    # zig gives clang options of its own, some of which Windows does not use.
    return [*zig, "cc", "-target", platform.target, "-fno-sanitize=all", "-Wno-unused-command-line-argument"]


def emulator(runner: str) -> list[str]:
    """The command before the program."""
    if not runner:
        return []
    if runner == "wasmtime":
        if not importlib.util.find_spec("wasmtime"):
            raise Missing("wasmtime (pip install wasmtime)")
        return [sys.executable, str(HERE / "run_wasm.py")]
    names = ("wine64", "wine", "/usr/lib/wine/wine64") if runner == "wine" else (runner,)
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise Missing(f"{runner} (Debian: {'wine64' if runner == 'wine' else 'qemu-user'})")
    return [found]


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


@cache
def compiled(name: str, source: Path) -> str:
    """The object of a source file for a platform; each is compiled once."""
    platform, out = PLATFORMS[name], BUILD / name / f"{source.parent.name}-{source.stem}.o"
    out.parent.mkdir(parents=True, exist_ok=True)
    done = run([*compiler(platform), *FLAGS, *platform.flags, "-c", str(source), "-o", str(out)])
    if done.returncode:
        raise Different(f"{source.name} does not compile:\n{done.stderr}")
    return str(out)


def build(name: str, program: str, sources: list[Path]) -> str:
    """Compiles a program of this folder with these sources."""
    platform = PLATFORMS[name]
    with ThreadPoolExecutor(JOBS) as pool:
        objects = list(pool.map(lambda source: compiled(name, source), [HERE / f"{program}.c", *sources]))
    out = BUILD / name / f"{program}{'.exe' if platform.runner == 'wine' else ''}"
    done = run(
        [*compiler(platform), *platform.flags, *objects, "-o", str(out), "-lm", *link_options(platform)]
    )
    if done.returncode:
        raise Different(f"{program} does not link:\n{done.stderr}")
    return str(out)


def link_options(platform: Platform) -> list[str]:
    if platform.runner == "wasmtime":
        return []
    return ["-static"] if platform.runner == "wine" else ["-static", "-pthread"]


def stored() -> list[str]:
    """The lines of bits.txt without those of the largest shapes."""
    lines = (HERE / "bits.txt").read_text().splitlines()
    return [line for line in lines if "H=300 " not in line and "K=17000 " not in line]


def check_bits(platform: Platform, command: list[str]) -> list[str]:
    """Runs bits for each instruction set. Returns those that ran."""
    ran, expected = [], stored()
    for isa in platform.isas:
        done = run([*command, *isa.split(), "short"])
        if done.returncode == 3:  # this machine does not run it
            continue
        if done.returncode:
            raise Different(f"{isa} ends with {done.returncode}\n{done.stderr}")
        lines = done.stdout.splitlines()
        if lines != expected:
            others = sorted(set(lines) ^ set(expected))
            raise Different(f"{isa}: {len(lines)} lines; those of one side alone:\n" + "\n".join(others[:10]))
        ran.append(isa)
    if not ran:
        raise Different("no instruction set runs")
    return ran


def check_isa(command: list[str]) -> None:
    """RNNFAST_ISA is obeyed, and without it the best one that runs is chosen."""
    first = run(command, RNNFAST_ISA="")
    chosen, _, *available = first.stdout.split() or ["", ""]
    if first.returncode or not available or chosen != available[0]:
        raise Different(f"isa.c: chose {first.stdout!r}, exit code {first.returncode}\n{first.stderr}")
    for isa in available:
        if run(command, RNNFAST_ISA=isa).stdout.split()[:1] != [isa]:
            raise Different(f"isa.c: RNNFAST_ISA={isa} is not obeyed")
    if run(command, RNNFAST_ISA="mmx").returncode != 2:
        raise Different("isa.c: an unknown RNNFAST_ISA is no error")


def check(name: str) -> str:
    """Builds and runs all that there is for a platform, and returns its verdict."""
    platform = PLATFORMS[name]
    before = emulator(platform.runner)
    verdict = check_bits(platform, [*before, build(name, "bits", KERNELS)])
    if platform.programs:
        check_isa([*before, build(name, "isa", KERNELS)])
        threads = [CSRC / "threads.c", CSRC / "clock.c"]
        done = run([*before, build(name, "threads", threads)])
        if done.returncode:
            raise Different(f"threads.c ends with {done.returncode}\n{done.stderr}")
        verdict += ["choice of kernels", "threads"]
    return f"the stored bits ({', '.join(verdict)})"


def main(names: list[str]) -> int:
    # wine's folder has a link to /. setuptools follows links, so it must not be within the tree.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as wine:
        os.environ |= {"WINEDEBUG": "-all", "WINEPREFIX": wine}
        return check_all(names)


def check_all(names: list[str]) -> int:
    failed = 0
    for name in names or PLATFORMS:
        if name not in PLATFORMS:
            raise SystemExit(f"platforms: expected names among {', '.join(PLATFORMS)}, got {name!r}")
        begin = time.monotonic()
        try:
            verdict = check(name)
        except Missing as missing:
            verdict, failed = f"NOT RUN: there is no {missing}", 1
        except Different as different:
            verdict, failed = f"FAILED: {different}", 1
        how = PLATFORMS[name].runner or "this processor"
        print(f"{name:14} {how:13} {time.monotonic() - begin:4.0f} s  {verdict}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
