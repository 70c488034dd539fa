"""How often tests of reliability repeat what is random, and the figures that they report.

Every run of the tests makes a few repetitions. `make reliability` sets RNNFAST_LONG and makes as many as
docs/reliability.md says.
"""

from __future__ import annotations

import os

LONG = bool(os.environ.get("RNNFAST_LONG"))


def times(quick: int, long: int) -> int:
    """The number of repetitions of this run."""
    return long if LONG else quick
