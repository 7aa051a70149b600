"""The demo: three methods at three lengths on the bundled features of real images, measured as it runs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sdc_search import plots
from sdc_search.codes import code_bytes
from sdc_search.hamming import hamming_distance, hamming_topk
from sdc_search.hashers import ITQ, LSH, SDC
from sdc_search.metrics import mean_average_precision, mean_average_precision_from_scores
from sdc_search.runtime import info

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHODS: dict[str, type[LSH] | type[ITQ] | type[SDC]] = {"LSH": LSH, "ITQ": ITQ, "SDC": SDC}
LENGTHS = (16, 32, 64)
RANKS = 1000
NEIGHBOURS = 10
PICTURE_BITS = 32
PICTURE_QUERIES = 4
N_STEPS = 2 + len(METHODS) * len(LENGTHS)  # the float search, the methods, the pictures


@dataclass(frozen=True)
class DemoData:
    """500 queries and 4,000 database items of Fashion-MNIST.

    Features are float32 of shape ``(n, 128)`` with rows of norm 1, images uint8 of shape ``(n, 28, 28)``, and
    labels number the `class_names`.
    """

    query: npt.NDArray[np.float32]
    query_labels: npt.NDArray[np.uint8]
    query_images: npt.NDArray[np.uint8]
    database: npt.NDArray[np.float32]
    database_labels: npt.NDArray[np.uint8]
    database_images: npt.NDArray[np.uint8]
    class_names: list[str]


@dataclass(frozen=True)
class Measurement:
    """One row of the demo's table.

    Parameters
    ----------
    method, n_bits
        What made the codes; `n_bits` is None for the float features themselves.
    bytes_per_item
        Memory of one item, as it is searched.
    mean_average_precision
        mAP@1000 in [0, 1]; ties of codes in expectation over their orders.
    fit_seconds
        Wall time of `fit` on the database; 0 where nothing is trained.
    search_ms
        Median wall time of the ten nearest items of all 500 queries together.
    """

    method: str
    n_bits: int | None
    bytes_per_item: int
    mean_average_precision: float
    fit_seconds: float
    search_ms: float


@dataclass(frozen=True)
class DemoResult:
    """What the demo measured, the float features first, and the codes that its pictures are drawn from."""

    seed: int
    n_items: int
    n_queries: int
    rows: list[Measurement]
    picture_codes: dict[str, tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]


def load_demo_data() -> DemoData:
    """Load the bundled data; `LICENSES.md` beside it says where it comes from."""
    with (files("sdc_search") / "demo_data" / "fashion.npz").open("rb") as file, np.load(file) as arrays:
        return DemoData(
            query=_unit_rows(arrays["query"]),
            query_labels=arrays["query_labels"],
            query_images=arrays["query_images"],
            database=_unit_rows(arrays["database"]),
            database_labels=arrays["database_labels"],
            database_images=arrays["database_images"],
            class_names=arrays["class_names"].tolist(),
        )


def run_demo(data: DemoData, seed: int, progress: Callable[[str], None]) -> DemoResult:
    """Train, encode, search and evaluate every method at every length.

    Parameters
    ----------
    data
        What `load_demo_data` returns.
    seed
        ``random_state`` of every method; the same seed gives the same mAP.
    progress
        Called with a few words before each step, ``N_STEPS - 1`` times: the last step is `draw_pictures`.
    """
    progress("searching the float features")
    rows = [
        Measurement(
            method="float",
            n_bits=None,
            bytes_per_item=data.database.shape[1] * data.database.itemsize,
            mean_average_precision=mean_average_precision_from_scores(
                data.query @ data.database.T, data.database_labels, data.query_labels, at=RANKS
            ),
            fit_seconds=0.0,
            search_ms=_median_ms(lambda: _float_topk(data.database, data.query, NEIGHBOURS)),
        )
    ]
    picture_codes = {}
    for name, method in METHODS.items():
        for n_bits in LENGTHS:
            progress(f"training {name} at {n_bits} bits")
            hasher = method(n_bits=n_bits, random_state=seed, verbose=False)
            start = time.perf_counter()
            hasher.fit(data.database)
            fit_seconds = time.perf_counter() - start
            database, query = hasher.encode(data.database), hasher.encode(data.query)
            rows.append(_measure(name, n_bits, fit_seconds, database, query, data))
            if n_bits == PICTURE_BITS:
                picture_codes[name] = (database, query)
    return DemoResult(seed, len(data.database), len(data.query), rows, picture_codes)


def _measure(
    name: str,
    n_bits: int,
    fit_seconds: float,
    database: npt.NDArray[np.uint8],
    query: npt.NDArray[np.uint8],
    data: DemoData,
) -> Measurement:
    return Measurement(
        method=name,
        n_bits=n_bits,
        bytes_per_item=code_bytes(n_bits),
        mean_average_precision=mean_average_precision(
            database, data.database_labels, query, data.query_labels, at=RANKS, ties="expected"
        ),
        fit_seconds=fit_seconds,
        search_ms=_median_ms(lambda: hamming_topk(database, query, NEIGHBOURS)),
    )


def as_document(result: DemoResult) -> dict[str, Any]:
    """Return what was measured as JSON can hold it, with what it was measured on."""
    return {
        "data": "Fashion-MNIST, EfficientNet-Lite0 features, PCA to 128",
        "seed": result.seed,
        "database_items": result.n_items,
        "queries": result.n_queries,
        "ranks": RANKS,
        "ties": "expected",
        "neighbours": NEIGHBOURS,
        "runs_on": info(),
        "rows": [asdict(row) for row in result.rows],
    }


def draw_pictures(data: DemoData, result: DemoResult) -> dict[str, bytes]:
    """Draw the demo's figures.

    Returns
    -------
    PNG files by name: ``retrieval.png``, ``similarity.png``.
    """
    return {
        "retrieval.png": plots.png_bytes(_retrieval_figure(data, result)),
        "similarity.png": plots.png_bytes(_similarity_figure(data, result)),
    }


def _retrieval_figure(data: DemoData, result: DemoResult) -> Figure:
    # Drawn by lot, one a class, so that nobody has chosen the queries that look best.
    random = np.random.default_rng(result.seed)
    classes = random.permutation(len(data.class_names))[:PICTURE_QUERIES]
    rows = np.array([random.choice(np.flatnonzero(data.query_labels == label)) for label in classes])
    retrievals = []
    for name in ("LSH", "SDC"):
        database, query = result.picture_codes[name]
        _, ids = hamming_topk(database, query[rows], NEIGHBOURS)
        right = int((data.database_labels[ids] == data.query_labels[rows, None]).sum())
        title = f"{name}, {PICTURE_BITS} bits: {right} of {ids.size} right"
        retrievals.append(plots.Retrieval(title, ids))
    return plots.retrieval_figure(
        255 - data.query_images[rows],  # dark on light
        data.query_labels[rows],
        255 - data.database_images,
        data.database_labels,
        retrievals,
        class_names=data.class_names,
        caption=f"The {NEIGHBOURS} nearest of {len(data.database):,} images by Hamming distance,"
        f" for queries drawn by lot (seed {result.seed})",
    )


def _similarity_figure(data: DemoData, result: DemoResult) -> Figure:
    representations = [plots.Similarities("float features, cosine", data.query @ data.database.T)]
    for name, (database, query) in result.picture_codes.items():
        similarity = 1.0 - 2.0 * hamming_distance(database, query) / PICTURE_BITS
        representations.append(plots.Similarities(f"{name}, {PICTURE_BITS} bits", similarity))
    return plots.similarity_figure(
        representations,
        data.query_labels[:, None] == data.database_labels[None, :],
        n_bits=PICTURE_BITS,
    )


def _unit_rows(array: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    rows = np.asarray(array, dtype=np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def _float_topk(
    database: npt.NDArray[np.float32], query: npt.NDArray[np.float32], k: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Search unit vectors by cosine as one does in numpy: product, selection, order of the selected."""
    scores = query @ database.T
    candidates = np.argpartition(scores, -k, axis=1)[:, -k:]
    best = np.take_along_axis(scores, candidates, axis=1)
    order = np.argsort(-best, axis=1)
    return np.take_along_axis(best, order, axis=1), np.take_along_axis(candidates, order, axis=1)


def _median_ms(search: Callable[[], object], repeats: int = 9) -> float:
    search()  # the first call starts threads and fills caches
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        search()
        times.append(1000.0 * (time.perf_counter() - start))
    return statistics.median(times)
