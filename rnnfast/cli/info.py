"""`rnnfast info`: the build of rnnfast, and its settings on this machine."""

from __future__ import annotations

import argparse

import rnnfast as rf

__all__ = ["add_options", "run", "writes_files"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """This command has none."""


def writes_files(options: argparse.Namespace) -> bool:
    """The command only prints."""
    return False


def run(options: argparse.Namespace) -> int:
    """Print version, kernels compiled and chosen, threads, NumPy and its BLAS."""
    rf.show_config()
    return 0
