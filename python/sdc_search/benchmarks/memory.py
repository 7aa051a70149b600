"""How much memory a call takes, seen from outside: in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

_STATUS = Path("/proc/self/status")


class Growth(NamedTuple):
    """Bytes of resident memory beyond what there was before a call: at its height, and after it."""

    peak: int
    kept: int


def memory_growth(prepare: Callable[[], Callable[[], object]]) -> Growth | None:
    """Measure the call that `prepare` returns; its result counts, what `prepare` holds does not.

    A new process has no freed memory that the call could silently use again.

    Parameters
    ----------
    prepare
        Picklable: a function of a module, or a partial of one.

    Returns
    -------
    None where the system does not say (it has no ``/proc``).
    """
    if not _STATUS.exists():
        return None
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, prepare).result()


def _measure(prepare: Callable[[], Callable[[], object]]) -> Growth:
    call = prepare()
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again from VmRSS, see proc(5)
    before = _status_bytes("VmRSS")
    result = call()
    growth = Growth(_status_bytes("VmHWM") - before, _status_bytes("VmRSS") - before)
    del result
    return growth


def _status_bytes(field: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(field + ":"))
    return 1024 * int(line.split()[1])
