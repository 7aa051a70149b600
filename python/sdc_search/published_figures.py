"""Figures that others have published, to set beside measured ones.

They are of table 1 of Ng et al., BMVC 2023 (arXiv 2302.07669): mAP@1000 of CIFAR10 and ImageNet100, mAP@5000
of NUS-WIDE and MS-COCO. What the print at hand left unreadable is absent.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import files

# The paper's names of methods that the package calls otherwise.
_CLASSES = {"SH": "SpectralHashing"}


@dataclass(frozen=True)
class PublishedRow:
    """One method's row of the table.

    Parameters
    ----------
    method
        As the paper calls it.
    hasher
        The class in `sdc_search.hashers`.
    reported_by_authors
        Whether the paper took the figures from the method's own paper.
    scores
        bits → mAP in [0, 1].
    """

    method: str
    hasher: str
    reported_by_authors: bool
    scores: dict[int, float]


def published_rows(dataset: str, backbone: str) -> list[PublishedRow]:
    """Return the paper's rows for a data set and a backbone; none where it has none.

    Parameters
    ----------
    dataset, backbone
        As in `sdc_search.datasets.load_dataset` and `sdc_search.backbones.load_backbone`.

    Examples
    --------
    >>> from sdc_search.published_figures import published_rows
    >>> [row.method for row in published_rows("cifar10", "resnet50")]
    ['NSH', 'SDC']
    """
    rows: dict[str, PublishedRow] = {}
    with files(__package__).joinpath("published_figures.csv").open(encoding="utf-8") as file:
        for line in csv.DictReader(file):
            if (line["dataset"], line["backbone"]) == (dataset, backbone):
                method = line["method"]
                by_authors = line["reported_by"] == "authors"
                row = PublishedRow(method, _CLASSES.get(method, method), by_authors, {})
                scores = rows.setdefault(method, row).scores
                scores[int(line["bits"])] = round(float(line["map_percent"]) / 100, 3)
    return list(rows.values())
