"""Files of a data set as its authors published them: found, and compared with their hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from sdc_search.errors import CorruptFileError


def find_folder(root: Path, markers: Sequence[str], name: str, folders: Sequence[str] = ()) -> Path:
    """Return the first of `root` and the `folders` in it that holds any of the `markers`.

    Raises
    ------
    FileNotFoundError
        None does; the message says what is expected.
    """
    for folder in (root, *(root / folder for folder in folders)):
        if any((folder / marker).exists() for marker in markers):
            return folder
    where = " or ".join(str(folder) for folder in (root, *(root / folder for folder in folders)))
    raise FileNotFoundError(f"{where} holds no {name}: expected {' or '.join(markers)}")


def find_file(folder: Path, names: Sequence[str]) -> Path:
    """Return the first of `names` that is a file in `folder`.

    Raises
    ------
    FileNotFoundError
        None is.
    """
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f"{folder / names[0]} is missing{''.join(f' (or {name})' for name in names[1:])}; was the archive "
        "unpacked as a whole?"
    )


def check_hash(path: Path, data: bytes | memoryview, published: str) -> None:
    """Compare `data`, the content of `path`, with a published MD5 or SHA-256 (the length of it tells which).

    Raises
    ------
    CorruptFileError
        It differs.
    """
    kind = "md5" if len(published) == 32 else "sha256"
    got = hashlib.new(kind, data, usedforsecurity=False).hexdigest()
    if got != published:
        raise CorruptFileError(
            f"{path} is not the published file: its {kind.upper()} is {got}, expected {published}; "
            "fetch it again, or pass verify=False if it is meant to differ"
        )


def check_count(path: Path, what: str, count: int, published: int) -> None:
    """Compare how many things a file or folder holds with the published number.

    Raises
    ------
    CorruptFileError
        It differs.
    """
    if count != published:
        raise CorruptFileError(
            f"{path} holds {count} {what}, the published data set {published}; is it whole? "
            "Pass verify=False if it is meant to differ"
        )
