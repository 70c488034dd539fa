"""CPU quotas of Linux's control groups, read from a tree of files made for the test."""

from __future__ import annotations

import pytest

from rnnfast._core import quota

V2, V1 = "0::/user/app\n", "5:memory:/user/app\n3:cpu,cpuacct:/user/app\n"
TREES = {  # what /proc/self/cgroup says, the files, and the cores out of 64
    "nothing": (None, {}, 64),
    "no quota": (V2, {"user/app/cpu.max": "max 100000"}, 64),
    "its own": (V2, {"user/app/cpu.max": "300000 100000"}, 3),
    "a parent's": (V2, {"user/app/cpu.max": "max 100000", "user/cpu.max": "100000 100000"}, 1),
    "the smallest": (V2, {"user/app/cpu.max": "800000 100000", "user/cpu.max": "400000 200000"}, 2),
    "a larger parent's": (V2, {"user/app/cpu.max": "100000 50000", "user/cpu.max": "900000 100000"}, 2),
    "one and a half": (V2, {"user/app/cpu.max": "150000 100000"}, 2),
    "half a core": (V2, {"user/app/cpu.max": "50000 100000"}, 1),
    "more than there are": (V2, {"cpu.max": "9900000 100000"}, 64),
    "a container's": ("0::/\n", {"cpu.max": "200000 100000"}, 2),
    "a container's, unnamed": (None, {"cpu.max": "200000 100000"}, 2),
    "outside the namespace": ("0::/../other\n", {"other/cpu.max": "100000 100000"}, 64),
    "version 1": (
        V1,
        {"cpu/user/app/cpu.cfs_quota_us": "100000", "cpu/user/app/cpu.cfs_period_us": "100000"},
        1,
    ),
    "version 1, none": (
        V1,
        {"cpu/user/app/cpu.cfs_quota_us": "-1", "cpu/user/app/cpu.cfs_period_us": "100000"},
        64,
    ),
    "version 1, a parent's": (
        V1,
        {"cpu,cpuacct/user/cpu.cfs_quota_us": "50000", "cpu,cpuacct/user/cpu.cfs_period_us": "20000"},
        3,
    ),
    "version 1, a container's": (
        "3:cpu,cpuacct:/docker/4f\n",
        {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"},
        1,
    ),
    "both versions": (
        "0::/user\n3:cpu:/app\n",
        {
            "unified/user/cpu.max": "700000 100000",
            "cpu/app/cpu.cfs_quota_us": "500000",
            "cpu/app/cpu.cfs_period_us": "100000",
        },
        5,
    ),
    "nested, the middle's": (
        "0::/a/b/c/d\n",
        {
            "a/cpu.max": "900000 100000",
            "a/b/cpu.max": "400000 100000",
            "a/b/c/cpu.max": "max 100000",
            "a/b/c/d/cpu.max": "700000 100000",
            "a/other/cpu.max": "100000 100000",
        },
        4,
    ),
    "nested, one level without a file": (
        "0::/a/b/c\n",
        {"a/cpu.max": "600000 100000", "a/b/c/cpu.max": "max 100000"},
        6,
    ),
    "version 1, nested": (
        "4:cpu:/a/b/c\n",
        {
            "cpu/a/cpu.cfs_quota_us": "800000",
            "cpu/a/cpu.cfs_period_us": "100000",
            "cpu/a/b/cpu.cfs_quota_us": "150000",
            "cpu/a/b/cpu.cfs_period_us": "50000",
            "cpu/a/b/c/cpu.cfs_quota_us": "-1",
            "cpu/a/b/c/cpu.cfs_period_us": "100000",
        },
        3,
    ),
    "both versions, nested": (
        "0::/a/b\n4:cpu:/c/d\n",
        {
            "unified/a/cpu.max": "500000 100000",
            "unified/a/b/cpu.max": "max 100000",
            "cpu/c/cpu.cfs_quota_us": "900000",
            "cpu/c/cpu.cfs_period_us": "100000",
        },
        5,
    ),
    "no numbers": ("gibberish\n0::/user/app\n", {"user/app/cpu.max": "", "user/cpu.max": "few many"}, 64),
    "no period": (V2, {"user/app/cpu.max": "100000 0"}, 64),
    "no bytes of text": (V2, {"user/app/cpu.max": "\u20ac\0"}, 64),
}


@pytest.mark.parametrize("name", TREES)
def test_the_smallest_quota_counts(name, tmp_path):
    groups, files, cores = TREES[name]
    if groups is not None:
        files = {"../../../proc/self/cgroup": groups, **files}
    mount = tmp_path / "sys/fs/cgroup"
    mount.mkdir(parents=True)
    for path, text in files.items():
        file = mount / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert quota.cores(64, str(tmp_path)) == cores
