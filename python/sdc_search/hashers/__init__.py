"""Hash functions: learnt or drawn, each one file, all with the estimator API of `Hasher`."""

from __future__ import annotations

from sdc_search.hashers.base import Hasher
from sdc_search.hashers.itq import ITQ
from sdc_search.hashers.loading import load_hasher
from sdc_search.hashers.lsh import LSH
from sdc_search.hashers.sdc import SDC

__all__ = ["ITQ", "LSH", "SDC", "Hasher", "load_hasher"]
