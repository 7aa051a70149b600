"""How good each method's codes are: cells of (method, bits, seed), each measured once and kept in a file."""

from __future__ import annotations

import hashlib
import inspect
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import numpy as np
import numpy.typing as npt

import sdc_search
from sdc_search import hashers
from sdc_search.atomic_files import atomic_file
from sdc_search.benchmarks.quality_data import QualityData
from sdc_search.bit_statistics import commonest_distance_share
from sdc_search.hashers import Hasher
from sdc_search.metrics import mean_average_precision, mean_average_precision_from_scores

RANKS = 1000

# Of the table in Ng et al., BMVC 2023; methods that it lacks come after.
_ORDER = (
    *("LSH", "SpectralHashing", "ITQ", "SSDH", "GreedyHash", "TBH"),
    *("CIBHash", "BiHalf", "NSH", "WCH", "SDC", "GraphSDC"),
)
_GIVEN_ELSEWHERE = ("n_bits", "random_state", "verbose")
_PAIR_ROWS = 10_000
_BLOCK_ITEMS = 1 << 24


@dataclass(frozen=True, eq=False)
class Method:
    """A row of the table: a class of `sdc_search.hashers` and those parameters that are no defaults."""

    label: str
    hasher_class: type[Hasher]
    params: Mapping[str, Any]

    def build(self, n_bits: int, seed: int) -> Hasher:
        """Return an unfitted hasher."""
        given = {**self.params, "n_bits": n_bits, "random_state": seed, "verbose": False}
        return self.hasher_class(**given)


@dataclass(frozen=True, eq=False)
class Cell:
    """One hasher to fit and measure; `settings` is all that its result depends on, as JSON holds it."""

    method: Method
    n_bits: int
    seed: int
    settings: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.method.label}, {self.n_bits} bits, seed {self.seed}"

    def path(self, folder: Path) -> Path:
        """Return where the result is kept: other settings, another file."""
        digest = hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()[:16]
        name = self.method.hasher_class.__name__
        return folder / f"{name}-{self.n_bits}-{self.seed}-{digest}.json"


@dataclass(frozen=True)
class Measurement:
    """What a cell gave.

    Parameters
    ----------
    mean_average_precision
        mAP@1000 in [0, 1], ties in expectation.
    fit_seconds
        Wall time of `fit`.
    encode_rate
        Items of the database encoded in a second, the median of three calls.
    collapse
        Share of all pairs of (at most 10,000) items of the database that lie at the commonest distance.
    """

    mean_average_precision: float
    fit_seconds: float
    encode_rate: float
    collapse: float


@dataclass(frozen=True)
class Summary:
    """The cells of one method and length: means over the seeds; `spread` is mAP's standard deviation."""

    method: str
    n_bits: int
    seeds: list[int]
    mean_average_precision: float
    spread: float | None
    fit_seconds: float
    encode_rate: float
    collapse: float


def known_methods() -> dict[str, type[Hasher]]:
    """Return the hash functions that `sdc_search.hashers` lists, in the order of the paper's table."""
    classes = {name: getattr(hashers, name) for name in hashers.__all__}
    methods = {
        name: value
        for name, value in classes.items()
        if isinstance(value, type) and issubclass(value, Hasher) and not inspect.isabstract(value)
    }
    rank = {name: place for place, name in enumerate(_ORDER)}
    return {name: methods[name] for name in sorted(methods, key=lambda name: rank.get(name, len(rank)))}


def parse_methods(texts: Sequence[str], preset: str | None = None) -> list[Method]:
    """Read what ``--methods`` is given: ``Class``, ``Class:preset`` or ``Class:name=value,name=value``.

    Parameters
    ----------
    texts
        None at all: every known method.
    preset
        For those that have presets and name none.

    Raises
    ------
    ValueError
        A class, a parameter or a preset is not there; the message lists what is.
    """
    known = known_methods()
    methods = [_parse_method(text, preset, known) for text in dict.fromkeys(texts or known)]
    if preset is not None and not any("preset" in method.params for method in methods):
        raise ValueError(f"--preset {preset}: none of {', '.join(m.label for m in methods)} has presets")
    return methods


def _parse_method(text: str, preset: str | None, known: Mapping[str, type[Hasher]]) -> Method:
    name, _, rest = text.partition(":")
    if name not in known:
        raise ValueError(f"--methods {text!r}: there is no class {name!r}, only {', '.join(known)}")
    accepted = [key for key in inspect.signature(known[name]).parameters if key not in _GIVEN_ELSEWHERE]
    params: dict[str, Any] = {}
    for item in filter(None, rest.split(",")):
        key, given, value = item.rpartition("=")
        params[key if given else "preset"] = _value(value) if given else value
    for key in params:
        if key not in accepted:
            raise ValueError(
                f"--methods {text!r}: {name} has no parameter {key!r}, only {', '.join(accepted)}"
            )
    label = text
    if preset is not None and "preset" in accepted and "preset" not in params:
        params["preset"] = preset
        label = ",".join([f"{name}:{preset}", *filter(None, [rest])])
    return Method(label, known[name], params)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def plan_cells(
    methods: Sequence[Method], lengths: Sequence[int], n_seeds: int, data: QualityData, n_train: int | None
) -> list[Cell]:
    """List the cells; seeds come last, so that an interrupted run has whole columns of the first seed.

    Raises
    ------
    ValueError
        `n_train` is not within 2 and the number of rows to learn from.
    """
    if n_train is not None and not 2 <= n_train <= len(data.train_rows):
        raise ValueError(f"--train-rows must be within 2 and {len(data.train_rows)}, got {n_train}")
    common = {"data": data.digest(), "train_rows": n_train, "ranks": RANKS, **_software()}
    return [
        Cell(method, n_bits, seed, {**common, **_hasher_settings(method.build(n_bits, seed))})
        for seed in range(n_seeds)
        for method in methods
        for n_bits in dict.fromkeys(lengths)
    ]


def _hasher_settings(hasher: Hasher) -> dict[str, Any]:
    params = {name: value for name, value in hasher.get_params().items() if name != "verbose"}
    return {"class": type(hasher).__name__, "params": json.loads(json.dumps(params, default=repr))}


def _software() -> dict[str, str]:
    """Return the version, and a hash of the code without the benchmarks, since a version has many states."""
    package = Path(inspect.getfile(sdc_search)).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        if "benchmarks" not in path.relative_to(package).parts:
            digest.update(path.read_bytes())
    return {"version": sdc_search.__version__, "code": digest.hexdigest()}


def run_cells(
    cells: Iterable[Cell], data: QualityData, folder: Path, report: Callable[[str, int], None]
) -> tuple[dict[Cell, Measurement], list[str]]:
    """Measure the cells that have no file in `folder` yet, and write each as soon as it is done.

    Returns
    -------
    The measurements, and a sentence for each cell whose method refused it.
    """
    measured, failures = {}, []
    for done, cell in enumerate(cells):
        report(str(cell), done)
        measurement = read_cell(cell, folder)
        if measurement is None:
            try:
                measurement = _measure(cell, data)
            except (TypeError, ValueError) as error:
                failures.append(f"{cell}: {error}")
                continue
            document = {"settings": cell.settings, "measurement": asdict(measurement)}
            with atomic_file(cell.path(folder)) as file:
                file.write((json.dumps(document, indent=2) + "\n").encode())
        measured[cell] = measurement
    return measured, failures


def read_cell(cell: Cell, folder: Path) -> Measurement | None:
    """Return what an earlier run measured under the same settings; None where none did."""
    try:
        document = json.loads(cell.path(folder).read_text())
        return Measurement(**document["measurement"]) if document["settings"] == cell.settings else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _measure(cell: Cell, data: QualityData) -> Measurement:
    hasher = cell.method.build(cell.n_bits, cell.seed)
    rows = data.database[data.rows(cell.settings["train_rows"], cell.seed)]
    start = time.perf_counter()
    hasher.fit(rows)
    fit_seconds = time.perf_counter() - start
    times = []
    for _ in range(3):
        start = time.perf_counter()
        codes = hasher.encode(data.database)
        times.append(time.perf_counter() - start)
    return Measurement(
        mean_average_precision=mean_average_precision(
            codes, data.database_labels, hasher.encode(data.query), data.query_labels, at=RANKS
        ),
        fit_seconds=fit_seconds,
        encode_rate=len(codes) / median(times),
        collapse=commonest_distance_share(_at_most(codes, _PAIR_ROWS)),
    )


def _at_most(codes: npt.NDArray[np.uint8], n_rows: int) -> npt.NDArray[np.uint8]:
    """Return all rows, or `n_rows` of them, evenly spaced."""
    if len(codes) <= n_rows:
        return codes
    return codes[np.linspace(0, len(codes) - 1, n_rows).astype(np.int64)]


def references(data: QualityData) -> dict[str, float]:
    """Return mAP@1000 of a random order, exactly, and of the features' cosines."""
    nothing = [np.zeros((len(rows), 1), np.uint8) for rows in (data.database, data.query)]
    database, query = _unit_rows(data.database), _unit_rows(data.query)
    step = max(1, _BLOCK_ITEMS // len(database))
    total = 0.0
    for start in range(0, len(query), step):
        rows = query[start : start + step]
        total += len(rows) * mean_average_precision_from_scores(
            rows @ database.T, data.database_labels, data.query_labels[start : start + step], at=RANKS
        )
    return {
        "chance": mean_average_precision(
            nothing[0], data.database_labels, nothing[1], data.query_labels, at=RANKS
        ),
        "float cosine": total / len(query),
    }


def _unit_rows(X: npt.NDArray[Any]) -> npt.NDArray[Any]:
    norms = np.linalg.norm(X, axis=1, keepdims=True)
    return np.asarray(X / np.where(norms > 0, norms, 1))


def summarize(measured: Mapping[Cell, Measurement]) -> list[Summary]:
    """Average over the seeds; one entry for each method and length that has a cell."""
    groups: dict[tuple[str, int], list[tuple[int, Measurement]]] = {}
    for cell, measurement in measured.items():
        groups.setdefault((cell.method.label, cell.n_bits), []).append((cell.seed, measurement))
    summaries = []
    for (method, n_bits), members in groups.items():
        scores = [measurement.mean_average_precision for _, measurement in members]
        summaries.append(
            Summary(
                method=method,
                n_bits=n_bits,
                seeds=[seed for seed, _ in members],
                mean_average_precision=mean(scores),
                spread=stdev(scores) if len(scores) > 1 else None,
                fit_seconds=mean(measurement.fit_seconds for _, measurement in members),
                encode_rate=mean(measurement.encode_rate for _, measurement in members),
                collapse=mean(measurement.collapse for _, measurement in members),
            )
        )
    return summaries
