from __future__ import annotations

import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdc_search.datasets import ArrayImages, FileImages
from sdc_search.errors import CorruptFileError, MissingExtraError


def colours(n: int) -> np.ndarray:
    return np.arange(n * 4 * 5 * 3, dtype=np.uint8).reshape(n, 4, 5, 3)


@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 4, 5, 3)])
def test_images_in_an_array_are_rgb(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, shape, dtype=np.uint8)
    images = ArrayImages(lambda: pixels, ["a", "b", "c"])
    assert len(images) == 3
    assert images.names() == ["a", "b", "c"]
    for image, expected in zip(images, pixels, strict=True):
        assert image.mode == "RGB"
        assert np.array_equal(
            np.asarray(image), expected if expected.ndim == 3 else np.stack([expected] * 3, -1)
        )


def test_a_pickle_of_images_in_an_array_holds_no_pixels() -> None:
    images = ArrayImages(partial(colours, 500), [str(row) for row in range(500)])
    assert images.pixels.nbytes > 20_000
    data = pickle.dumps(images)
    assert len(data) < 10_000
    copy = pickle.loads(data)
    assert np.array_equal(np.asarray(copy[7]), np.asarray(images[7]))
    assert copy.digest() == images.digest()


def test_images_in_an_array_have_a_digest_of_names_and_pixels() -> None:
    images = ArrayImages(partial(colours, 2), ["a", "b"])
    assert ArrayImages(partial(colours, 2), ["a", "c"]).digest() != images.digest()
    assert ArrayImages(lambda: colours(2)[::-1], ["a", "b"]).digest() != images.digest()


def test_images_in_files(tmp_path: Path, write_images) -> None:
    write_images(tmp_path, ["b/2.png", "a.PNG", "b/c/1.png"])
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "._a.png").write_bytes(b"of another system")
    images = FileImages.below(tmp_path)
    assert images.names() == ["a.PNG", "b/2.png", "b/c/1.png"]
    assert images[0].mode == "RGB"
    assert images[0].size == (8, 6)
    copy = pickle.loads(pickle.dumps(images))
    assert np.array_equal(np.asarray(copy[2]), np.asarray(images[2]))
    with pytest.raises(IndexError):
        images[3]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_images_of_any_mode_become_rgb(tmp_path: Path, mode: str) -> None:
    Image.new("RGB", (8, 6), (10, 20, 30)).convert(mode).save(tmp_path / "a.tif")
    assert FileImages(tmp_path, ["a.tif"])[0].mode == "RGB"


def test_an_image_may_be_a_part_of_a_file(tmp_path: Path) -> None:
    pixels = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    images = FileImages(
        tmp_path, ["a.png", "a.png"], names=["part", "all"], boxes=[(1.2, 2.0, 5.0, 7.6), None]
    )
    assert np.array_equal(np.asarray(images[0]), pixels[2:8, 1:5])
    assert np.array_equal(np.asarray(images[1]), pixels)
    whole = FileImages(tmp_path, ["a.png", "a.png"], names=["part", "all"])
    assert images.digest() != whole.digest()


def test_the_digest_of_files_does_not_depend_on_where_they_lie(tmp_path: Path, write_images) -> None:
    write_images(tmp_path / "one", ["a.png"])
    write_images(tmp_path / "two/x", ["a.png"])
    one = FileImages(tmp_path / "one", ["a.png"])
    two = FileImages(tmp_path / "two", ["x/a.png"], names=["a.png"])
    assert one.digest() == two.digest()
    (tmp_path / "one/a.png").write_bytes((tmp_path / "one/a.png").read_bytes() + b"more")
    assert one.digest() != two.digest()


def test_the_layout_that_is_there_is_taken(tmp_path: Path, write_images) -> None:
    names = ["a.png", "b.png"]
    layouts = [["flat/a.png", "flat/b.png"], ["x/a.png", "y/b.png"]]
    write_images(tmp_path, layouts[1])
    images = FileImages.in_layout(tmp_path, names, layouts)
    assert images.names() == names
    assert images.path(1) == tmp_path / "y/b.png"
    with pytest.raises(FileNotFoundError, match=r"flat/a\.png is missing; of the 2 .* 2 are not there"):
        FileImages.in_layout(tmp_path / "x", names, layouts)


def test_missing_files_are_counted_and_the_first_is_named(tmp_path: Path, write_images) -> None:
    write_images(tmp_path, ["a/1.png", "a/3.png"])
    with pytest.raises(FileNotFoundError, match=r"a/2\.png is missing; of the 4 images .* 2 are not there"):
        FileImages(tmp_path, ["a/1.png", "a/2.png", "a/3.png", "b/4.png"])


def test_names_of_images_must_differ(tmp_path: Path, write_images) -> None:
    write_images(tmp_path, ["a.png", "b.png"])
    with pytest.raises(ValueError, match="'same' comes twice"):
        FileImages(tmp_path, ["a.png", "b.png"], names=["same", "same"])


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(FileNotFoundError, match="holds no images"):
        FileImages.below(tmp_path)
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        FileImages.below(tmp_path / "absent")


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif"])
def test_a_truncated_image_is_named(tmp_path: Path, suffix: str, rng: np.random.Generator) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    data = path.read_bytes()
    for length in (0, 10, len(data) // 2):
        path.write_bytes(data[:length])
        with pytest.raises(CorruptFileError, match=rf"a\.{suffix} cannot be read as an image"):
            FileImages(tmp_path, [path.name])[0]


def test_without_pillow_one_sentence_says_what_to_install(tmp_path: Path, write_images, monkeypatch) -> None:
    write_images(tmp_path, ["a.png"])
    images = FileImages(tmp_path, ["a.png"])
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sdc-search\[data\]'"):
        images[0]


def test_data_sets_do_not_load_torch() -> None:
    code = (
        "import sys; from sdc_search.datasets import loading\n"
        "for module, function in [*loading._DATASETS.values(), *loading._LANDMARKS.values()]:\n"
        "    loading._loader('x', {'x': (module, function)})\n"
        "print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
