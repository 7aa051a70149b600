"""Hash functions: learnt or drawn, each one file, all with the estimator API of `Hasher`.

Names load on first use, so that what needs no torch does not wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdc_search.lazy_names import lazy_names

if TYPE_CHECKING:
    from sdc_search.hashers.base import Hasher
    from sdc_search.hashers.bi_half import BiHalf
    from sdc_search.hashers.cib_hash import CIBHash
    from sdc_search.hashers.graph_sdc import GraphSDC
    from sdc_search.hashers.greedy_hash import GreedyHash
    from sdc_search.hashers.itq import ITQ
    from sdc_search.hashers.loading import load_hasher
    from sdc_search.hashers.lsh import LSH
    from sdc_search.hashers.nsh import NSH
    from sdc_search.hashers.sdc import SDC
    from sdc_search.hashers.spectral_hashing import SpectralHashing
    from sdc_search.hashers.ssdh import SSDH
    from sdc_search.hashers.tbh import TBH
    from sdc_search.hashers.wch import WCH

_HOMES = {
    "BiHalf": "bi_half",
    "CIBHash": "cib_hash",
    "GraphSDC": "graph_sdc",
    "GreedyHash": "greedy_hash",
    "Hasher": "base",
    "ITQ": "itq",
    "LSH": "lsh",
    "NSH": "nsh",
    "SDC": "sdc",
    "SSDH": "ssdh",
    "SpectralHashing": "spectral_hashing",
    "TBH": "tbh",
    "WCH": "wch",
    "load_hasher": "loading",
}

__all__ = [
    "ITQ",
    "LSH",
    "NSH",
    "SDC",
    "SSDH",
    "TBH",
    "WCH",
    "BiHalf",
    "CIBHash",
    "GraphSDC",
    "GreedyHash",
    "Hasher",
    "SpectralHashing",
    "load_hasher",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
