"""Short binary codes for images or any embedding, learnt without labels and searched exactly.

Names load on first use (PEP 562), so that importing the package imports neither torch nor scipy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdc_search.lazy_names import lazy_names

if TYPE_CHECKING:
    from sdc_search.codes import pack_bits, unpack_bits
    from sdc_search.errors import CorruptFileError, MissingExtraError, NotFittedError
    from sdc_search.hamming import hamming_distance, hamming_range, hamming_topk, knn_graph
    from sdc_search.hashers import (
        ITQ,
        LSH,
        NSH,
        SDC,
        SSDH,
        TBH,
        WCH,
        BiHalf,
        CIBHash,
        GraphSDC,
        GreedyHash,
        Hasher,
        SpectralHashing,
        load_hasher,
    )
    from sdc_search.index import HammingIndex
    from sdc_search.losses import SDCLoss, beta_quantiles, calibration_loss, wasserstein_1d
    from sdc_search.merging import merge_topk
    from sdc_search.metrics import (
        hit_rate_at,
        mean_average_precision,
        mean_average_precision_from_scores,
        ndcg_at,
        precision_at,
        precision_recall_curve,
        recall_at,
    )
    from sdc_search.runtime import info, set_num_threads

__version__ = "0.1.0"

_HOMES = {
    "BiHalf": "hashers",
    "GreedyHash": "hashers",
    "SSDH": "hashers",
    "WCH": "hashers",
    "TBH": "hashers",
    "NSH": "hashers",
    "CIBHash": "hashers",
    "CorruptFileError": "errors",
    "HammingIndex": "index",
    "Hasher": "hashers",
    "ITQ": "hashers",
    "LSH": "hashers",
    "MissingExtraError": "errors",
    "NotFittedError": "errors",
    "SDC": "hashers",
    "GraphSDC": "hashers",
    "SDCLoss": "losses",
    "SpectralHashing": "hashers",
    "beta_quantiles": "losses",
    "calibration_loss": "losses",
    "hamming_distance": "hamming",
    "hamming_range": "hamming",
    "hamming_topk": "hamming",
    "hit_rate_at": "metrics",
    "info": "runtime",
    "knn_graph": "hamming",
    "load_hasher": "hashers",
    "mean_average_precision": "metrics",
    "mean_average_precision_from_scores": "metrics",
    "merge_topk": "merging",
    "ndcg_at": "metrics",
    "pack_bits": "codes",
    "precision_at": "metrics",
    "precision_recall_curve": "metrics",
    "recall_at": "metrics",
    "set_num_threads": "runtime",
    "unpack_bits": "codes",
    "wasserstein_1d": "losses",
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
    "CorruptFileError",
    "GraphSDC",
    "GreedyHash",
    "HammingIndex",
    "Hasher",
    "MissingExtraError",
    "NotFittedError",
    "SDCLoss",
    "SpectralHashing",
    "beta_quantiles",
    "calibration_loss",
    "hamming_distance",
    "hamming_range",
    "hamming_topk",
    "hit_rate_at",
    "info",
    "knn_graph",
    "load_hasher",
    "mean_average_precision",
    "mean_average_precision_from_scores",
    "merge_topk",
    "ndcg_at",
    "pack_bits",
    "precision_at",
    "precision_recall_curve",
    "recall_at",
    "set_num_threads",
    "unpack_bits",
    "wasserstein_1d",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
