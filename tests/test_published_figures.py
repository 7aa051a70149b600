"""The published table, as it is kept in the package."""

from __future__ import annotations

import pytest

from sdc_search.method_specs import known_methods
from sdc_search.published_figures import published_rows

DATASETS = ("cifar10", "imagenet100", "nuswide", "coco")


@pytest.mark.parametrize("dataset", DATASETS)
def test_rows_of_every_backbone(dataset: str) -> None:
    assert [row.method for row in published_rows(dataset, "vgg16")] == [
        *("LSH", "SH", "ITQ", "SSDH", "GreedyHash", "TBH", "CIBHash", "BiHalf", "SDC")
    ]
    for backbone in ("vgg16", "resnet50", "vit_b_16"):
        for row in published_rows(dataset, backbone):
            assert row.hasher in known_methods()
            assert all(0.1 < score < 0.9 for score in row.scores.values())
            assert row.scores.keys() <= {16, 32, 64}
            assert row.reported_by_authors == (row.method == "NSH")


def test_single_figures() -> None:
    sdc = {row.method: row.scores for row in published_rows("cifar10", "vgg16")}["SDC"]
    assert sdc == {16: 0.598, 32: 0.640, 64: 0.663}
    wch = {row.method: row.scores for row in published_rows("cifar10", "vit_b_16")}["WCH"]
    assert wch == {16: 0.775, 32: 0.793}  # the third is not readable
    assert "WCH" not in [row.method for row in published_rows("coco", "vit_b_16")]


def test_there_are_none_for_others() -> None:
    assert published_rows("fashion-mnist", "vgg16") == []
    assert published_rows("cifar10", "pixels") == []
