"""The fused multiply-add in software (csrc/simd/fma.h) is rounded once, against exact rational arithmetic."""

from __future__ import annotations

import ctypes
import math
import random
import shutil
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import pytest

CSRC = Path(__file__).parents[2] / "csrc"

PROGRAM = """
#include "simd/fma.h"
float fma_float32(float a, float b, float c) { return fma_of_floats(a, b, c); }
double fma_float64(double a, double b, double c) { return fma_of_doubles(a, b, c); }
"""


class Format(NamedTuple):
    """A binary floating-point type."""

    name: str
    ctype: type
    letters: str  # of struct: the number, its bits
    digits: int
    least: int  # the least subnormal number is 2^least
    most: int  # all numbers are below 2^most


FORMATS = [
    Format("float32", ctypes.c_float, "fI", 24, -149, 128),
    Format("float64", ctypes.c_double, "dQ", 53, -1074, 1024),
]
each_format = pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.name)


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> ctypes.CDLL:
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None or sys.platform == "win32" or not CSRC.is_dir():
        pytest.skip("there is no C compiler (cc, gcc or clang), or no csrc/ beside the tests")
    folder = tmp_path_factory.mktemp("fma")
    (folder / "fma.c").write_text(PROGRAM)
    flags = ["-std=c11", "-O1", "-ffp-contract=off", "-shared", "-fPIC", f"-I{CSRC}"]
    subprocess.run([compiler, *flags, str(folder / "fma.c"), "-o", str(folder / "fma.so")], check=True)
    return ctypes.CDLL(str(folder / "fma.so"))


def computed(library, kind: Format, a: float, b: float, c: float) -> float:
    function = getattr(library, f"fma_{kind.name}")
    function.argtypes, function.restype = [kind.ctype] * 3, kind.ctype
    return function(a, b, c)


def rounded(exact: Fraction, kind: Format) -> float:
    """The nearest number of a format; of two, the one with an even last digit."""
    if exact == 0:
        return 0.0
    size = abs(exact)
    top = size.numerator.bit_length() - size.denominator.bit_length()
    top -= size < Fraction(2) ** top  # 2^top <= size < 2^(top + 1)
    unit = Fraction(2) ** max(top - kind.digits + 1, kind.least)
    nearest = round(size / unit) * unit  # Python rounds half to even
    number = math.inf if nearest >= Fraction(2) ** kind.most else float(nearest)
    return number if exact > 0 else -number


def expected(kind: Format, a: float, b: float, c: float) -> float:
    """a * b + c rounded once, for finite numbers."""
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:  # the sign of an exact zero: that of both terms if they have the same, else +
        product_sign = math.copysign(1, a) * math.copysign(1, b)
        return -0.0 if product_sign < 0 and math.copysign(1, c) < 0 else 0.0
    return rounded(exact, kind)


def assert_is(library, kind: Format, a: float, b: float, c: float) -> None:
    got, want = computed(library, kind, a, b, c), expected(kind, a, b, c)
    same = got == want and math.copysign(1, got) == math.copysign(1, want)
    assert same, f"fma({a.hex()}, {b.hex()}, {c.hex()}) = {got.hex()}, expected {want.hex()}"


@each_format
def test_random_numbers_of_all_exponents_and_patterns(library, kind):
    rng = random.Random(1)
    exponents, fraction = 2 * kind.most, kind.digits - 1

    def number() -> float:
        near_one, root = kind.most - 1, kind.most // 2
        exponent = rng.choice(
            [
                rng.randrange(exponents - 1),
                rng.randrange(3),
                exponents - 2 - rng.randrange(2),
                near_one + rng.randrange(-4, 5),
                root + rng.randrange(-fraction, fraction),
            ]
        )
        some, one = rng.getrandbits(fraction), 1 << rng.randrange(fraction)
        digits = rng.choice([0, 1, (1 << fraction) - 1, some, some >> 12 << 12, one])
        sign = rng.getrandbits(1) << (exponents.bit_length() - 1 + fraction)
        bits = sign | exponent << fraction | digits
        letter, word = kind.letters
        return struct.unpack(letter, struct.pack(word, bits))[0]

    for _ in range(2000):
        assert_is(library, kind, number(), number(), number())


@each_format
def test_halves_are_decided_by_the_last_digit_and_by_any_rest(library, kind):
    """The product ends half a unit above a number; c is zero, or tiny on either side of it."""
    rng = random.Random(2)
    half = kind.digits // 2
    for _ in range(500):
        a, b = 1 + 2.0**-half * rng.choice([1, 3]), 1 + 2.0 ** -(kind.digits - half)
        tiny, small = 2.0 ** (kind.least + 5), 2.0**-kind.digits
        for c in (0.0, tiny, -tiny, small, -small):
            sign, scale = rng.choice([-1, 1]), 2.0 ** rng.randrange(-20, 20)
            assert_is(library, kind, sign * a * scale, b, sign * c)


@each_format
def test_cancellation_leaves_the_rounding_error_of_the_product(library, kind):
    rng = random.Random(3)
    for _ in range(500):
        a, b = (rounded(Fraction(rng.uniform(0.5, 2) * 2.0 ** rng.randrange(-30, 30)), kind) for _ in "ab")
        product = rounded(Fraction(a) * Fraction(b), kind)
        unit = 2.0 ** (math.frexp(product)[1] - kind.digits)
        for steps in (-1, 0, 1):
            assert_is(library, kind, a, b, -product + steps * unit)


@each_format
def test_subnormal_results_and_operands(library, kind):
    rng = random.Random(4)
    for _ in range(1000):
        root = kind.least // 2 + rng.randrange(-3, kind.digits)
        a = rounded(Fraction(rng.uniform(1, 2)) * Fraction(2) ** root, kind)
        scale = Fraction(2) ** (kind.least - root + rng.randrange(30))
        b = rounded(Fraction(rng.uniform(-2, 2)) * scale, kind)
        c = rng.randrange(-(1 << kind.digits), 1 << kind.digits) * 2.0**kind.least
        assert_is(library, kind, a, b, c)
        assert_is(library, kind, c, rng.choice([-0.75, 0.5, 1.5]), c)


@each_format
def test_overflow_goes_to_infinity_only_if_the_sum_does(library, kind):
    largest = (2.0 - 2.0 ** (1 - kind.digits)) * 2.0 ** (kind.most - 1)
    half_unit = 2.0 ** (kind.most - kind.digits - 1)
    for a, b, c in (
        (largest, 2.0, -largest),
        (largest, 2.0, 0.0),
        (largest, 1.0, half_unit),
        (largest, 1.0, half_unit * (1 - 2.0**-10)),
        (-largest, 1.0, -half_unit),
        (2.0 ** (kind.most // 2), 2.0 ** (kind.most // 2), -largest),
        (largest, largest, -largest),
        (largest, 2.0**kind.least, 1.0),
    ):
        assert_is(library, kind, a, b, c)


@each_format
def test_zeros_infinities_and_nan(library, kind):
    for a, b, c in ((0.0, 5.0, 0.0), (-0.0, 5.0, -0.0), (-0.0, 5.0, 0.0), (1.0, -1.0, 1.0), (0.0, -5.0, 7.0)):
        assert_is(library, kind, a, b, c)
    least = 2.0**kind.least
    assert math.copysign(1, computed(library, kind, -least, least, 0.0)) == -1  # not the sign of -0 + 0
    assert computed(library, kind, math.inf, 2.0, 1.0) == math.inf
    assert computed(library, kind, 1e30, 1e30 if kind.most == 128 else 1e300, -math.inf) == -math.inf
    inf, nan = math.inf, math.nan
    for a, b, c in ((inf, 0.0, 1.0), (inf, 1.0, -inf), (nan, 1.0, 1.0), (1.0, 1.0, nan)):
        assert math.isnan(computed(library, kind, a, b, c))
