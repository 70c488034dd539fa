"""The CPU quotas that Linux's control groups (version 1 and 2) set to a process, as a number of cores."""

from __future__ import annotations

import os
from collections.abc import Iterator

__all__ = ["cores"]


def cores(most: int, root: str = "/") -> int:
    """The number of cores that the smallest quota of this process allows, `most` at most.

    Every group that the process is in may have a quota, and so may all groups above it. A quota of one and
    a half cores counts as two: two threads use all of it, and one would leave a third unused.

    Parameters
    ----------
    most : int
        What to return without a quota.
    root : str
        Where the files are; another folder for tests.
    """
    for allowed, period in _quotas(root):
        most = min(most, max(1, -(-allowed // period)))
    return most


def _quotas(root: str) -> Iterator[tuple[int, int]]:
    """The quotas of this process's groups and of all above them: microseconds, in periods of microseconds."""
    for controllers, path in _groups(root):
        if not controllers:  # version 2
            mounts, names = ["", "unified"], ["cpu.max"]
        elif "cpu" in controllers.split(","):
            mounts, names = ["cpu", controllers], ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
        else:
            continue
        for mount in mounts:
            folders = [part for part in path.split("/") if part]
            for depth in range(len(folders) + 1):
                folder = os.path.join(root, "sys/fs/cgroup", mount, *folders[:depth])
                numbers = " ".join(_text(os.path.join(folder, name)) for name in names).split()
                if len(numbers) == 2 and all(number.isdecimal() for number in numbers) and int(numbers[1]):
                    yield int(numbers[0]), int(numbers[1])


def _groups(root: str) -> Iterator[tuple[str, str]]:
    """The controllers and the path of each group of this process; version 2 names no controllers."""
    yield "", "/"  # a container sees its own group there, whatever its path is outside
    yield "cpu", "/"
    for line in _text(os.path.join(root, "proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2) if line.count(":") > 1 else ("", "none", "")
        if ".." not in path.split("/"):
            yield controllers, path


def _text(path: str) -> str:
    """The text of the file; "" if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
