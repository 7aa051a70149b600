from __future__ import annotations

import os
import subprocess
import sys

import pytest

import sdc_search


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


def test_info_names_what_is_in_use() -> None:
    info = sdc_search.info()
    assert info["isa"] in info["isas"]
    assert info["isas"][0] == "portable"
    assert info["threads"] >= 1
    assert info["version"] == sdc_search.__version__


@pytest.mark.parametrize("isa", sdc_search.info()["isas"])
def test_a_level_can_be_forced(isa: str) -> None:
    done = run("import sdc_search; print(sdc_search.info()['isa'])", SDC_SEARCH_ISA=isa)
    assert done.stdout.strip() == isa


@pytest.mark.parametrize("call", ["info()", "hamming_topk(c, c, 1)"])
@pytest.mark.parametrize("isa", ["sse9", "", "AVX2 "])
def test_an_unknown_level_is_an_error_that_lists_the_known_ones(isa: str, call: str) -> None:
    done = run(
        "import numpy as np, sdc_search\nc = np.zeros((1, 8), dtype=np.uint8)\n"
        f"try:\n    sdc_search.{call}\nexcept ValueError as error:\n    print(error)",
        SDC_SEARCH_ISA=isa,
    )
    if isa:
        assert "SDC_SEARCH_ISA" in done.stdout
        assert all(name in done.stdout for name in sdc_search.info()["isas"])
    else:
        assert done.stdout == ""  # set but empty is not set


def test_threads_come_from_the_environment_the_call_and_the_affinity() -> None:
    program = "import sdc_search; print(sdc_search.info()['threads'])"
    assert run(program, SDC_SEARCH_THREADS="3").stdout.strip() == "3"
    bad = run(program, SDC_SEARCH_THREADS="many")
    assert "SDC_SEARCH_THREADS" in bad.stderr
    if hasattr(os, "sched_setaffinity"):
        one_cpu = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n" + program
        assert run(one_cpu, SDC_SEARCH_THREADS="").stdout.strip() == "1"


def test_set_num_threads_changes_the_default() -> None:
    before = sdc_search.info()["threads"]
    try:
        sdc_search.set_num_threads(before + 1)
        assert sdc_search.info()["threads"] == before + 1
    finally:
        sdc_search.set_num_threads(before)
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        sdc_search.set_num_threads(0)
    with pytest.raises(TypeError, match="n must be an integer, got str"):
        sdc_search.set_num_threads("2")  # type: ignore[arg-type]


def test_the_thread_pool_survives_a_fork() -> None:
    program = """
import os, warnings
import numpy as np, sdc_search
codes = np.random.default_rng(0).integers(0, 256, (50_000, 8), dtype=np.uint8)
want = sdc_search.hamming_topk(codes, codes[:8], 5, num_threads=4)[1]
child = os.fork()
if child == 0:
    same = np.array_equal(sdc_search.hamming_topk(codes, codes[:8], 5, num_threads=4)[1], want)
    os._exit(0 if same else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert np.array_equal(sdc_search.hamming_topk(codes, codes[:8], 5, num_threads=4)[1], want)
print("fine")
"""
    done = run(program)
    assert done.stdout == "fine\n", done.stderr


def test_importing_the_package_imports_neither_torch_nor_scipy() -> None:
    program = (
        "import sys, sdc_search; print([m for m in ('torch', 'scipy', 'safetensors') if m in sys.modules])"
    )
    assert run(program).stdout.strip() == "[]"


def test_every_public_name_loads() -> None:
    for name in sdc_search.__all__:
        assert getattr(sdc_search, name).__name__ == name
        assert name in dir(sdc_search)
    with pytest.raises(AttributeError, match="no attribute 'hamming_tpk'"):
        sdc_search.hamming_tpk  # noqa: B018
    assert "hamming_topk" in dir(sdc_search)
