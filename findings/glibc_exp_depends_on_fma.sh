#!/usr/bin/env bash
# glibc 2.36 on x86-64, Python 3.11 with the standard library only: one libm gives
# other bits of exp, sin and tanh on a processor without fused multiply-add.
#
# Behaviour: the same program is run twice on one machine, once as it is and once with the variants for FMA and AVX2
# hidden from the loader by GLIBC_TUNABLES. Of 200000 arguments about 150 values of math.exp differ by one unit in the
# last place, as do some of math.sin and math.tanh; math.sqrt differs nowhere.
# Seen (glibc 2.36): exp 146, sin 137, tanh 17, sqrt 0 of 200000.
# A good engineer guesses that a fixed version of the C library fixes the values: pin the container and the gates of an
# LSTM written with exp are reproducible. Wrong: the loader picks one of several builds of a function by the processor.
# Mechanism: exp is compiled several times, with and without FMA, behind an indirect symbol. A fused product skips a
# rounding in the polynomial. (expf and tanhf of this version work in float64 inside, and did not differ.)
set -euo pipefail
if [ "$(uname -m)" != x86_64 ] || ! grep -qw fma /proc/cpuinfo || ! getconf GNU_LIBC_VERSION > /dev/null 2>&1; then
    echo "SKIP: needs glibc on an x86-64 processor with FMA"
    exit 77
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
getconf GNU_LIBC_VERSION
cat > "$tmp/values.py" <<'PY'
import array
import math
import random
import sys

random.seed(1)
x = [random.uniform(-10, 10) for _ in range(200000)]
with open(sys.argv[1], "wb") as file:
    for f in (math.exp, math.sin, math.tanh, lambda v: math.sqrt(abs(v))):
        array.array("d", map(f, x)).tofile(file)
PY
python3.11 "$tmp/values.py" "$tmp/fma"
GLIBC_TUNABLES=glibc.cpu.hwcaps=-FMA,-FMA4,-AVX2 python3.11 "$tmp/values.py" "$tmp/plain"
python3.11 - "$tmp" <<'PY'
import array
import math
import sys


def read(name):
    values = array.array("d")
    with open(f"{sys.argv[1]}/{name}", "rb") as file:
        values.frombytes(file.read())
    return [values[start : start + 200000] for start in range(0, 800000, 200000)]


different = {}
for name, a, b in zip(("exp", "sin", "tanh", "sqrt"), read("fma"), read("plain")):
    different[name] = sum(u != v for u, v in zip(a, b))
    assert all(abs(u - v) <= 2 * math.ulp(u) for u, v in zip(a, b))
    print(f"{name}: {different[name]} of {len(a)} values differ")
assert different["exp"] > 0 and different["sin"] > 0 and different["sqrt"] == 0, "the behaviour has changed"
PY
