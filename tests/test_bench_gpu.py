"""The benchmark of GPUs, as far as it goes without one."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import torch

ROOT = Path(__file__).parents[1]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> object:
    """Return a function that loads a file of `bench`."""
    monkeypatch.syspath_prepend(str(ROOT / "cuda"))
    monkeypatch.syspath_prepend(str(ROOT / "bench"))

    def load(name: str) -> ModuleType:
        spec = spec_from_file_location(f"bench_{name}", ROOT / "bench" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return load


def test_a_machine_without_a_device_is_told_so_in_one_sentence(
    load: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    main = load("gpu")  # type: ignore[operator]
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main.main(["--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        "bench/gpu.py: no CUDA device can be used here, since torch finds no CUDA device\n"
    )
    monkeypatch.setattr(torch.version, "cuda", None)
    assert main.why_no_device() == "torch is built without CUDA"
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_it_takes() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "gpu.py"), "--help"], capture_output=True, text=True, check=True
    )
    assert "--quick" in done.stdout


def test_arguments_and_names(load: object) -> None:
    main = load("gpu")  # type: ignore[operator]
    options = main.arguments_of(["--quick", "--installed", "--out", "elsewhere"])
    assert (options.quick, options.installed, options.untested) == (True, True, False)
    assert options.out == Path("elsewhere")
    assert main.arguments_of([]).out == ROOT / "docs" / "results"
    assert main.file_name("NVIDIA H100 80GB HBM3") == "gpu-nvidia-h100-80gb-hbm3.md"
    import roofline

    assert main.known_device("NVIDIA H100 80GB HBM3", roofline.DEVICES) is roofline.H100
    assert main.known_device("NVIDIA GeForce RTX 4090", roofline.DEVICES) is None


def test_a_report_of_made_up_times(load: object) -> None:
    report = load("gpu_report")  # type: ignore[operator]
    outcomes = [
        report.Outcome("k = 10", 0.001, {"sdc-search": 0.002, "torch": 0.01, "faiss": "out of memory"}),
        report.Outcome("a loss", None, {"sdc-search": 0.5}),
        report.Outcome("too large", 1.0, {"sdc-search": "no room"}),
    ]
    lines = report.render({"device": "X1", "torch": "2"}, outcomes).splitlines()
    assert lines[0] == "# Measured on X1"
    assert "- torch: 2" in lines
    assert "| k = 10 | 2 ms | 1 ms | 0.50 | 10 ms, 5.00x | failed | — |" in lines
    assert "| a loss | 500 ms | — | — | — | — | — |" in lines
    assert "| too large | failed | — | — | — | — | — |" in lines
    assert lines[-2:] == ["- k = 10, faiss: out of memory", "- too large, sdc-search: no room"]


def test_the_cases_and_their_peers(load: object, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = load("gpu_cases")  # type: ignore[operator]
    names = [case.name for case in cases.list_cases(quick=False)]
    assert len(set(names)) == len(names)
    assert {case.name for case in cases.list_cases(quick=True)} < set(names)
    codes = torch.randint(0, 256, (300, 8), dtype=torch.uint8)
    want = cases.hamming_topk(codes, codes[:7], 5)
    monkeypatch.setattr(cases, "_signs", lambda packed, signs=cases._signs: signs(packed).float())
    monkeypatch.setattr(cases, "_MATRIX_BYTES", 1800)  # three queries at a time
    cases._same_distances(want, cases._torch_topk(codes, codes[:7], 5)())
    cases._same_hits(cases.hamming_range(codes, codes[:7], 24), cases._torch_range(codes, codes[:7], 24)())
    with pytest.raises(AssertionError, match="the distances differ"):
        cases._same_distances(want, want[0] + 1)
