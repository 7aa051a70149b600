from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
import safetensors

from sdc_search import CorruptFileError, storage

FORMAT = "sdc_search.test"
TENSORS = {
    "bytes": np.arange(13, dtype=np.uint8),
    "half": np.linspace(-1, 1, 6, dtype=np.float16).reshape(2, 3),
    "single": np.linspace(-1, 1, 6, dtype=np.float32).reshape(3, 2),
    "double": np.array(np.pi),
    "rows": np.array([[0, 2**32 - 1]], dtype=np.uint32),
    "ids32": np.array([[1, -2]], dtype=np.int32),
    "ids": np.array([2**62, -1], dtype=np.int64),
    "empty": np.zeros((0, 4), dtype=np.float32),
}


def write(path: Path, tensors: dict = TENSORS, version: int = 1) -> None:
    storage.write(path, FORMAT, tensors, {"note": "ä", "params": {"a": 1}}, version=version, n_bits=13)


def rewrite(path: Path, change) -> None:
    """Change the parsed header of a file and write it back, with all lengths right again."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    layout = json.loads(data[8 : 8 + length])
    fields = json.loads(layout["__metadata__"]["sdc_search"])
    change(layout, fields)
    layout["__metadata__"]["sdc_search"] = json.dumps(fields)
    text = json.dumps(layout).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


@pytest.mark.parametrize("mmap", [False, True])
def test_what_was_written_is_read(tmp_path, mmap):
    write(tmp_path / "a")
    tensors, header = storage.read(tmp_path / "a", FORMAT, version=1, mmap=mmap)
    assert tensors.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        assert tensors[name].dtype == array.dtype
        assert tensors[name].shape == array.shape
        assert tensors[name].tobytes() == array.tobytes()
        assert tensors[name].flags.aligned
        assert tensors[name].flags.writeable is not mmap or array.size == 0
    assert header["note"] == "ä"
    assert (header["format"], header["version"], header["n_bits"]) == (FORMAT, 1, 13)
    assert (header["bit_order"], header["checksum"]) == ("msb_first", "xxh64")


def test_the_safetensors_library_reads_the_same(tmp_path):
    write(tmp_path / "a")
    with safetensors.safe_open(tmp_path / "a", "numpy") as file:
        assert sorted(file.keys()) == sorted(TENSORS)
        for name, array in TENSORS.items():
            assert file.get_tensor(name).tobytes() == array.tobytes()
        assert json.loads(file.metadata()["sdc_search"])["format"] == FORMAT


def test_equal_content_gives_equal_bytes(tmp_path):
    write(tmp_path / "a")
    write(tmp_path / "b", dict(reversed(TENSORS.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_strided_array_is_written_as_its_values(tmp_path):
    array = np.arange(12, dtype=np.float32).reshape(3, 4).T
    write(tmp_path / "a", {"x": array})
    assert (storage.read(tmp_path / "a", FORMAT, version=1)[0]["x"] == array).all()


def test_a_saved_file_is_as_public_as_the_umask_says(tmp_path):
    before = os.umask(0o027)
    try:
        write(tmp_path / "a")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_an_unknown_dtype_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(TypeError, match="'x' has dtype complex64"):
        write(tmp_path / "a", {"x": np.zeros(2, np.complex64)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mmap", [False, True])
def test_truncation_at_every_byte_is_noticed(tmp_path, mmap):
    write(tmp_path / "whole")
    data = (tmp_path / "whole").read_bytes()
    cut = tmp_path / "cut"
    for length in range(len(data)):
        cut.write_bytes(data[:length])
        with pytest.raises(CorruptFileError, match="cut: "):
            storage.read(cut, FORMAT, version=1, verify=False, mmap=mmap)
    cut.write_bytes(data + b"\0")
    with pytest.raises(CorruptFileError, match="payload"):
        storage.read(cut, FORMAT, version=1, mmap=mmap)


def test_any_flipped_bit_is_noticed(tmp_path):
    write(tmp_path / "a")
    good = storage.read(tmp_path / "a", FORMAT, version=1)
    data = bytearray((tmp_path / "a").read_bytes())
    bad = tmp_path / "bad"
    for position in range(len(data)):
        data[position] ^= 1
        bad.write_bytes(data)
        with pytest.raises(CorruptFileError):
            storage.read(bad, FORMAT, version=1)
        data[position] ^= 1
    bad.write_bytes(data)
    assert storage.read(bad, FORMAT, version=1)[1] == good[1]


def test_without_verify_only_the_payload_is_trusted(tmp_path):
    write(tmp_path / "a")
    data = bytearray((tmp_path / "a").read_bytes())
    data[-1] ^= 1
    (tmp_path / "a").write_bytes(data)
    storage.read(tmp_path / "a", FORMAT, version=1, verify=False)
    with pytest.raises(CorruptFileError, match="checksum does not match"):
        storage.read(tmp_path / "a", FORMAT, version=1)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"PK\x03\x04" + bytes(100),
        bytes(100),
        b"\x08" + bytes(7) + b"nothing!",
    ],
)
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "other").write_bytes(content)
    with pytest.raises(CorruptFileError, match="other: header"):
        storage.read(tmp_path / "other", FORMAT, version=1)


def test_safetensors_of_others_are_refused(tmp_path):
    safetensors.numpy.save_file({"x": np.zeros(3)}, tmp_path / "other")
    with pytest.raises(CorruptFileError, match="not a file of sdc-search"):
        storage.read(tmp_path / "other", FORMAT, version=1)


def test_another_format_and_a_newer_version_are_named(tmp_path):
    write(tmp_path / "a", version=2)
    with pytest.raises(
        CorruptFileError, match=r"a: format: wanted 'sdc_search.index', got 'sdc_search.test'"
    ):
        storage.read(tmp_path / "a", "sdc_search.index", version=2)
    with pytest.raises(CorruptFileError, match="a: version: this release reads up to 1, got 2"):
        storage.read(tmp_path / "a", FORMAT, version=1)


def shift(layout, fields):
    layout["ids"]["data_offsets"] = [offset + 8 for offset in layout["ids"]["data_offsets"]]


def overlap(layout, fields):
    layout["ids"]["data_offsets"] = layout["double"]["data_offsets"]


@pytest.mark.parametrize(
    "change",
    [
        shift,
        overlap,
        lambda layout, fields: layout["ids"].update(shape=[2**62, 2**62]),
        lambda layout, fields: layout["ids"].update(shape=[-2]),
        lambda layout, fields: layout["ids"].update(shape=[True, 2]),
        lambda layout, fields: layout["ids"].update(shape=2),
        lambda layout, fields: layout["ids"].update(dtype="BF16"),
        lambda layout, fields: layout["ids"].update(dtype=["I64"]),
        lambda layout, fields: layout["ids"].update(data_offsets=[0, "16"]),
        lambda layout, fields: layout["ids"].update(data_offsets=[16]),
        lambda layout, fields: layout.update(ids=3),
        lambda layout, fields: layout.update(more=layout["ids"]),
        lambda layout, fields: fields.update(n_bits=14),
        lambda layout, fields: fields.update(note="changed"),
        lambda layout, fields: fields.update(checksum="md5"),
        lambda layout, fields: fields.update(version=True),
        lambda layout, fields: fields.update(version="1"),
        lambda layout, fields: fields.update(note=float("nan")),
        lambda layout, fields: fields.pop("tensors"),
    ],
)
def test_a_crafted_header_is_refused(tmp_path, change):
    write(tmp_path / "a")
    rewrite(tmp_path / "a", lambda layout, fields: None)
    storage.read(tmp_path / "a", FORMAT, version=1)
    rewrite(tmp_path / "a", change)
    with pytest.raises(CorruptFileError, match="a: "):
        storage.read(tmp_path / "a", FORMAT, version=1, verify=False)


@pytest.mark.parametrize("name", ["fsync", "replace", "chmod"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_interrupted_save_leaves_what_was_there(tmp_path, monkeypatch, name, error):
    write(tmp_path / "a")
    before = (tmp_path / "a").read_bytes()

    def fail(*args, **kwargs):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os if name == "fsync" else Path, name, fail)
        with pytest.raises(type(error)):
            write(tmp_path / "a", {"x": np.zeros(3)})
        with pytest.raises(type(error)):
            write(tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == before


def test_an_unwritable_place_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    for path, kind in (
        (tmp_path / "missing" / "a", FileNotFoundError),
        (tmp_path / "file" / "a", NotADirectoryError),
        (tmp_path / "directory", IsADirectoryError),
    ):
        with pytest.raises(kind, match=f"cannot write {path}: "):
            write(path)

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    # root, as whom tests run in containers, may write anywhere
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PermissionError, match=f"cannot write {tmp_path / 'a'}: Permission denied"):
        write(tmp_path / "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["directory", "file"]


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        storage.read(tmp_path / "missing", FORMAT, version=1)
