"""Hash functions: learnt or drawn, each one file, all with the estimator API of `Hasher`.

Names load on first use, so that what needs no torch does not wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdc_search.lazy_names import lazy_names

if TYPE_CHECKING:
    from sdc_search.hashers.base import Hasher
    from sdc_search.hashers.graph_sdc import GraphSDC
    from sdc_search.hashers.itq import ITQ
    from sdc_search.hashers.loading import load_hasher
    from sdc_search.hashers.lsh import LSH
    from sdc_search.hashers.sdc import SDC

_HOMES = {
    "GraphSDC": "graph_sdc",
    "Hasher": "base",
    "ITQ": "itq",
    "LSH": "lsh",
    "SDC": "sdc",
    "load_hasher": "loading",
}

__all__ = ["ITQ", "LSH", "SDC", "GraphSDC", "Hasher", "load_hasher"]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
