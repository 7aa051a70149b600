"""The predicted times are those of the formulas, and the counts are of the kernels as they should be."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

CUDA = Path(__file__).parents[1] / "cuda"
WORDS = ["1", "2", "4", "8", "16", "32", "64"]


@pytest.fixture
def roofline(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(CUDA))
    monkeypatch.delitem(sys.modules, "roofline", raising=False)
    import roofline

    return roofline


def test_the_document_is_what_the_script_writes(roofline: ModuleType) -> None:
    assert (CUDA / "ROOFLINE.md").read_text() == roofline.document(roofline.hot_loops()) + "\n"


def test_the_hot_loops_load_vectors_and_use_the_matrix_units(roofline: ModuleType) -> None:
    for architecture, kernels in roofline.hot_loops().items():
        for words in WORDS:
            scan, matrix = kernels["scan"][words], kernels["scan_matrix"][words]
            assert scan["row_loads"] == int(words) // 4
            assert scan["POPC"] == int(words) * scan["compared"]
            products = max(1, int(words) // 8)
            wanted = (0, products) if architecture != "sm_100" else (4 * max(1, int(words) // 4), 0)
            assert (matrix["IMMA"], matrix["BMMA"]) == wanted


def test_the_busiest_unit_sets_the_time(roofline: ModuleType) -> None:
    loops = roofline.hot_loops()
    one = roofline.Search(10**7, 256, 1, 10)
    loads = roofline.ours(one, roofline.H100, loops)
    seconds, limit, shares = roofline.bound(loads, roofline.H100)
    assert limit == "memory"
    assert seconds == pytest.approx((2 + 1 / 16) * 10**7 * 32 / 3.35e12, rel=1e-3)
    assert shares["memory"] == 1.0
    assert all(0 < share <= 1 for share in shares.values())
    many = roofline.Search(10**7, 64, 10_000, 10)
    assert roofline.bound(roofline.ours(many, roofline.H100, loops), roofline.H100)[1] == "issue"
    assert roofline.faiss(one, roofline.H100)["POPC"] == 132 * 8 * 10**7  # one multiprocessor works
    assert roofline.duration(1.5) == "1.5 s"
