"""What the native code runs on: instruction set, threads, devices."""

from __future__ import annotations

from typing import TypedDict

from sdc_search import native
from sdc_search.arrays import as_count
from sdc_search.native import core


class Info(TypedDict):
    """What `info` returns."""

    version: str
    isa: str
    isas: list[str]
    threads: int
    cuda: list[str]
    cuda_architectures: str


def info() -> Info:
    """Say what the native code runs on.

    Returns
    -------
    dict
        ``version``; ``isa``: the instruction-set level in use; ``isas``: the levels this machine has, slowest
        first, each of which ``SDC_SEARCH_ISA`` may force; ``threads``: the default number of threads;
        ``cuda``: the names of the CUDA devices, each with its compute capability and memory, empty where the
        build has no CUDA kernels or there is no driver; ``cuda_architectures``: what the kernels were built
        for, empty where there are none.

    Raises
    ------
    ValueError
        ``SDC_SEARCH_ISA`` or ``SDC_SEARCH_THREADS`` asks for what this machine does not have.

    Examples
    --------
    >>> import sdc_search
    >>> "portable" in sdc_search.info()["isas"]
    True
    """
    from sdc_search import __version__

    cuda = native.cuda()
    return {
        "version": __version__,
        "isa": core.isa(),
        "isas": core.isas(),
        "threads": core.num_threads(),
        "cuda": [] if cuda is None else [_described(*device) for device in cuda.devices()],
        "cuda_architectures": "" if cuda is None else cuda.ARCHITECTURES,
    }


def _described(name: str, major: int, minor: int, memory_bytes: int) -> str:
    return f"{name} (compute capability {major}.{minor}, {memory_bytes / 2**30:.1f} GiB)"


def set_num_threads(n: int) -> None:
    """Set the number of threads that calls use unless they say otherwise.

    The default is ``SDC_SEARCH_THREADS`` where that is set, else the number of CPUs this process may use.

    Raises
    ------
    TypeError, ValueError
        `n` is not an integer of at least 1.

    Examples
    --------
    >>> import sdc_search
    >>> sdc_search.set_num_threads(2)
    >>> sdc_search.info()["threads"]
    2
    """
    core.set_num_threads(as_count("n", n, maximum=core.MAX_THREADS))


def thread_count(num_threads: object) -> int:
    """Resolve the argument ``num_threads`` of a call: None means the default."""
    return (
        core.num_threads()
        if num_threads is None
        else as_count("num_threads", num_threads, maximum=core.MAX_THREADS)
    )
