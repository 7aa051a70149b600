import numpy as np
import numpy.typing as npt

MAX_CODE_BYTES: int
MAX_THREADS: int
MIN_INDEXED_BITS: int
MAX_INDEXED_BITS: int

def isa() -> str: ...
def isas() -> list[str]: ...
def set_isa(name: str) -> None: ...
def num_threads() -> int: ...
def set_num_threads(n: int) -> None: ...
def hamming_distance(
    codes: npt.NDArray[np.uint8], queries: npt.NDArray[np.uint8], threads: int
) -> npt.NDArray[np.int32]: ...
def hamming_topk(
    codes: npt.NDArray[np.uint8],
    queries: npt.NDArray[np.uint8],
    k: int,
    mask: npt.NDArray[np.bool_] | npt.NDArray[np.uint8] | None,
    ids: npt.NDArray[np.int64] | None,
    threads: int,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]: ...
def hamming_range(
    codes: npt.NDArray[np.uint8],
    queries: npt.NDArray[np.uint8],
    radius: int,
    mask: npt.NDArray[np.bool_] | npt.NDArray[np.uint8] | None,
    ids: npt.NDArray[np.int64] | None,
    threads: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int64]]: ...
def asymmetric_topk(
    codes: npt.NDArray[np.uint8],
    projections: npt.NDArray[np.float32],
    k: int,
    ids: npt.NDArray[np.int64] | None,
    threads: int,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]: ...

class Relevance:
    @staticmethod
    def equal(items: npt.NDArray[np.uint64], queries: npt.NDArray[np.uint64]) -> Relevance: ...
    @staticmethod
    def shared(
        items: npt.NDArray[np.uint64], queries: npt.NDArray[np.uint64], counted: bool
    ) -> Relevance: ...
    @staticmethod
    def listed(lims: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], n: int) -> Relevance: ...
    @property
    def n_grades(self) -> int: ...
    def count(self, threads: int) -> npt.NDArray[np.int64]: ...

def average_precision(
    codes: npt.NDArray[np.uint8],
    queries: npt.NDArray[np.uint8],
    relevance: Relevance,
    at: int,
    ties: str,
    normalizer: str,
    threads: int,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]: ...
def hits_at(
    codes: npt.NDArray[np.uint8],
    queries: npt.NDArray[np.uint8],
    relevance: Relevance,
    ranks: npt.NDArray[np.int64],
    ties: str,
    threads: int,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]: ...
def discounted_gain_at(
    codes: npt.NDArray[np.uint8],
    queries: npt.NDArray[np.uint8],
    relevance: Relevance,
    ranks: npt.NDArray[np.int64],
    ties: str,
    gains: npt.NDArray[np.float64],
    threads: int,
) -> npt.NDArray[np.float64]: ...
def ideal_gain_at(
    relevance: Relevance, ranks: npt.NDArray[np.int64], gains: npt.NDArray[np.float64], threads: int
) -> npt.NDArray[np.float64]: ...
def distance_histograms(
    codes: npt.NDArray[np.uint8], queries: npt.NDArray[np.uint8], relevance: Relevance, threads: int
) -> npt.NDArray[np.int64]: ...
def hamming_plan(n: int, n_bytes: int, n_queries: int, k: int) -> tuple[float, str]: ...
def multi_index_bytes(n: int, n_bits: int) -> int: ...
def build_multi_index(
    codes: npt.NDArray[np.uint8], n_bits: int, n_tables: int | None, threads: int
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32], npt.NDArray[np.uint8]]: ...
def check_multi_index(
    offsets: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.uint32],
    copies: npt.NDArray[np.uint8],
    n_bits: int,
    threads: int,
) -> None: ...
def multi_index_topk(
    offsets: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.uint32],
    copies: npt.NDArray[np.uint8],
    n_bits: int,
    queries: npt.NDArray[np.uint8],
    k: int,
    mask: npt.NDArray[np.bool_] | npt.NDArray[np.uint8] | None,
    rank: npt.NDArray[np.uint32] | None,
    budget_ns: float,
    threads: int,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.bool_]]: ...
def multi_index_range(
    offsets: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.uint32],
    copies: npt.NDArray[np.uint8],
    n_bits: int,
    queries: npt.NDArray[np.uint8],
    radius: int,
    mask: npt.NDArray[np.bool_] | npt.NDArray[np.uint8] | None,
    rank: npt.NDArray[np.uint32] | None,
    budget_ns: float,
    threads: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int64]] | None: ...
def probe_multi_index(
    offsets: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.uint32],
    copies: npt.NDArray[np.uint8],
    n_bits: int,
    count: int,
    k: int,
    budget_ns: float,
    threads: int,
) -> list[float]: ...

class BetaSpline:
    def __init__(
        self,
        alpha: float,
        lower_values: npt.NDArray[np.float64],
        lower_slopes: npt.NDArray[np.float64],
        beta: float,
        upper_values: npt.NDArray[np.float64],
        upper_slopes: npt.NDArray[np.float64],
    ) -> None: ...
    def table(self, n: int, threads: int) -> npt.NDArray[np.float64]: ...

# Addresses, of which 0 is none; arguments by position, since a call of 32 numbers would feel the names.
def calibration_loss(
    code: int,
    code64: bool,
    teacher: int,
    teacher64: bool,
    table: int,
    table64: bool,
    stride: int,
    rows: int,
    n: int,
    p: float,
    threads: int,
    loss: int,
    signs: int,
    gradient: int,
    method: str,
    /,
) -> None: ...
def scale_signs(signs: int, n: int, scale: float, threads: int, out: int, out64: bool, /) -> None: ...
def wasserstein_1d(
    x: int,
    y: int,
    x_weights: int,
    y_weights: int,
    real64: bool,
    rows: int,
    n: int,
    m: int,
    p: float,
    root: bool,
    threads: int,
    losses: int,
    x_gradient: int,
    y_gradient: int,
    /,
) -> None: ...
def sdc_loss_half(
    features: int,
    outputs: int,
    n: int,
    d: int,
    k: int,
    table: int,
    quantization: float,
    threads: int,
    loss: int,
    gradient: int,
    /,
) -> None: ...
def sdc_loss_all(
    features: int,
    outputs: int,
    n: int,
    d: int,
    k: int,
    table: int,
    spline: BetaSpline | None,
    floor: float,
    quantization: float,
    threads: int,
    loss: int,
    gradient: int,
    /,
) -> None: ...
