# Addresses, of which 0 is none; arguments by position.
ARCHITECTURES: str

def devices() -> list[tuple[str, int, int, int]]: ...
def devices_problem() -> str: ...
def max_queries(n_bytes: int) -> int: ...
def workspace_bytes(n: int, n_bytes: int, n_queries: int, device: int) -> int: ...
def hamming_topk(
    codes: int,
    n: int,
    n_bytes: int,
    queries: int,
    n_queries: int,
    k: int,
    mask: int,
    packed: bool,
    workspace: int,
    workspace_size: int,
    distances: int,
    ids: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def hamming_range_count(
    codes: int,
    n: int,
    n_bytes: int,
    queries: int,
    n_queries: int,
    radius: int,
    mask: int,
    packed: bool,
    workspace: int,
    workspace_size: int,
    counts: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def hamming_range_emit(
    codes: int,
    n: int,
    n_bytes: int,
    queries: int,
    n_queries: int,
    mask: int,
    packed: bool,
    workspace: int,
    workspace_size: int,
    first: int,
    distances: int,
    ids: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def hamming_distance(
    codes: int,
    n: int,
    n_bytes: int,
    queries: int,
    n_queries: int,
    distances: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def calibration_workspace_bytes(
    code64: bool, teacher64: bool, rows: int, n: int, bracket: bool, /
) -> int: ...
def calibration_loss(
    code: int,
    code64: bool,
    teacher: int,
    teacher64: bool,
    table: int,
    spline: BetaSpline | None,
    stride: int,
    rows: int,
    n: int,
    p: float,
    bracket: bool,
    tolerance: float,
    workspace: int,
    workspace_size: int,
    losses: int,
    gradient: int,
    device: int,
    stream: int,
    /,
) -> None: ...
def wasserstein_workspace_bytes(real64: bool, rows: int, n: int, m: int, weighted: bool, /) -> int: ...
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
    workspace: int,
    workspace_size: int,
    losses: int,
    x_gradient: int,
    y_gradient: int,
    device: int,
    stream: int,
    /,
) -> None: ...

class BetaSpline:
    def __init__(self, nodes: int, n_nodes: int, alpha: float, beta: float, floor: float, /) -> None: ...

class PairBrackets:
    def __init__(
        self,
        n_items: int,
        stride: int,
        table: int,
        spline: BetaSpline | None,
        n_sums: int,
        tolerance: float,
        workspace: int,
        workspace_size: int,
        device: int,
        stream: int,
        /,
    ) -> None: ...
    @staticmethod
    def workspace_bytes(n_items: int, n_sums: int, /) -> int: ...
    def begin(self) -> None: ...
    def range(self, teacher: int, first: int, rows: int, /) -> None: ...
    def count(self, teacher: int, first: int, rows: int, /) -> None: ...
    def bracket(self) -> None: ...
    def classify(self, teacher: int, first: int, rows: int, codes: int, first_sum: int, /) -> None: ...
    def collect(self, teacher: int, first: int, rows: int, /) -> None: ...
    def settle(self, loss: int, /) -> None: ...
    def add_open_pairs(self, directions: int, k: int, sums: int, /) -> None: ...

def sums_of_strip(n_items: int, stride: int, first: int, rows: int, /) -> int: ...
def pack_pairs(
    strip: int, n_items: int, stride: int, first: int, rows: int, pairs: int, device: int, stream: int, /
) -> None: ...
def unpack_pairs(
    pairs: int, n_items: int, stride: int, first: int, rows: int, strip: int, device: int, stream: int, /
) -> None: ...
