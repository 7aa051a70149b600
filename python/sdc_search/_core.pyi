import numpy as np
import numpy.typing as npt

MAX_CODE_BYTES: int
MAX_THREADS: int

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
