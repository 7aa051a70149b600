from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sdc_search import hamming_topk, merge_topk


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_shards_give_what_the_whole_gives(kind: Any, rng: np.random.Generator) -> None:
    codes = rng.integers(0, 3, (200, 1), dtype=np.uint8)  # most are tied
    queries = kind(codes[:7])
    for cuts in ([200], [0, 200], [1, 64, 65, 200], [199, 200]):
        for k in (1, 10, 150, 230):
            parts, first = [], 0
            for cut in cuts:
                distances, ids = hamming_topk(kind(codes[first:cut]), queries, k)
                ids[ids >= 0] += first
                parts.append((distances, ids))
                first = cut
            got, want = merge_topk(parts, k), hamming_topk(kind(codes), queries, k)
            for actual, expected in zip(got, want, strict=True):
                assert type(actual) is type(expected)
                assert actual.dtype == expected.dtype
                np.testing.assert_array_equal(actual, expected)
            np.testing.assert_array_equal(merge_topk(parts[::-1], k)[1], want[1])


def test_ids_are_numbers_of_any_size_and_parts_may_differ_in_width() -> None:
    parts = [
        (np.array([[3, 5]], np.int32), np.array([[2**62, 9]])),
        (np.array([[3, 5, 5]], np.int32), np.array([[7, 1, 2]])),
        (np.empty((1, 0), np.int32), np.empty((1, 0), np.int64)),
    ]
    for kind in (np.asarray, torch.from_numpy):
        distances, ids = merge_topk([(kind(part[0]), kind(part[1])) for part in parts], 4)
        assert distances.tolist() == [[3, 3, 5, 5]]
        assert ids.tolist() == [[7, 2**62, 1, 2]]


def test_bad_parts() -> None:
    distances, ids = np.zeros((2, 3), np.int32), np.zeros((2, 3), np.int64)
    with pytest.raises(ValueError, match="parts must hold at least one part"):
        merge_topk([], 1)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        merge_topk([(distances, ids)], 0)
    with pytest.raises(TypeError, match=r"parts\[0\]\[1\] must be int64, got int32"):
        merge_topk([(distances, distances)], 1)  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"parts\[1\]\[0\] must have shape \(2, k_i\), got \(1, 3\)"):
        merge_topk([(distances, ids), (distances[:1], ids[:1])], 1)
    with pytest.raises(ValueError, match=r"parts\[0\]\[1\] must have shape \(2, k_i\), got \(2, 2\)"):
        merge_topk([(distances, ids[:, :2])], 1)
