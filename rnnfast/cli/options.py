"""Types of command-line options: what argparse checks before a command starts."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import TypeVar

__all__ = [
    "non_negative",
    "positive",
    "positive_integer",
    "probability",
    "rate",
    "seed",
    "share",
    "shares",
    "thread_count",
    "thread_counts",
    "whole_number",
]

Number = TypeVar("Number", int, float)


def _option(
    read: Callable[[str], Number], holds: Callable[[Number], bool], what: str
) -> Callable[[str], Number]:
    """A type for argparse: it calls `read` and a check; its error says what was expected."""

    def option(text: str) -> Number:
        try:
            number = read(text)
        except ValueError:
            number = None
        if number is None or not holds(number):
            raise argparse.ArgumentTypeError(f"expected {what}, got {text!r}")
        return number

    return option


whole_number = _option(int, lambda n: n >= 0, "an integer from 0")
positive_integer = _option(int, lambda n: n >= 1, "an integer from 1")
thread_count = _option(int, lambda n: 1 <= n <= 256, "an integer from 1 to 256")
seed = _option(int, lambda n: 0 <= n < 2**64, "an integer from 0 to 2**64 - 1")
non_negative = _option(float, lambda n: 0.0 <= n < math.inf, "a number from 0")
positive = _option(float, lambda n: 0.0 < n < math.inf, "a number above 0")
probability = _option(float, lambda n: 0.0 < n <= 1.0, "a number above 0, at most 1")
share = _option(float, lambda n: 0.0 < n < 1.0, "a number between 0 and 1")
rate = _option(float, lambda n: 0.0 <= n < 1.0, "a number from 0 to below 1")


def shares(text: str) -> list[float]:
    """Numbers between 0 and 1, separated by commas, in ascending order."""
    return sorted({share(part) for part in text.split(",")})


def thread_counts(text: str) -> list[int]:
    """Numbers of threads, separated by commas."""
    return [thread_count(part) for part in text.split(",")]
