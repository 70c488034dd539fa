"""A text to train on, in little time, Ctrl-C in the midst of it, and the line a failing command ends with."""

from __future__ import annotations

import signal

from rnnfast.cli.main import main
from rnnfast.nn import optim

TEXT = "".join(f"{n} green bottles hanging on the wall,\nand if {n % 7} should fall ...\n" for n in range(40))
SMALL = ["--hidden", "8", "--batch", "4", "--seq-len", "16", "--lr", "0.02"]


def fails(capsys, *arguments):
    """The one line, beside those that show progress, that a command ends with."""
    assert main([str(argument) for argument in arguments]) == 2
    (error,) = (line for line in capsys.readouterr().err.splitlines() if not line.startswith("epoch "))
    assert error.startswith(f"rnnfast {arguments[0]}: error: ")
    return error


def interrupted_after(updates):
    """An `Adam.step` that presses Ctrl-C after so many updates."""
    update, done = optim.Adam.step, 0

    def step(self):
        nonlocal done
        update(self)
        done += 1
        if done == updates:
            signal.raise_signal(signal.SIGINT)

    return step
