"""How long the steps of a run will take: by what was measured of the same kind, or else by a stated rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from sdc_search.labelled_features import QuerySet
from sdc_search.method_specs import Method
from sdc_search.quality_cells import Cell, Measurement, read_cell
from sdc_search.reproduction.experiments import FeatureSpec
from sdc_search.reproduction.sources import Source

RULE = (
    "~ before a time: nothing of the kind was measured in this folder yet. Extraction is then taken to run at"
    " 50 billion operations a second, and an image to be read in 2 ms; a hash function to learn as long as on"
    " one core of an AMD EPYC Milan, by the number of rows that it learns from; a query to be judged in"
    " 10 ns an item of the database."
)
_OPERATIONS_A_SECOND = 50e9
_READ_SECONDS = 2e-3
_JUDGE_SECONDS = 1e-8

# Billions of operations an image of 224 pixels takes, as the networks' papers count them (a multiplication
# with its addition as two).
_OPERATIONS = {
    "vgg16": 31.0,
    "resnet50": 8.2,
    "vit_b_16": 35.2,
    "efficientnet_lite0": 0.8,
    "pixels": 0.0,
    "pixels:rgb": 0.0,
}

# Seconds of `fit` for 64 bits with the methods' defaults: those that do not depend on the rows, and those
# that 5,000 rows add. Four were measured with 100 rows alone.
_FIT_ROWS = 5000
_FIT_SECONDS = {
    "LSH": (0.0, 0.1),
    "SpectralHashing": (0.0, 1.2),
    "ITQ": (0.0, 2.6),
    "SSDH": (0.0, 14.0),
    "GreedyHash": (0.0, 17.0),
    "TBH": (0.0, 33.0),
    "CIBHash": (0.0, 17.0),
    "BiHalf": (0.0, 17.0),
    "NSH": (0.0, 23.0),
    "WCH": (0.0, 20.0),
    "SDC": (0.0, 53.0),
    "GraphSDC": (30.0, 37.0),
}
_FIT_SECONDS_UNKNOWN = (0.0, 60.0)


@dataclass(frozen=True)
class Step:
    """A step of a run.

    Parameters
    ----------
    text
        What it does.
    done
        Whether an earlier run has done it.
    seconds
        How long it takes, or took; None where there is neither a measurement nor a rule.
    measured
        Whether that follows from measurements.
    """

    text: str
    done: bool
    seconds: float | None
    measured: bool

    def __str__(self) -> str:
        state = "done " if self.done else "to do"
        about = "" if self.measured else "~"
        time = "time unknown" if self.seconds is None else f"{about}{duration(self.seconds)}"
        return f"{state}  {time:>12}  {self.text}"


def duration(seconds: float) -> str:
    """Write a time in the unit that suits it.

    Examples
    --------
    >>> from sdc_search.reproduction.estimates import duration
    >>> [duration(seconds) for seconds in (4.2, 90, 8000)]
    ['4.2 s', '1.5 min', '2.2 h']
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def extraction_step(source: Source, *, done: bool) -> Step:
    """Describe the extraction of a block's features."""
    n = len(source.part.images)
    text = f"{source.spec}: features of {n:,} images into {source.folder}"
    per_image = _image_seconds(source.spec)
    return Step(text, done, 0.0 if done else None if per_image is None else n * per_image, done)


def _image_seconds(spec: FeatureSpec) -> float | None:
    operations = _OPERATIONS.get(spec.backbone)
    if operations is None:
        return None
    return _READ_SECONDS + operations * 1e9 * ((spec.image_size or 224) / 224) ** 2 / _OPERATIONS_A_SECOND


def cell_steps(cells: Sequence[Cell], folder: Path) -> list[Step]:
    """Describe cells; those that are done tell how long the others will take."""
    measured = {cell: read_cell(cell, folder) for cell in cells}
    known: dict[tuple[str, str], list[float]] = {}
    for cell, measurement in measured.items():
        if measurement is not None:
            key = cell.data.title, cell.method.label
            known.setdefault(key, []).append(_took(cell, measurement))
    return [_cell_step(cell, found, known) for cell, found in measured.items()]


def _cell_step(
    cell: Cell, found: Measurement | None, known: Mapping[tuple[str, str], Sequence[float]]
) -> Step:
    if found is not None:
        return Step(str(cell), True, _took(cell, found), True)
    same = known.get((cell.data.title, cell.method.label))
    if same:
        return Step(str(cell), False, mean(same), True)
    rows = len(cell.data.train_rows(cell.n_train, cell.seed))
    return Step(str(cell), False, _rule(cell.method, rows, cell.data.query_sets), False)


def cell_step_without_features(source: Source, method: Method, n_bits: int, seed: int) -> Step:
    """Describe a cell whose features are not there yet, so that nothing can be known of it but `RULE`."""
    part = source.part
    seconds = _rule(method, len(part.train), part.query_sets)
    return Step(f"{source.spec}: {method.label}, {n_bits} bits, seed {seed}", False, seconds, False)


def _rule(method: Method, rows: int, query_sets: Sequence[QuerySet]) -> float:
    fixed, added = _FIT_SECONDS.get(method.hasher_class.__name__, _FIT_SECONDS_UNKNOWN)
    fit = fixed + added * rows / _FIT_ROWS
    return fit + sum(_JUDGE_SECONDS * len(q.query) * len(q.database) for q in query_sets)


def lines(steps: Sequence[Step]) -> list[str]:
    """Return a line for each step, and what they come to."""
    left = [step for step in steps if not step.done]
    known = [step.seconds for step in left if step.seconds is not None]
    total = f"{len(left)} of {len(steps)} steps to do"
    if left:
        about = "" if all(step.measured for step in left) else "about "
        missing = "" if len(known) == len(left) else f", and {len(left) - len(known)} steps of unknown length"
        total += f": {about}{duration(sum(known))}{missing}"
    notes = [RULE] if any(not step.measured for step in left) else []
    return [*map(str, steps), total, *notes]


def _took(cell: Cell, measurement: Measurement) -> float:
    encoding = len(cell.data.features) / measurement.encode_rate
    return measurement.fit_seconds + encoding + sum(s.seconds for s in measurement.scores.values())
