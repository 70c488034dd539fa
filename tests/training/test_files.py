"""Files: which are read, which are written and replaced, what errors name."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys

import pytest

from rnnfast.files import open_regular, written_whole

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs pipes, links and modes of POSIX")


def write(path, data: bytes = b"new") -> None:
    with written_whole(path) as file:
        file.write(data)


@posix
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755, 0o444])
def test_a_file_keeps_its_mode_from_the_first_byte(tmp_path, mode):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(mode)
    with written_whole(path) as file:
        (draft,) = set(tmp_path.iterdir()) - {path}
        assert stat.S_IMODE(draft.stat().st_mode) == mode
        file.write(b"new")
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert path.read_bytes() == b"new"


@posix
def test_a_new_file_has_the_mode_of_any_other(tmp_path):
    write(tmp_path / "file")
    (tmp_path / "other").write_bytes(b"")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


@posix
def test_only_regular_files_are_replaced(tmp_path):
    pipe, folder, loop, link = (tmp_path / name for name in ("pipe", "folder", "loop", "link"))
    os.mkfifo(pipe)
    folder.mkdir()
    loop.symlink_to(loop)
    link.symlink_to(pipe)
    for path in (pipe, folder, loop, link, folder / "..", os.devnull):
        before = os.lstat(path)
        with pytest.raises(OSError, match=f"{re.escape(str(path))}'$"):
            write(path)
        assert os.lstat(path).st_ino == before.st_ino
    assert len(list(tmp_path.iterdir())) == 4


@posix
def test_a_link_keeps_its_target(tmp_path):
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "file", tmp_path / "link"
    link.symlink_to(target)
    for data in (b"first", b"second"):  # at first to nothing
        write(link, data)
        assert link.is_symlink()
        assert target.read_bytes() == data


def test_names_may_be_as_long_as_the_disk_allows(tmp_path):
    path = tmp_path / ("n" * 255)
    try:
        path.write_bytes(b"old")
    except OSError:
        pytest.skip("this disk allows no such name")
    write(path)
    assert path.read_bytes() == b"new"


def test_errors_name_the_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    for wrong in (tmp_path / "absent" / "file", path / "file"):
        with pytest.raises(OSError, match=f"{re.escape(str(wrong))}'$"):
            write(wrong)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    for name in ("fsync", "replace", "chmod"):
        with monkeypatch.context() as patched:
            patched.setattr(os, name, full)
            with pytest.raises(OSError, match=f"no space: {re.escape(repr(str(path)))}$"):
                write(path)
    with pytest.raises(FileNotFoundError, match=r"elsewhere'$"), written_whole(path):
        (tmp_path / "elsewhere").read_bytes()
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == [b"old"]


@posix
def test_only_regular_files_are_opened(tmp_path):
    pipe, folder, loop, link, good = (tmp_path / name for name in ("pipe", "folder", "loop", "link", "good"))
    os.mkfifo(pipe)  # without a writer: to open it would never end
    folder.mkdir()
    loop.symlink_to(loop)
    link.symlink_to(good)
    for path in (pipe, folder, loop, tmp_path / "absent", os.devnull, "/dev/zero"):
        with pytest.raises(OSError, match=f"{re.escape(str(path))}'$"):
            open_regular(path)
    good.write_bytes(b"1 2 3")
    for path in (good, str(good), os.fsencode(good), link):
        with open_regular(path, most=5) as file:
            assert file.read() == b"1 2 3"
    with pytest.raises(ValueError, match=r"good: expected a file of at most 4 bytes, got 5"):
        open_regular(good, most=4)


@posix
def test_a_pipe_that_takes_a_files_name_is_refused_at_once(tmp_path, monkeypatch):
    path, regular = tmp_path / "pipe", tmp_path / "file"
    os.mkfifo(path)
    regular.write_bytes(b"")
    status = os.stat(regular)
    monkeypatch.setattr(os, "stat", lambda *_, **__: status)
    with pytest.raises(OSError, match="expected a regular file"):
        open_regular(path)


def test_a_number_is_no_name_of_a_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with path.open("rb") as file:
        for wrong in (file.fileno(), True, None, file, 1.5):
            with pytest.raises(TypeError, match="path: expected the name of a file"):
                write(wrong)
            with pytest.raises(TypeError, match="path: expected the name of a file"):
                open_regular(wrong)
        assert file.read() == b"old"  # it is still open
    with pytest.raises(ValueError, match="path: expected the name of a file"):
        open_regular("a\0b")
