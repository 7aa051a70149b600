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
