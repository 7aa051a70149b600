"""Images that are opened when they are asked for, in whichever process asks."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sdc_search.errors import CorruptFileError, MissingExtraError

if TYPE_CHECKING:
    from PIL.Image import Image

Box: TypeAlias = tuple[float, float, float, float]

IMAGE_SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"))


class Images(ABC):
    """A sequence of images.

    It is picklable, and what a pickle holds is where the images lie and not their pixels: a worker process
    opens them for itself.
    """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, row: int) -> Image:
        """Return one image, of mode ``"RGB"``.

        Raises
        ------
        IndexError
            There is no such row.
        CorruptFileError
            It cannot be decoded; the message names the file.
        """

    @abstractmethod
    def name(self, row: int) -> str:
        """Return what one image is called; no two have one name."""

    @abstractmethod
    def digest(self) -> str:
        """Return a SHA-256 of names and contents, in hexadecimal, the same wherever the images lie."""

    def names(self) -> list[str]:
        """Return all names, in order."""
        return [self.name(row) for row in range(len(self))]

    def __iter__(self) -> Iterator[Image]:
        return (self[row] for row in range(len(self)))


class ArrayImages(Images):
    """Images that a few files hold together, as one array of pixels.

    Parameters
    ----------
    read
        Reads the pixels: uint8, of shape ``(n, height, width)`` (grey) or ``(n, height, width, 3)``. Called
        at the first use in each process; a function of a module, or a ``functools.partial`` of one.
    names
        One for each image.
    """

    def __init__(self, read: Callable[[], npt.NDArray[np.uint8]], names: Iterable[str]) -> None:
        self._read = read
        self._names = tuple(names)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, row: int) -> Image:
        image: Image = _pillow().fromarray(self.pixels[row]).convert("RGB")
        return image

    def name(self, row: int) -> str:
        """Return what one image is called."""
        return self._names[row]

    @cached_property
    def pixels(self) -> npt.NDArray[np.uint8]:
        """All pixels, as they were read."""
        return self._read()

    def digest(self) -> str:
        """Return a SHA-256 of names and pixels."""
        sha = _named_sha256(self._names)
        sha.update(np.ascontiguousarray(self.pixels).data)
        return sha.hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return {"_read": self._read, "_names": self._names}


class FileImages(Images):
    """Images in files of their own.

    Parameters
    ----------
    root
        The folder that the paths start from.
    paths
        Relative to `root`, with ``/`` between folders.
    names
        What the images are called, wherever they lie; None: by their paths.
    boxes
        For each image the part of it that counts, as left, upper, right and lower edge in pixels, or None
        where that is all of it.

    Raises
    ------
    FileNotFoundError
        Files are missing; the message says how many, and names the first.
    ValueError
        Two images have one name.
    """

    def __init__(
        self,
        root: Path,
        paths: Sequence[str],
        *,
        names: Sequence[str] | None = None,
        boxes: Sequence[Box | None] | None = None,
    ) -> None:
        self.root = Path(root)
        self._paths = tuple(paths)
        self._names = self._paths if names is None else tuple(names)
        self._boxes = None if boxes is None else tuple(boxes)
        if (twice := repeated(self._names)) is not None:
            raise ValueError(f"names of images in {root} must differ, but {twice!r} comes twice")
        missing = _missing(self.root, self._paths)
        if missing:
            raise FileNotFoundError(
                f"{self.root / missing[0]} is missing; of the {len(self):,} images that are expected in "
                f"{self.root}, {len(missing):,} are not there: was the archive unpacked as a whole?"
            )

    @classmethod
    def in_layout(
        cls,
        root: Path,
        names: Sequence[str],
        layouts: Sequence[Sequence[str]],
        boxes: Sequence[Box | None] | None = None,
    ) -> FileImages:
        """Find images in whichever layout of folders the user has.

        Parameters
        ----------
        root, names, boxes
            As in the class.
        layouts
            Paths of all images, for each layout. The one with the fewest missing is taken; the first, where
            several are alike.
        """
        return cls(root, min(layouts, key=lambda paths: len(_missing(root, paths))), names=names, boxes=boxes)

    @classmethod
    def below(cls, root: Path) -> FileImages:
        """Find all image files in a folder and the folders within it, in the order of their paths.

        Raises
        ------
        FileNotFoundError
            There is no such folder, or no image in it.
        """
        if not root.is_dir():
            raise FileNotFoundError(f"{root} is not a folder; expected one with images in it")
        paths = sorted(
            path.relative_to(root).as_posix()
            for path in root.rglob("*")
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
        )
        if not paths:
            raise FileNotFoundError(
                f"{root} holds no images: no file ends in {', '.join(sorted(IMAGE_SUFFIXES))}"
            )
        return cls(root, paths)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, row: int) -> Image:
        pillow = _pillow()
        path = self.path(row)
        box = self._boxes[row] if self._boxes is not None else None
        try:
            with pillow.open(path) as file:
                image: Image = file.convert("RGB")
        except FileNotFoundError:
            raise
        except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError) as error:
            raise CorruptFileError(f"{path} cannot be read as an image: {error}") from error
        return (
            image if box is None else image.crop((round(box[0]), round(box[1]), round(box[2]), round(box[3])))
        )

    def path(self, row: int) -> Path:
        """Return where one image lies."""
        return self.root / self._paths[row]

    def name(self, row: int) -> str:
        """Return what one image is called."""
        return self._names[row]

    def digest(self) -> str:
        """Return a SHA-256 of names, boxes and sizes of files: to read all content would take too long."""
        sha = _named_sha256(self._names)
        sizes = [(self.root / path).stat().st_size for path in self._paths]
        sha.update(np.array(sizes, dtype="<i8").data)
        sha.update(repr(self._boxes).encode())
        return sha.hexdigest()


def repeated(names: Sequence[str]) -> str | None:
    """Return the first name that comes twice, if one does."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("pillow", "data", "opening images") from error
    return Image


def _named_sha256(names: Iterable[str]) -> hashlib._Hash:
    return hashlib.sha256("\0".join(names).encode())


def _missing(root: Path, paths: Sequence[str]) -> list[str]:
    """Return the paths without a file, by one listing a folder instead of one question a file."""
    present: dict[str, frozenset[str]] = {}
    missing = []
    for path in paths:
        folder, _, name = path.rpartition("/")
        if folder not in present:
            try:
                present[folder] = frozenset(os.listdir(root / folder))  # noqa: PTH208
            except (FileNotFoundError, NotADirectoryError):
                present[folder] = frozenset()
        if name not in present[folder]:
            missing.append(path)
    return missing
