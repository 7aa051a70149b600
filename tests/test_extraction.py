"""Extraction: rows in files, the same bytes however often it was cut off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from sdc_search import extraction
from sdc_search.backbones import Backbone, load_backbone
from sdc_search.cli import main
from sdc_search.datasets import FileImages
from sdc_search.errors import CorruptFileError
from sdc_search.extraction import extract_features, open_features

# Python 3.12 and later, of worker processes where the default is to fork.
FORKED = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def command(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images in folders, two of which cannot be read; never written to."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for row in range(23):
        path = folder / f"class{row % 2}" / f"{row:02d}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).save(path)
    cut = folder / "class0" / "04.jpg"
    cut.write_bytes(cut.read_bytes()[:-150])
    (folder / "class1" / "03.jpg").write_bytes(b"not an image")
    return folder


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("pixels:rgb", image_size=4)


def result(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_features_and_their_description(folder: Path, backbone: Backbone, tmp_path: Path) -> None:
    images = FileImages.below(folder)
    reports = []
    out = tmp_path / "new" / "features"
    features = extract_features(
        images, backbone, out, batch_size=5, report=lambda text, done: reports.append((text, done))
    )
    assert features.array.shape == (23, 48)
    assert features.array.dtype == np.float16
    unreadable = [images.names().index(name) for name in ("class0/04.jpg", "class1/03.jpg")]
    assert features.unreadable.tolist() == unreadable
    for row in range(23):
        wanted = np.zeros(48) if row in unreadable else backbone.transform(images[row]).ravel() / 255
        np.testing.assert_allclose(features.array[row], wanted, atol=5e-4)
    assert set(result(out)) == {"features.npy", "features.json"}
    document = json.loads((out / "features.json").read_text())
    assert document == features.description
    assert document["backbone"] == "pixels:rgb"
    assert document["shape"] == [23, 48]
    assert document["images"] == {"number": 23, "sha256": images.digest()}
    assert "shorter side to 4" in document["transform"]["text"]
    assert [image["name"] for image in document["unreadable"]] == ["class0/04.jpg", "class1/03.jpg"]
    assert "cannot be read as an image" in document["unreadable"][0]["reason"]
    assert [done for _, done in reports] == [5, 10, 15, 20, 23]
    assert "images/s" in reports[0][0]
    np.testing.assert_array_equal(open_features(out).array, features.array)
    np.testing.assert_array_equal(np.load(out / "features.npy"), features.array)


@FORKED
def test_worker_processes_change_nothing(folder: Path, backbone: Backbone, tmp_path: Path) -> None:
    images = FileImages.below(folder)
    for workers in (0, 2):
        extract_features(images, backbone, tmp_path / str(workers), batch_size=5, workers=workers)
    assert result(tmp_path / "0") == result(tmp_path / "2")


def test_a_finished_extraction_is_opened_and_not_repeated(
    folder: Path, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = FileImages.below(folder)
    extract_features(images, backbone, tmp_path)
    monkeypatch.setattr(backbone, "forward", lambda pixels: pytest.fail("computed again"))
    assert extract_features(images, backbone, tmp_path).array.shape == (23, 48)


def test_a_folder_with_other_features_is_left_alone(folder: Path, backbone: Backbone, tmp_path: Path) -> None:
    images = FileImages.below(folder)
    extract_features(images, backbone, tmp_path)
    before = result(tmp_path)
    with pytest.raises(ValueError, match=r"holds features of another extraction: its backbone is pixels:rgb"):
        extract_features(images, load_backbone("pixels"), tmp_path)
    with pytest.raises(ValueError, match=r"its (shape|images) is "):
        extract_features(FileImages.below(folder / "class0"), backbone, tmp_path)
    assert result(tmp_path) == before


KILLED = """
import os, pathlib, random, signal, sys, time
from sdc_search import extraction
from sdc_search.backbones import load_backbone
from sdc_search.datasets import FileImages

folder, out = map(pathlib.Path, sys.argv[1:3])
images, backbone = FileImages.below(folder), load_backbone("pixels:rgb", image_size=4)
extraction._CHECKPOINT_SECONDS = 0.0
calls, last = 0, None
extraction.extract_features(images, backbone, out / 'warm')  # the children inherit what it imports

def count(real):
    def call(*arguments, **options):
        global calls
        if calls == last:
            os._exit(9)
        calls += 1
        return real(*arguments, **options)
    return call

def run(batch_size, instant, place, seconds=0.0):
    # The child ends without any clean-up: before a numbered call to the disk, or at a random instant.
    global calls, last
    child = os.fork()
    if child == 0:
        calls, last = 0, instant
        os.fsync = count(os.fsync)
        pathlib.Path.replace, pathlib.Path.open = count(pathlib.Path.replace), count(pathlib.Path.open)
        pathlib.Path.unlink = count(pathlib.Path.unlink)
        extraction.extract_features(images, backbone, place, batch_size=batch_size)
        os._exit(0)
    if instant is None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

ends = []
for instant in range(1000):
    place = out / f"call{instant}"
    ends.append(run(12, instant, place))
    assert run(12, 10 ** 9, place), instant
    if ends[-1]: break
assert len(ends) > 20, ends

random.seed(0)
place, kills = out / "random", 0
while not run(1, None, place, random.uniform(0.0, 0.02 + 0.01 * kills)): kills += 1
print(len(ends), kills)
"""


def test_killed_at_any_instant_it_goes_on_to_the_same_bytes(
    folder: Path, backbone: Backbone, tmp_path: Path
) -> None:
    """Ended before each single call that touches the disk; and by SIGKILL at random instants, many times."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    extract_features(FileImages.below(folder), backbone, tmp_path / "whole")
    wanted = result(tmp_path / "whole")
    places = list((tmp_path / "out").iterdir())
    assert len(places) > 20
    for place in places:
        assert result(place) == wanted, place.name


def test_rows_reach_the_disk_before_the_journal_that_counts_them(
    folder: Path, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def watched_fsync(descriptor: int) -> None:
        order.append(Path(f"/proc/self/fd/{descriptor}").resolve().name)
        fsync(descriptor)

    def watched_replace(path: Path, target: Path) -> Path:
        order.append(f"-> {target.name}")
        return replace(path, target)

    monkeypatch.setattr(extraction, "_CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    extract_features(FileImages.below(folder), backbone, tmp_path, batch_size=12)
    replaced = [place for place, step in enumerate(order) if step.startswith("->")]
    assert [order[place] for place in replaced] == ["-> journal.json"] * 3 + ["-> features.json"]
    for begin, end in zip([-1, *replaced], replaced, strict=False):
        assert "features.npy" in order[begin + 1 : end]
        assert order[end + 1] == tmp_path.name  # the name in the folder


def test_an_unfinished_extraction_is_not_opened(
    folder: Path, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError, match="holds no features"):
        open_features(tmp_path)

    def stop(text: str, done: int) -> None:
        raise KeyboardInterrupt

    images = FileImages.below(folder)
    with pytest.raises(KeyboardInterrupt):
        extract_features(images, backbone, tmp_path, report=stop)
    with pytest.raises(FileNotFoundError, match="an extraction that has not ended: start it again"):
        open_features(tmp_path)
    with pytest.raises(ValueError, match="its backbone is pixels:rgb, wanted pixels;"):
        extract_features(images, load_backbone("pixels"), tmp_path)
    (tmp_path / "features.npy").write_bytes(b"x")
    with pytest.raises(CorruptFileError, match=r"features\.npy is not a readable"):
        extract_features(images, backbone, tmp_path)
    (tmp_path / "journal.json").write_bytes(b"{")
    with pytest.raises(CorruptFileError, match=r"journal\.json is not a readable"):
        extract_features(images, backbone, tmp_path)


class Fixed(Backbone):
    """Gives one value, whatever it sees."""

    value = 0.0

    def forward(self, pixels: npt.NDArray[np.uint8] | torch.Tensor) -> npt.NDArray[np.float32]:
        return np.full((len(pixels), 2), self.value, np.float32)


@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "NaN or infinite"), (-np.inf, "NaN or infinite"), (1e5, "beyond float16")]
)
def test_features_that_are_no_numbers(
    value: float, message: str, folder: Path, backbone: Backbone, tmp_path: Path
) -> None:
    network = Fixed("fixed", backbone.transform, None, "a value")
    network.value = value
    with pytest.raises(ValueError, match=rf"features of image 0, class0/00\.jpg, are {message}"):
        extract_features(FileImages.below(folder), network, tmp_path)


def test_what_cannot_be_extracted(folder: Path, backbone: Backbone, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"none of the 1 images can be read; the first, a\.png: "):
        extract_features(FileImages.below(tmp_path / "bad"), backbone, tmp_path / "out")
    images = FileImages.below(folder)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        extract_features(images, backbone, tmp_path / "out", batch_size=0)
    (tmp_path / "locked").mkdir()
    with (
        extraction._locked(tmp_path / "locked"),
        pytest.raises(ValueError, match="is being written to by another process"),
    ):
        extract_features(images, backbone, tmp_path / "locked")


@FORKED
def test_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = "--backbone", "pixels:rgb", "--image-size", 4, "--batch-size", 7
    assert command("extract", folder, "--out", tmp_path / "out", *options, "--workers", 1) == 0
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    lines = stderr.splitlines()
    assert lines[0].startswith("unreadable: class0/04.jpg: ")
    assert lines[-1] == f"{tmp_path / 'out' / 'features.npy'}: 23 x 48 features, 2 unreadable"
    assert open_features(tmp_path / "out").array.shape == (23, 48)


def test_the_command_refuses_in_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "net.pth").write_bytes(b"no")
    for arguments, message in (
        ([tmp_path / "empty"], "holds no images"),
        ([tmp_path / "nowhere"], "is not a folder"),
        ([folder, "--backbone", "nix"], "--backbone must be one of efficientnet_lite0, vgg16"),
        ([folder, "--weights", tmp_path / "net.pth"], "net.pth is cut short"),
        ([folder, "--weights", tmp_path / "none.pth"], "none.pth: there is no such file"),
        ([folder, "--image-size", 0], "--image-size"),
    ):
        assert command("extract", *arguments, "--out", tmp_path / "out") == 2
        stdout, stderr = capsys.readouterr()
        assert stdout == ""
        assert stderr.startswith("sdc-search: error: ")
        assert stderr.count("\n") == 1
        assert message in stderr
