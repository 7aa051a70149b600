"""Several processes share work in one directory: each piece is done by one of them."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import Self


class Claims:
    """What this process works on, so that others leave it alone.

    A claim is a lock on one byte of a file: it ends with the process, however that ends, so that nothing
    has to be cleared away. Processes on other machines see it where the file system carries locks.

    Parameters
    ----------
    path
        The file, the same for all processes; created if need be, and always empty.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from sdc_search.claims import Claims
    >>> with TemporaryDirectory() as directory, Claims(Path(directory, "claims")) as claims:
    ...     claims.take("a")
    True
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._file)

    def take(self, name: str, *, wait: bool = False) -> bool:
        """Claim a piece of work.

        Parameters
        ----------
        name
            What identifies it in every process.
        wait
            Whether to wait until no other process holds it.

        Returns
        -------
        Whether it is this process's now; always with `wait`.
        """
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, _place(name))
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            raise
        return True

    def release(self, name: str) -> None:
        """Give a claim up."""
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _place(name))


def _place(name: str) -> int:
    """Return which byte stands for a name: one of 2^62, so that two names hardly ever meet."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 2
