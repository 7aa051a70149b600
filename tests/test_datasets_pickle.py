from __future__ import annotations

import os
import pickle
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from sdc_search.datasets.restricted_pickle import RefusedPickleError, load_restricted
from sdc_search.errors import CorruptFileError

PATH = Path("a.pkl")
# As Python 2 and its numpy wrote {"data": array of uint8, "labels": [1, 2], "name": "a"}.
PYTHON_2 = (
    b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
    b"(K\x01K\x02K\x03\x86cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    b"\x89U\x06\x00\x01\x02\xfd\xfe\xfftbU\x06labels](K\x01K\x02eU\x04nameU\x01au."
)


class Runs:
    def __init__(self, function: object, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> object:
        return self.call


def test_python_2() -> None:
    document = load_restricted(PATH, PYTHON_2)
    array = np.asarray(document["data"])
    assert array.dtype == np.uint8
    assert array.tolist() == [[0, 1, 2], [253, 254, 255]]
    assert document["labels"] == [1, 2]
    assert document["name"] == "a"


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("dtype", ["u1", "<i8", ">i4", "<f4", "f8", "?"])
def test_arrays(protocol: int, dtype: str, rng: np.random.Generator) -> None:
    array = rng.integers(0, 2, (3, 4)).astype(dtype)
    for stored in (array, np.asfortranarray(array), array[:0], array[0]):
        loaded = np.asarray(load_restricted(PATH, pickle.dumps([stored], protocol))[0])
        assert loaded.dtype == stored.dtype
        assert np.array_equal(loaded, stored)


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values(protocol: int) -> None:
    document = {"text": "ä", "bytes": [1, -(2**70), 1.5, None, True], "nested": ({"a": []},)}
    assert load_restricted(PATH, pickle.dumps(document, protocol)) == document


def test_numpy_scalars() -> None:
    assert load_restricted(PATH, pickle.dumps([np.int64(-3), np.float32(0.5)], 2)) == [-3, 0.5]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "malicious",
    [
        Runs(os.system, "touch ran"),
        Runs(eval, "open('ran', 'w')"),
        Runs(open, "ran", "w"),
        Runs(getattr, "", "join"),
        Runs(bytearray, 10**15),
    ],
    ids=["system", "eval", "open", "getattr", "bytearray"],
)
def test_nothing_is_run(tmp_path: Path, monkeypatch, malicious: Runs, protocol: int) -> None:
    monkeypatch.chdir(tmp_path)
    data = pickle.dumps({"data": malicious}, protocol)
    with pytest.raises(RefusedPickleError, match=r"a\.pkl is refused: it asks for .*; nothing of it was run"):
        load_restricted(PATH, data)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", [object, "U3", "S3", [("a", "i4")], "M8[s]"])
def test_arrays_of_other_things_than_numbers_are_refused(dtype: object) -> None:
    with pytest.raises(CorruptFileError, match=r"a\.pkl is (refused|not a whole pickle)"):
        load_restricted(PATH, pickle.dumps(np.zeros(3, dtype=dtype), 2))


def test_false_shapes_are_refused() -> None:
    for wrong in (
        PYTHON_2.replace(b"K\x02K\x03\x86c", b"K\x02K\x7f\x86c"),
        PYTHON_2.replace(b"U\x02u1", b"U\x02O1"),
    ):
        assert wrong != PYTHON_2
        with pytest.raises(CorruptFileError, match=r"a\.pkl is not a whole pickle"):
            load_restricted(PATH, wrong)


def test_what_may_be_called_cannot_be_changed() -> None:
    for name in (b"c_codecs\nencode\n", b"cnumpy\nndarray\n", b"cnumpy.core.multiarray\nscalar\n"):
        for state in (b"}U\x01aK\x01s", b"N}U\x01aK\x01s\x86"):
            with pytest.raises(CorruptFileError, match=r"a\.pkl is not a whole pickle"):
                load_restricted(PATH, b"\x80\x02" + name + state + b"b.")


def test_every_truncation_is_an_error() -> None:
    for length in range(len(PYTHON_2)):
        with pytest.raises(CorruptFileError, match=r"a\.pkl is"):
            load_restricted(PATH, PYTHON_2[:length])


def test_changed_bytes_never_raise_anything_else(rng: np.random.Generator) -> None:
    for _ in range(2000):
        data = bytearray(PYTHON_2)
        for place in rng.integers(0, len(data), 3):
            data[place] = rng.integers(0, 256)
        with suppress(CorruptFileError):
            load_restricted(PATH, bytes(data))
