"""Writing a file so that at no instant there is half of it."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give the path of a temporary file that becomes `path` once the block has ended well.

    It lies in the same directory, is flushed to the disk and renamed. After a failure or Ctrl-C it is gone,
    and what was at `path` is as before.

    Raises
    ------
    OSError
        The file cannot be written; the message names `path`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from sdc_search.atomic_files import atomic_path
    >>> with TemporaryDirectory() as directory:
    ...     with atomic_path(Path(directory, "a.txt")) as temporary:
    ...         _ = temporary.write_text("whole")
    ...     Path(directory, "a.txt").read_text()
    'whole'
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:  # fails with a proper errno, and learns what the umask allows
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        yield temporary
        temporary.chmod(mode)  # a library that replaces the file may make a private one
        _flush(temporary)
        temporary.replace(path)
        _flush(path.parent)
    except OSError as error:
        if error.filename is not None and str(error.filename) != str(temporary):
            raise  # the block failed on a file of its own
        raise type(error)(error.errno, f"cannot write {path}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that appears at `path` once the block has ended well; see `atomic_path`."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        yield file


def _flush(path: Path) -> None:
    """Make the bytes of a file, or the names in a directory, survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
