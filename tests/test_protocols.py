from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sdc_search import mean_average_precision
from sdc_search.protocols import Protocol

PROTOCOLS = [
    Protocol.cifar10_sdc(),
    Protocol.imagenet100_sdc(),
    Protocol.nuswide_sdc(),
    Protocol.coco_sdc(),
    Protocol.fashion_mnist(),
]


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
def test_a_protocol_measures_what_its_text_says(protocol: Protocol, rng: np.random.Generator) -> None:
    codes = rng.integers(0, 8, (6050, 1), dtype=np.uint8)
    labels = rng.random((6050, 9)) < 0.02 if protocol.multi_label else rng.integers(0, 10, 6050)
    case = codes[50:], labels[50:], codes[:50], labels[:50]
    evaluation = protocol.evaluate(*case)
    multi_label = protocol.name in ("nuswide-sdc", "coco-sdc")
    options: dict[str, Any] = {"at": 5000, "no_hit": "skip"} if multi_label else {"at": 1000}
    assert evaluation.mean_average_precision == mean_average_precision(*case, **options)
    assert evaluation.n_queries == 50
    # Five thousand ranks of six thousand items leave no query with a relevant item without a hit.
    assert evaluation.n_without_hit == pytest.approx(
        (labels[:50].sum(axis=1) == 0).sum() if multi_label else 0
    )
    assert evaluation.protocol is protocol
    for words in (protocol.name, f"{options['at']:,} ranks", "any label" if multi_label else "class"):
        assert words in protocol.text
    assert ("left out" if multi_label else "counts as 0") in protocol.text


def test_text_tells_protocols_apart() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"at": -1},
        {"ties": "stable"},
        {"normalizer": "all_relevant"},
        {"no_hit": "skip"},
        {"multi_label": True},
    ]
    texts = {Protocol("mine", **change).text for change in changes}
    assert len(texts) == len(changes)
    assert all(text.count("\n") == 0 and text.endswith(".") for text in texts)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"at": 0}, ValueError, "at must be at least 1, or -1"),
        ({"at": 1.5}, TypeError, "at must be an integer"),
        ({"ties": "none"}, ValueError, "ties must be one of .*'none'"),
        ({"normalizer": "n"}, ValueError, "normalizer must be one of .*'n'"),
        ({"no_hit": "n"}, ValueError, "no_hit must be one of .*'n'"),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Protocol("mine", **options)


def test_labels_of_the_wrong_kind(rng: np.random.Generator) -> None:
    codes, labels = np.zeros((3, 1), dtype=np.uint8), np.arange(3)
    hot = np.eye(3, dtype=np.int64)
    with pytest.raises(ValueError, match=r"database_labels must be several .* nuswide-sdc, got shape \(3,\)"):
        Protocol.nuswide_sdc().evaluate(codes, labels, codes, labels)
    with pytest.raises(ValueError, match=r"query_labels must be one label .* cifar10-sdc, got .*\(3, 3\)"):
        Protocol.cifar10_sdc().evaluate(codes, labels, codes, hot)
