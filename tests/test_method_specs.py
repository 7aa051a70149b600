"""Methods as words of a command line."""

from __future__ import annotations

from typing import Any

import pytest

from sdc_search import LSH, method_specs


def test_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    class Preset(LSH):
        def __init__(self, n_bits: int = 8, *, preset: str | None = None, **params: Any) -> None:
            super().__init__(n_bits, **params)
            self.preset = preset

    known = {"LSH": LSH, "Preset": Preset}
    monkeypatch.setattr(method_specs, "known_methods", lambda: known)
    given = method_specs.parse_methods(["LSH", "Preset", "Preset:author"], "sdc_paper")
    assert [(method.label, method.params) for method in given] == [
        ("LSH", {}),
        ("Preset:sdc_paper", {"preset": "sdc_paper"}),
        ("Preset:author", {"preset": "author"}),
    ]
    with pytest.raises(ValueError, match="none of LSH has presets"):
        method_specs.parse_methods(["LSH"], "author")


def test_known_methods_are_in_the_papers_order() -> None:
    names = [name for name in method_specs.known_methods() if name in ("LSH", "ITQ", "SDC")]
    assert names == ["LSH", "ITQ", "SDC"]
    assert "Hasher" not in method_specs.known_methods()
