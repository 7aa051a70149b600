"""Writing a file so that at no instant there is half of it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that appears at `path` once the block has ended well.

    The bytes go to a temporary file in the same directory, which is flushed to the disk and renamed. After a
    failure or Ctrl-C there is no temporary file, and what was at `path` is as before.

    Raises
    ------
    OSError
        The file cannot be written; the message names `path`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from sdc_search.atomic_files import atomic_file
    >>> with TemporaryDirectory() as directory:
    ...     with atomic_file(Path(directory, "a.txt")) as file:
    ...         _ = file.write(b"whole")
    ...     Path(directory, "a.txt").read_bytes()
    b'whole'
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _flush_directory(path.parent)
    except OSError as error:
        if error.filename is not None and str(error.filename) != str(temporary):
            raise  # the block failed on a file of its own
        raise type(error)(error.errno, f"cannot write {path}: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _flush_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
