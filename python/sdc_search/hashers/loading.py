"""From a file back to the hasher that wrote it."""

from __future__ import annotations

import os
from importlib import import_module

from sdc_search import storage
from sdc_search.errors import CorruptFileError
from sdc_search.hashers.base import FORMAT, VERSION, Hasher

# The classes that a file may name, and their modules: nothing else is ever imported or called for a file.
_MODULES = {
    "BiHalf": "bi_half",
    "CIBHash": "cib_hash",
    "GraphSDC": "graph_sdc",
    "GreedyHash": "greedy_hash",
    "ITQ": "itq",
    "LSH": "lsh",
    "NSH": "nsh",
    "SDC": "sdc",
    "SSDH": "ssdh",
    "SpectralHashing": "spectral_hashing",
    "TBH": "tbh",
    "WCH": "wch",
}


def load_hasher(path: str | os.PathLike[str]) -> Hasher:
    """Load a hasher that `Hasher.save` wrote, ready to encode.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    A fitted hasher of the class that was saved, with the parameters of its fit.

    Raises
    ------
    CorruptFileError
        The file is damaged, truncated, newer than this release or no hasher; the message names it.
    OSError
        The file cannot be opened.

    Examples
    --------
    >>> import numpy as np
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from sdc_search import LSH, load_hasher
    >>> X = np.random.default_rng(0).standard_normal((100, 16))
    >>> hasher = LSH(n_bits=32, random_state=0).fit(X)
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(directory, "lsh.safetensors")
    ...     hasher.save(path)
    ...     bool((load_hasher(path).encode(X) == hasher.encode(X)).all())
    True
    """
    state, header = storage.read(path, FORMAT, version=VERSION)
    name, params = str(header.get("class")), header.get("params")
    if name not in _MODULES:
        raise CorruptFileError(
            f"{path}: class: unknown hasher {name!r}, this release has {', '.join(_MODULES)}"
        )
    hasher_class: type[Hasher] = getattr(import_module(f"sdc_search.hashers.{_MODULES[name]}"), name)
    if not isinstance(params, dict) or not params.keys() <= hasher_class().get_params().keys():
        raise CorruptFileError(f"{path}: params: not parameters of {name}: {params!r}")
    if params.get("n_bits") != header["n_bits"]:
        raise CorruptFileError(f"{path}: params: n_bits is {params.get('n_bits')!r}, not {header['n_bits']}")
    report = header.get("report", {})
    if not isinstance(report, dict):
        raise CorruptFileError(f"{path}: report: wanted an object, got {report!r}")
    try:
        return hasher_class(**params)._restore(state, report)
    except (ValueError, TypeError) as error:
        raise CorruptFileError(f"{path}: {error}") from error
