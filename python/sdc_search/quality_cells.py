"""Cells of (features, method, bits, seed): fitted once, judged by every set of queries, kept in files.

A cell is two kinds of files. One holds the codes of all rows and how the fit went; it stays valid while the
features, the rows learnt from, the parameters and the code of the method stay what they were. The others,
one a set of queries, hold scores; they depend on those codes, on labels, rows and protocol, and on the code
of the metrics. So a change elsewhere in the package, or of the metrics alone, throws no fit away.
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import numpy as np
import numpy.typing as npt

import sdc_search
from sdc_search import storage
from sdc_search.atomic_files import atomic_file
from sdc_search.bit_statistics import commonest_distance_share
from sdc_search.claims import Claims
from sdc_search.errors import CorruptFileError
from sdc_search.hashers.base import Hasher
from sdc_search.hashers.trained import TrainedHasher
from sdc_search.labelled_features import LabelledFeatures, QuerySet, array_digest
from sdc_search.method_specs import Method
from sdc_search.metrics import mean_average_precision, mean_average_precision_from_scores
from sdc_search.source_digest import source_digest
from sdc_search.training import EpochRecord

_FORMAT = "sdc_search.codes"
_VERSION = 1
_PAIR_ROWS = 10_000
_BLOCK_ITEMS = 1 << 24
_ENCODINGS = 3
_LONG_ENCODING = 1.0  # seconds: not repeated
_TRACED_ROWS = 1000


@dataclass(frozen=True, eq=False)
class Cell:
    """One hasher to fit and measure; `settings` is all that its codes depend on, as JSON holds it."""

    data: LabelledFeatures
    method: Method
    n_bits: int
    seed: int
    n_train: int | None
    settings: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.data.title}: {self.method.label}, {self.n_bits} bits, seed {self.seed}"

    @cached_property
    def name(self) -> str:
        """How its files begin: other settings, another name."""
        return f"{self.method.hasher_class.__name__}-{self.n_bits}-{self.seed}-{_digest(self.settings)}"

    def codes_path(self, folder: Path) -> Path:
        """Return where the codes are kept."""
        return folder / f"{self.name}.safetensors"

    def score_path(self, folder: Path, queries: QuerySet) -> Path:
        """Return where the scores by a set of queries are kept."""
        return folder / f"{self.name}-{_digest(self.score_settings(queries))}.json"

    def score_settings(self, queries: QuerySet) -> dict[str, Any]:
        """Return all that the scores by a set of queries depend on."""
        return {
            "codes": self.settings,
            "queries": self.data.query_set_digest(queries),
            "code": source_digest("sdc_search.protocols", "sdc_search.bit_statistics"),
        }


def _digest(settings: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Codes:
    """What the fit of a cell gave.

    Parameters
    ----------
    codes
        Of all rows of the features, in their order.
    fit_seconds
        Wall time of `fit`.
    encode_rate
        Rows encoded in a second: the median of three calls, or of one that takes longer than a second.
    trace
        Of a training, pairs of an epoch and the share of pairs at the commonest distance at its end, among
        1,000 of the rows learnt from.
    """

    codes: npt.NDArray[np.uint8]
    fit_seconds: float
    encode_rate: float
    trace: list[list[float]]


@dataclass(frozen=True)
class Scores:
    """What a set of queries says of a cell's codes.

    Parameters
    ----------
    mean_average_precision
        By its protocol, in [0, 1].
    n_without_hit
        Queries without a relevant item among the ranks that count; in expectation where ties decide.
    collapse
        Share of all pairs of (at most 10,000) items of the database that lie at the commonest distance.
    seconds
        Wall time of computing these.
    """

    mean_average_precision: float
    n_without_hit: float
    collapse: float
    seconds: float


@dataclass(frozen=True)
class Measurement:
    """A cell's figures; `scores` by the titles of the sets of queries."""

    fit_seconds: float
    encode_rate: float
    scores: Mapping[str, Scores]


@dataclass(frozen=True)
class Summary:
    """The cells of one method and length, by one set of queries: means over the seeds.

    `spread` has the standard deviation of each figure that `mean` has; it is empty where there is one seed.
    """

    method: str
    n_bits: int
    seeds: list[int]
    mean: Mapping[str, float]
    spread: Mapping[str, float]


def plan_cells(
    methods: Sequence[Method],
    lengths: Sequence[int],
    n_seeds: int,
    data: LabelledFeatures,
    n_train: int | None = None,
) -> list[Cell]:
    """List the cells; seeds come last, so that an interrupted run has whole columns of the first seed.

    Raises
    ------
    ValueError
        `n_train` is not within 2 and the number of rows to learn from.
    """
    if n_train is not None and not 2 <= n_train <= len(data.train):
        raise ValueError(f"--train-rows must be within 2 and {len(data.train)}, got {n_train}")
    return [
        Cell(data, method, n_bits, seed, n_train, _settings(data, method.build(n_bits, seed), n_train, seed))
        for seed in range(n_seeds)
        for method in methods
        for n_bits in dict.fromkeys(lengths)
    ]


def _settings(data: LabelledFeatures, hasher: Hasher, n_train: int | None, seed: int) -> dict[str, Any]:
    params = {name: value for name, value in hasher.get_params().items() if name != "verbose"}
    return {
        "features": data.features_digest,
        "train_rows": array_digest(data.train_rows(n_train, seed)),
        "class": type(hasher).__name__,
        "params": json.loads(json.dumps(params, default=repr)),
        "code": source_digest(type(hasher).__module__),
        "version": sdc_search.__version__,  # for the native core
    }


def run_cells(
    cells: Sequence[Cell], folder: Path, report: Callable[[str, int], None]
) -> tuple[dict[Cell, Measurement], list[str]]:
    """Measure the cells that have no files in `folder` yet, and write each as soon as it is done.

    Several processes may do so at once, in one folder: none begins a cell that another is at, and each waits
    in the end for what the others have not finished.

    Parameters
    ----------
    cells, folder
        What to measure, and where it is kept.
    report
        Called with a cell's name and the number of those done before each that is measured.

    Returns
    -------
    The measurements in the order of `cells`, and a sentence for each cell whose method refused it.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C; a fit that it ended early is not kept.
    """
    measured: dict[Cell, Measurement | None] = {}
    failures: list[str] = []

    def measure(cell: Cell) -> None:
        found = read_cell(cell, folder)
        if found is None:
            report(str(cell), len(measured))
            try:
                found = _measure(cell, folder)
            except (TypeError, ValueError) as error:
                failures.append(f"{cell}: {error}")
        measured[cell] = found

    with Claims(folder / "claims") as claims:
        elsewhere = []
        for cell in cells:
            if claims.take(cell.name):
                measure(cell)
                claims.release(cell.name)
            else:
                elsewhere.append(cell)
        for cell in elsewhere:
            report(f"{cell}: another process is at it", len(measured))
            claims.take(cell.name, wait=True)
            measure(cell)
            claims.release(cell.name)
    return {cell: found for cell in cells if (found := measured[cell]) is not None}, failures


def read_cell(cell: Cell, folder: Path) -> Measurement | None:
    """Return what an earlier run measured under the same settings; None unless all of it is there."""
    codes = read_codes(cell, folder)
    scores = {queries.title: read_scores(cell, queries, folder) for queries in cell.data.query_sets}
    found = {title: score for title, score in scores.items() if score is not None}
    if codes is None or len(found) < len(scores):
        return None
    return Measurement(codes.fit_seconds, codes.encode_rate, found)


def read_codes(cell: Cell, folder: Path) -> Codes | None:
    """Return the codes that an earlier run made under the same settings; None where none did."""
    try:
        tensors, header = storage.read(cell.codes_path(folder), _FORMAT, version=_VERSION)
        if header["settings"] != cell.settings or len(tensors["codes"]) != len(cell.data.features):
            return None
        return Codes(tensors["codes"], **header["fit"])
    except (FileNotFoundError, CorruptFileError, KeyError, TypeError):
        return None


def read_scores(cell: Cell, queries: QuerySet, folder: Path) -> Scores | None:
    """Return the scores that an earlier run measured under the same settings; None where none did."""
    try:
        document = json.loads(cell.score_path(folder, queries).read_text())
        return Scores(**document["scores"]) if document["settings"] == cell.score_settings(queries) else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _measure(cell: Cell, folder: Path) -> Measurement:
    codes = read_codes(cell, folder)
    if codes is None:
        codes = _fit(cell)
        fit = {name: value for name, value in vars(codes).items() if name != "codes"}
        storage.write(
            cell.codes_path(folder),
            _FORMAT,
            {"codes": codes.codes},
            {"settings": cell.settings, "fit": fit},
            version=_VERSION,
            n_bits=cell.n_bits,
        )
    scores = {}
    for queries in cell.data.query_sets:
        score = read_scores(cell, queries, folder)
        if score is None:
            score = _score(codes.codes, cell.data.labels, queries)
            document = {"settings": cell.score_settings(queries), "scores": asdict(score)}
            with atomic_file(cell.score_path(folder, queries)) as file:
                file.write((json.dumps(document, indent=2) + "\n").encode())
        scores[queries.title] = score
    return Measurement(codes.fit_seconds, codes.encode_rate, scores)


def _fit(cell: Cell) -> Codes:
    hasher = cell.method.build(cell.n_bits, cell.seed)
    rows = cell.data.features[cell.data.train_rows(cell.n_train, cell.seed)]
    trace = _CollapseTrace(_spread(rows, _TRACED_ROWS))
    if isinstance(hasher, TrainedHasher):
        hasher.set_params(callbacks=[*(hasher.callbacks or ()), trace])
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # that it was interrupted, which the report says too
        hasher.fit(rows)
    fit_seconds = time.perf_counter() - start - trace.seconds
    if hasher.report_.get("interrupted"):
        raise KeyboardInterrupt
    times: list[float] = []
    while len(times) < _ENCODINGS and not (times and times[0] > _LONG_ENCODING):
        start = time.perf_counter()
        codes = hasher.encode(cell.data.features)
        times.append(time.perf_counter() - start)
    return Codes(codes, fit_seconds, len(codes) / median(times), trace.points)


def _score(codes: npt.NDArray[np.uint8], labels: npt.NDArray[Any], queries: QuerySet) -> Scores:
    start = time.perf_counter()
    evaluation = queries.protocol.evaluate(
        codes[queries.database], labels[queries.database], codes[queries.query], labels[queries.query]
    )
    return Scores(
        mean_average_precision=evaluation.mean_average_precision,
        n_without_hit=float(evaluation.n_without_hit),
        collapse=commonest_distance_share(codes[_spread(queries.database, _PAIR_ROWS)]),
        seconds=time.perf_counter() - start,
    )


def _spread(array: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """Return all rows, or `count` of them, evenly spaced."""
    return array[np.linspace(0, len(array) - 1, min(len(array), count)).astype(np.int64)]


class _CollapseTrace:
    """A callback that sees how codes collapse during a training, and how long the looking took.

    It looks at the first ten epochs, at every fifth up to 100, at every fiftieth up to 1,000, and so on.
    """

    def __init__(self, rows: npt.NDArray[Any]) -> None:
        self.rows = rows
        self.points: list[list[float]] = []
        self.seconds = 0.0

    def __call__(self, record: EpochRecord) -> None:
        if record.epoch % max(1, 10 ** (len(str(record.epoch)) - 1) // 2):
            return
        assert record.hasher is not None
        start = time.perf_counter()
        share = commonest_distance_share(record.hasher().encode(self.rows))
        self.points.append([record.epoch, share])
        self.seconds += time.perf_counter() - start


def references(data: LabelledFeatures, queries: QuerySet) -> dict[str, float]:
    """Return the mAP of a random order, exactly, and of the features' cosines."""
    at = queries.protocol.at
    labels = data.labels[queries.database], data.labels[queries.query]
    nothing = [np.zeros((len(rows), 1), np.uint8) for rows in (queries.database, queries.query)]
    database, query = (_unit_rows(data.features[rows]) for rows in (queries.database, queries.query))
    step = max(1, _BLOCK_ITEMS // len(database))
    total = 0.0
    for start in range(0, len(query), step):
        block = slice(start, start + step)
        total += len(query[block]) * mean_average_precision_from_scores(
            query[block] @ database.T, labels[0], labels[1][block], at=at
        )
    chance = mean_average_precision(nothing[0], labels[0], nothing[1], labels[1], at=at)
    return {"chance": chance, "float cosine": total / len(query)}


def kept_references(data: LabelledFeatures, queries: QuerySet, folder: Path) -> dict[str, float]:
    """Return `references`, kept in a file since the second takes long where the data are large."""
    settings = {
        "features": data.features_digest,
        "queries": data.query_set_digest(queries),
        "code": source_digest("sdc_search.metrics"),
    }
    path = folder / f"references-{_digest(settings)}.json"
    with Claims(folder / "claims") as claims:
        claims.take(path.name, wait=True)
        try:
            return dict(json.loads(path.read_text())["references"])
        except (FileNotFoundError, ValueError, KeyError):
            found = references(data, queries)
            with atomic_file(path) as file:
                file.write((json.dumps({"settings": settings, "references": found}) + "\n").encode())
            return found


def _unit_rows(X: npt.NDArray[Any]) -> npt.NDArray[Any]:
    X = X.astype(np.promote_types(X.dtype, np.float32), copy=False)
    norms = np.linalg.norm(X, axis=1, keepdims=True)
    return np.asarray(X / np.where(norms > 0, norms, 1))


def summarize(measured: Mapping[Cell, Measurement], queries: QuerySet) -> list[Summary]:
    """Average over the seeds; one entry for each method and length that has a cell."""
    groups: dict[tuple[str, int], list[tuple[int, dict[str, float]]]] = {}
    for cell, measurement in measured.items():
        figures = {
            **asdict(measurement.scores[queries.title]),
            "fit_seconds": measurement.fit_seconds,
            "encode_rate": measurement.encode_rate,
        }
        groups.setdefault((cell.method.label, cell.n_bits), []).append((cell.seed, figures))
    summaries = []
    for (method, n_bits), members in groups.items():
        columns = {name: [figures[name] for _, figures in members] for name in members[0][1]}
        summaries.append(
            Summary(
                method=method,
                n_bits=n_bits,
                seeds=[seed for seed, _ in members],
                mean={name: mean(values) for name, values in columns.items()},
                spread={n: stdev(values) for n, values in columns.items() if len(values) > 1},
            )
        )
    return summaries
