"""The promises of checkpoints: whole or not at all, what went in comes out, what does not fit is refused."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.arrays import assert_equal

import rnnfast as rf
from rnnfast.training import archive, model_arrays, read_checkpoint, write_checkpoint


def model_and_optimizer(
    hidden: int = 4, dtype: str = "float32", seed: int = 0
) -> tuple[rf.Sequential, rf.optim.Optimizer]:
    model = rf.Sequential(
        rf.LSTM(3, hidden, dtype=dtype, rng=seed), rf.Linear(hidden, 2, dtype=dtype, rng=seed + 1)
    )
    return model, rf.optim.Adam(model.parameters(), lr=0.01)


def train_a_little(model: rf.Sequential, optimizer: rf.optim.Optimizer, steps: int = 2) -> None:
    rng = np.random.default_rng(steps)
    for _ in range(steps):
        optimizer.zero_grad()
        rf.loss_and_grad(
            model, rf.losses.mse, rng.normal(size=(4, 2, 3)).astype(model.dtype), rng.normal(size=(4, 2, 2))
        )
        optimizer.step()


def snapshot(model: rf.Sequential, optimizer: rf.optim.Optimizer) -> dict[str, Any]:
    return {
        **model.state_dict(),
        **{f"optimizer {name}": value for name, value in optimizer.state_dict().items()},
    }


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A checkpoint of a model and an optimizer that have taken two steps."""
    model, optimizer = model_and_optimizer()
    train_a_little(model, optimizer)
    rf.save(tmp_path / "saved.npz", model, optimizer, metadata={"text": "äöü", "sizes": [3, 4]})
    return tmp_path / "saved.npz"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_saved_loads_and_trains_on_to_the_same_bits(tmp_path: Path, dtype: str) -> None:
    model, optimizer = model_and_optimizer(dtype=dtype)
    train_a_little(model, optimizer)
    path = str(tmp_path / "model")
    rf.save(path, model, optimizer)
    other, other_optimizer = model_and_optimizer(dtype=dtype, seed=7)
    assert rf.load(path, other, other_optimizer) == {}
    assert_equal(snapshot(other, other_optimizer), snapshot(model, optimizer))
    train_a_little(model, optimizer, 3)
    train_a_little(other, other_optimizer, 3)
    assert_equal(snapshot(other, other_optimizer), snapshot(model, optimizer))


def test_metadata_comes_back_and_the_optimizer_may_be_left_aside(saved: Path) -> None:
    model, optimizer = model_and_optimizer(seed=7)
    untouched = optimizer.state_dict()
    assert rf.load(saved, model) == {"text": "äöü", "sizes": [3, 4]}
    assert_equal(optimizer.state_dict(), untouched)
    arrays, metadata = read_checkpoint(saved)
    assert metadata["text"] == "äöü"
    assert_equal(model_arrays(arrays), model.state_dict())
    other, _ = model_and_optimizer(seed=8)
    other.load_state_dict(model_arrays(arrays))
    assert_equal(other.state_dict(), model.state_dict())


def test_arrays_of_every_plain_kind_and_layout_come_back(tmp_path: Path) -> None:
    arrays = {
        "float": np.arange(6.0).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "view": np.arange(12)[::2],
        "empty": np.zeros((0, 4), np.float32),
        "scalar": np.array(3, np.uint8),
        "bool": np.array([True, False]),
        "text": np.array("Wörter"),
    }
    write_checkpoint(tmp_path / "file", arrays, {})
    got, metadata = read_checkpoint(tmp_path / "file")
    assert metadata == {}
    assert got.keys() == arrays.keys()
    for name, array in arrays.items():
        assert got[name].dtype == array.dtype
        assert got[name].shape == array.shape
        assert np.array_equal(got[name], array)
        assert got[name].flags.c_contiguous
        assert got[name].flags.writeable


def test_the_file_is_a_plain_npz_and_the_same_bytes_every_time(saved: Path, tmp_path: Path) -> None:
    with np.load(saved, allow_pickle=False) as file:
        assert json.loads(file["rnnfast"].tobytes())["format"] == "rnnfast checkpoint"
        assert file["model.0.weight_ih_l0"].shape == (16, 3)
        assert str(file["optimizer.kind"]) == "Adam"
    model, optimizer = model_and_optimizer()
    train_a_little(model, optimizer)
    rf.save(tmp_path / "again.npz", model, optimizer, metadata={"text": "äöü", "sizes": [3, 4]})
    assert (tmp_path / "again.npz").read_bytes() == saved.read_bytes()


def test_a_failed_write_leaves_the_old_file_and_no_other(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()
    model, optimizer = model_and_optimizer(seed=3)
    for name in ("fsync", "replace"):

        def fail(*arguments: Any) -> None:
            raise OSError("no space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail)
            with pytest.raises(OSError, match="no space left"):
                rf.save(saved, model, optimizer)
        assert saved.read_bytes() == before
        assert os.listdir(saved.parent) == [saved.name]


def test_an_interrupted_write_leaves_the_old_file_and_no_other(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()

    def interrupt(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(np.lib.format, "write_array", interrupt)
    with pytest.raises(KeyboardInterrupt):
        rf.save(saved, model_and_optimizer(seed=3)[0])
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


@pytest.mark.skipif(os.name != "posix", reason="permissions and links of POSIX")
def test_the_file_has_the_usual_permissions_and_a_link_stays_a_link(saved: Path) -> None:
    (saved.parent / "plain").write_bytes(b"")
    link = saved.parent / "link"
    link.symlink_to(saved)
    rf.save(link, model_and_optimizer(seed=3)[0])
    assert link.is_symlink()
    assert saved.stat().st_mode == (saved.parent / "plain").stat().st_mode
    rf.load(saved, model_and_optimizer()[0])


def test_what_cannot_be_kept_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(TypeError, match=r"arrays\['x'\]: expected numbers, bools or text, got object"):
        write_checkpoint(path, {"x": np.array([None])}, {})
    with pytest.raises(ValueError, match="'rnnfast' is the header's own name"):
        write_checkpoint(path, {"rnnfast": np.ones(3)}, {})
    with pytest.raises(TypeError, match="metadata: expected what JSON can hold"):
        rf.save(path, model_and_optimizer()[0], metadata={"array": np.ones(3)})
    with pytest.raises(OSError, match="No such file"):
        rf.save(tmp_path / "no" / "folder", model_and_optimizer()[0])
    assert os.listdir(tmp_path) == []


def rewrite(path: Path, change: Callable[[dict[str, bytes]], Any], **options: Any) -> None:
    """Write the archive anew with its members changed."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def npy(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), **options)
    return file.getvalue()


def header(**entries: Any) -> bytes:
    text = json.dumps({"format": "rnnfast checkpoint", "version": 1, "metadata": {}} | entries)
    return npy(np.frombuffer(text.encode(), np.uint8))


WEIGHT = "model.0.weight_ih_l0.npy"
HUGE = npy(np.zeros((16, 3), np.float32)).replace(b"(16, 3), }          ", b"(16000000000, 3), } ")
assert b"16000000000" in HUGE
DAMAGES: dict[str, tuple[Callable[[dict[str, bytes]], Any], str]] = {
    "no header": (lambda members: members.pop("rnnfast.npy"), "no 'rnnfast' entry"),
    "another format": (
        lambda members: members.update({"rnnfast.npy": header(format="other")}),
        "expected the format",
    ),
    "a later version": (
        lambda members: members.update({"rnnfast.npy": header(version=2)}),
        "expected version 1, got 2",
    ),
    "no metadata": (lambda members: members.update({"rnnfast.npy": header(metadata=3)}), "no metadata"),
    "no JSON": (lambda members: members.update({"rnnfast.npy": npy(np.arange(9, dtype=np.uint8))}), ""),
    "deep JSON": (
        lambda members: members.update({"rnnfast.npy": npy(np.frombuffer(b"[" * 200_000, np.uint8))}),
        "",
    ),
    "an object": (
        lambda members: members.update({WEIGHT: npy(np.array([{}]), allow_pickle=True)}),
        "expected numbers, bools or text, got object",
    ),
    "a lie about the size": (lambda members: members.update({WEIGHT: HUGE}), "does not match"),
    "another version of arrays": (
        lambda members: members.update({WEIGHT: npy(np.ones((16, 3), np.float32), version=(2, 0))}),
        "expected .npy version 1.0",
    ),
    "a header of an array that ends early": (
        lambda members: members.update({WEIGHT: npy(np.ones((16, 3), np.float32)).replace(b"), }", b"    ")}),
        "EOF in multi-line statement",
    ),
    "no array": (lambda members: members.update({WEIGHT: b"hello"}), ""),
    "an empty member": (lambda members: members.update({WEIGHT: b""}), ""),
    "a foreign member": (lambda members: members.update({"read.me": b"hello"}), "expected .npy entries only"),
    "a missing array": (
        lambda members: members.pop(WEIGHT),
        "does not fit the model: missing model.0.weight_ih_l0",
    ),
    "another array": (lambda members: members.update({"model.x.npy": npy(1.0)}), "unexpected model.x"),
    "another shape": (
        lambda members: members.update({WEIGHT: npy(np.ones((3, 16), np.float32))}),
        r"model.0.weight_ih_l0: expected float32 of shape (16, 3), got float32 of shape (3, 16)",
    ),
    "another dtype": (
        lambda members: members.update({WEIGHT: npy(np.ones((16, 3)))}),
        r"model.0.weight_ih_l0: expected float32 of shape (16, 3), got float64 of shape (16, 3)",
    ),
    "no optimizer": (
        lambda members: [members.pop(name) for name in list(members) if name.startswith("optimizer")],
        "holds no optimizer state",
    ),
    "another optimizer": (
        lambda members: members.update({"optimizer.kind.npy": npy("SGD")}),
        "expected that of Adam, got that of SGD",
    ),
    "a damaged average": (
        lambda members: members.update({"optimizer.exp_avg.0.npy": npy(np.ones(3, np.float32))}),
        "exp_avg.0: expected float32 of shape",
    ),
}


def assert_load_is_refused(path: Path, message: str = "") -> None:
    """Loading is one line that opens with the path, and changes nothing."""
    model, optimizer = model_and_optimizer(seed=7)
    train_a_little(model, optimizer, 1)
    before = snapshot(model, optimizer)
    with pytest.raises(ValueError, match=re.escape(message) or None) as caught:
        rf.load(path, model, optimizer)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert_equal(snapshot(model, optimizer), before)


@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_a_file_that_does_not_fit_is_refused(saved: Path, damage: str) -> None:
    change, message = DAMAGES[damage]
    rewrite(saved, change)
    assert_load_is_refused(saved, message)


def test_compressed_files_are_refused_however_small(saved: Path) -> None:
    rewrite(saved, lambda members: None, compression=zipfile.ZIP_DEFLATED)
    assert_load_is_refused(saved, "expected it neither compressed nor encrypted")
    bomb = npy(np.zeros((2**24,), np.float32))
    rewrite(saved, lambda members: members.update({WEIGHT: bomb}), compression=zipfile.ZIP_DEFLATED)
    assert saved.stat().st_size < 2**17
    assert_load_is_refused(saved, "expected it neither compressed nor encrypted")


def test_overlapping_members_are_refused(saved: Path) -> None:
    with zipfile.ZipFile(saved) as archive:
        info = archive.getinfo(WEIGHT)
    data = bytearray(saved.read_bytes())
    start = data.rfind(b"PK\x05\x06")
    directory = int.from_bytes(data[start + 16 : start + 20], "little")
    name = WEIGHT.encode()
    entry = data[data.rfind(b"PK\x01\x02", 0, data.rfind(name)) : data.rfind(name) + len(name)]
    fakes = b""
    for number in range(200):  # more entries that all point to one member
        fakes += bytes(entry).replace(name, f"model.{number:0{len(name) - 10}}.npy".encode())
    assert info.file_size * 200 > len(data)
    data[start:start] = fakes
    end = start + len(fakes)
    count = int.from_bytes(data[end + 10 : end + 12], "little") + 200
    data[end + 8 : end + 12] = count.to_bytes(2, "little") * 2
    data[end + 12 : end + 16] = (end - directory).to_bytes(4, "little")
    saved.write_bytes(data)
    with zipfile.ZipFile(saved) as archive:
        assert len(archive.infolist()) == count
    assert_load_is_refused(saved, "more bytes declared than the file has")


def test_two_members_of_one_name_are_refused(saved: Path) -> None:
    with zipfile.ZipFile(saved, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(WEIGHT, npy(np.ones((16, 3), np.float32)))
    assert_load_is_refused(saved, "two entries of one name")


def test_cut_and_flipped_files_are_refused_or_read_the_same(saved: Path) -> None:
    data = saved.read_bytes()
    for length in np.linspace(0, len(data) - 1, 40, dtype=int):
        saved.write_bytes(data[:length])
        assert_load_is_refused(saved)
    want, _ = model_and_optimizer(seed=7)
    saved.write_bytes(data)
    rf.load(saved, want)
    refusals = []
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(data), 150):
        spoilt = bytearray(data)
        spoilt[place] ^= 1 << rng.integers(8)
        saved.write_bytes(spoilt)
        model, optimizer = model_and_optimizer(seed=8)
        try:
            rf.load(saved, model, optimizer)
        except ValueError as error:
            refusals.append(str(error))
        else:  # a date, an attribute: nothing that is read
            assert_equal(model.state_dict(), want.state_dict())
    assert len(refusals) > 100
    assert all(refusal.startswith(f"{saved}: ") for refusal in refusals)


@pytest.mark.skipif(sys.platform == "win32", reason="needs pipes and devices of POSIX")
def test_only_regular_files_are_read(tmp_path: Path) -> None:
    pipe, folder = tmp_path / "pipe", tmp_path / "folder"
    os.mkfifo(pipe)  # without a writer: to open it would never end
    folder.mkdir()
    model, optimizer = model_and_optimizer()
    for path in (pipe, folder, "/dev/zero", os.devnull):
        for read in (
            lambda path=path: rf.load(path, model, optimizer),
            lambda path=path: read_checkpoint(path),
            lambda path=path: rf.save(path, model),
            lambda path=path: rf.fit(
                model,
                "mse",
                [(np.zeros((1, 1, 3)), np.zeros((1, 1, 2)))],
                optimizer,
                resume=path,
                progress=False,
            ),
        ):
            with pytest.raises(OSError, match=f"{re.escape(str(path))}'$"):
                read()


def test_a_number_is_no_file_and_stays_open(saved: Path) -> None:
    model, optimizer = model_and_optimizer()
    with saved.open("rb") as file:
        for wrong in (file.fileno(), True, None, file):
            for use in (
                lambda wrong=wrong: rf.load(wrong, model),
                lambda wrong=wrong: rf.save(wrong, model),
                lambda wrong=wrong: read_checkpoint(wrong),
            ):
                with pytest.raises(TypeError, match=r"^path: expected the name of a file"):
                    use()
        assert file.read(2) == b"PK"
    assert rf.load(os.fsencode(saved), model, optimizer)
    for wrong in ({"hidden": 3}, model):
        with pytest.raises(TypeError, match=r"^optimizer: expected an Optimizer or None, got"):
            rf.save(saved, model, wrong)


def claim(path: Path, name: str, count: int) -> None:
    """Give a checkpoint a further entry of so many zeros, none of which is on the disk."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (count,)})
    info = zipfile.ZipInfo(f"{name}.npy")
    info.CRC, info.file_size = 0, len(stream.getvalue()) + 4 * count
    info.compress_size = info.file_size
    with path.open("r+b") as file, zipfile.ZipFile(file, "a") as archive:
        info.header_offset = archive.start_dir
        file.seek(archive.start_dir)
        file.write(info.FileHeader(zip64=True) + stream.getvalue())
        archive.start_dir = file.tell() + 4 * count  # beyond a hole
        archive.filelist.append(info)
        archive.NameToInfo[info.filename] = info
        archive._didModify = True  # type: ignore[attr-defined]


@pytest.mark.skipif(sys.platform != "linux", reason="needs files with holes")
def test_declared_sizes_of_members_are_compared_with_the_model_before_reading(saved: Path) -> None:
    before = saved.read_bytes()
    for name, message in (
        (
            "model.0.weight_hh_l0_reverse",
            r"does not fit the model: unexpected model\.0\.weight_hh_l0_reverse",
        ),
        ("optimizer.exp_avg.9", r"expected at most \d+ bytes in optimizer\.\*, got 4398046\d+"),
    ):
        saved.write_bytes(before)
        claim(saved, name, 2**40)  # 4 TB
        assert saved.stat().st_blocks * 512 < 2**20
        model, optimizer = model_and_optimizer()
        with pytest.raises(ValueError, match=rf"saved\.npz: {message}"):
            rf.load(saved, model, optimizer)
        with pytest.raises(
            ValueError, match=r"saved\.npz: expected at most \d+ bytes in all, got 4398046\d+"
        ):
            read_checkpoint(saved)


def test_too_large_metadata_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = model_and_optimizer()
    path = tmp_path / "model.npz"
    rf.save(path, model, metadata={"text": "x" * 1000})
    monkeypatch.setattr(archive, "MOST_TEXT", 1000)
    with pytest.raises(ValueError, match=r"^metadata: expected at most 1000 characters of JSON, got 10"):
        rf.save(tmp_path / "other.npz", model, metadata={"text": "x" * 1000})
    with pytest.raises(ValueError, match="more than 1000 bytes of metadata"):
        rf.load(path, model)


def test_a_too_large_optimizer_state_is_refused(saved: Path) -> None:
    model, optimizer = model_and_optimizer()
    rewrite(saved, lambda entries: entries.update({"optimizer.exp_avg.0.npy": npy(np.zeros(10**5))}))
    with pytest.raises(ValueError, match=r"expected at most \d+ bytes in optimizer\.\*, got \d+$"):
        rf.load(saved, model, optimizer)


def test_other_files_are_refused_and_missing_ones_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"", b"PK\x03\x04", b"hello" * 1000):
        path.write_bytes(content)
        assert_load_is_refused(path, "no .npz file")
    np.savez(tmp_path / "other.npz", x=np.ones(3))
    assert_load_is_refused(tmp_path / "other.npz", "no 'rnnfast' entry")
    with pytest.raises(FileNotFoundError):
        rf.load(tmp_path / "nothing", model_and_optimizer()[0])
    with pytest.raises(OSError, match="directory"):
        read_checkpoint(tmp_path)
