#!/usr/bin/env bash
# torch 2.13.0, numpy 2.4.6, ml_dtypes 0.6.0: a float64 becomes a bfloat16 by two roundings;
# for float16 it depends on the library.
#
# Behaviour: 1 + 2^-8 + 2^-40 is nearer to the bfloat16 1 + 2^-7 than to 1. ml_dtypes and torch return 1. For float16,
# 1 + 2^-11 + 2^-40 is nearer to 1 + 2^-10: numpy returns that, torch returns 1.
# Seen: bfloat16: ml_dtypes 1.0, torch 1.0, nearest 1.0078125. float16: numpy 1.0009765625, torch 1.0.
# A good engineer guesses that a conversion to a narrower float is correctly rounded, as every conversion of IEEE 754 is,
# so float64 weights rounded by two libraries give the same file. Wrong.
# Mechanism: the value goes to float32 first. It lands on the tie between two short floats there, the bits that broke the
# tie are gone, and the second rounding takes the even neighbour. numpy converts float64 to float16 in one step.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3.11 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -qq --no-compile numpy==2.4.6 ml_dtypes==0.6.0 torch==2.13.0
"$tmp/venv/bin/python" - <<'PY'
import ml_dtypes
import numpy as np
import torch

seen = {}
for bits, short, name in ((7, torch.bfloat16, "bfloat16"), (10, torch.float16, "float16")):
    value = 1 + 2.0 ** -(bits + 1) + 2.0**-40
    low, high = 1.0, 1 + 2.0**-bits
    assert high - value < value - low  # both differences are exact
    array_type = ml_dtypes.bfloat16 if name == "bfloat16" else np.float16
    seen[name] = {
        "NumPy type": float(np.full(64, value).astype(array_type)[63]),
        "torch": torch.full((64,), value, dtype=torch.float64).to(short)[63].item(),
    }
    print(f"{name}: nearest {high}, {seen[name]}")
assert seen["bfloat16"] == {"NumPy type": 1.0, "torch": 1.0}, "the behaviour has changed"
assert seen["float16"] == {"NumPy type": 1 + 2.0**-10, "torch": 1.0}, "the behaviour has changed"
PY
