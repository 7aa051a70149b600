"""The command as its users meet it: a process with arguments, two streams and an exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import sdc_search
from sdc_search import LSH, hamming_topk, hashers, load_hasher, mean_average_precision
from sdc_search.cli import Method

COMMANDS = ("demo", "extract", "train", "encode", "search", "evaluate", "info")


def run(*arguments: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sdc_search", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def succeed(*arguments: object, cwd: Path) -> str:
    result = run(*arguments, cwd=cwd)
    assert result.returncode == 0, result.stderr
    return result.stdout


def refuse(*arguments: object, cwd: Path, **environment: str) -> str:
    """Run what must be refused: exit code 2, nothing on stdout and one line on stderr, which is returned."""
    result = run(*arguments, cwd=cwd, **environment)
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith("sdc-search: error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that the tests read and never change."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    features = rng.standard_normal((300, 12)).astype(np.float32)
    queries = features[:7] + 0.01
    np.save(folder / "features.npy", features)
    np.save(folder / "half.npy", features.astype(np.float16))
    np.save(folder / "queries.npy", queries)
    np.savez(folder / "all.npz", features=features, queries=queries)
    save_file({"features": features, "queries": queries}, folder / "all.safetensors")
    labels = rng.integers(0, 3, 300)
    np.savez(folder / "labels.npz", database=labels, queries=labels[:7])

    hasher = LSH(n_bits=20, random_state=3).fit(features)
    hasher.save(folder / "lsh.safetensors")
    np.save(folder / "codes.npy", hasher.encode(features))
    np.save(folder / "query_codes.npy", hasher.encode(queries))

    bad = features.copy()
    bad[41, 5] = np.nan
    np.save(folder / "nan.npy", bad)
    np.save(folder / "constant.npy", np.ones((9, 12), np.float32))
    np.save(folder / "vector.npy", features[0])
    np.save(folder / "bool.npy", features > 0)
    np.save(folder / "narrow.npy", features[:, :5])
    np.save(folder / "narrow_codes.npy", hasher.encode(features)[:, :2])
    (folder / "noise.npy").write_bytes(b"not an array")
    (folder / "noise.npz").write_bytes(b"not an archive")
    (folder / "noise.safetensors").write_bytes(b"\xff" * 64)
    (folder / "cut.npy").write_bytes((folder / "features.npy").read_bytes()[:-100])
    (folder / "cut.safetensors").write_bytes((folder / "lsh.safetensors").read_bytes()[:-8])
    (folder / "features.csv").write_text("1,2,3\n")
    return folder


def test_help_shows_an_example_of_every_command(tmp_path: Path) -> None:
    assert all(command in succeed("--help", cwd=tmp_path) for command in COMMANDS)
    for command in COMMANDS:
        assert f"Example: sdc-search {command}" in succeed(command, "--help", cwd=tmp_path)


def test_no_arguments_give_the_help(tmp_path: Path) -> None:
    assert succeed(cwd=tmp_path) == succeed("--help", cwd=tmp_path)


def test_version(tmp_path: Path) -> None:
    assert succeed("--version", cwd=tmp_path) == f"sdc-search {sdc_search.__version__}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["info"]])
def test_what_needs_no_training_imports_nothing_slow(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys; from sdc_search.cli import main; main(sys.argv[1:]);"
        "assert not {'torch', 'scipy', 'matplotlib', 'safetensors'} & sys.modules.keys()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_info(tmp_path: Path) -> None:
    document = json.loads(succeed("info", "--json", cwd=tmp_path))
    assert document.items() >= sdc_search.info().items()
    assert document["numpy"] == np.__version__
    text = succeed("info", cwd=tmp_path)
    assert all(name in text for name in document)


def test_train_offers_every_hash_function() -> None:
    assert {method.name for method in Method} == set(hashers.__all__) - {"Hasher", "load_hasher"}


@pytest.mark.parametrize("method", ["lsh", "spectralhashing", "sdc"])
def test_train_then_encode(method: str, folder: Path, tmp_path: Path) -> None:
    model, codes = tmp_path / "model.safetensors", tmp_path / "codes.npy"
    train = "train", folder / "features.npy", "--method", method, "--bits", 12, "--seed", 5
    assert succeed(*train, "--output", model, cwd=tmp_path) == ""
    assert succeed("encode", model, folder / "features.npy", "--output", codes, cwd=tmp_path) == ""
    hasher = load_hasher(model)
    assert type(hasher).__name__.lower() == method.lower()
    assert (hasher.n_bits, hasher.random_state) == (12, 5)
    np.testing.assert_array_equal(np.load(codes), hasher.encode(np.load(folder / "features.npy")))

    again = tmp_path / "again.safetensors"
    succeed(*train, "--output", again, cwd=tmp_path)
    assert again.read_bytes() == model.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "again.safetensors",
        "codes.npy",
        "model.safetensors",
    ]


@pytest.mark.parametrize(
    "source",
    [["features.npy"], ["all.npz", "--key", "features"], ["all.safetensors", "--key", "features"]],
    ids=lambda source: source[0],
)
def test_encode_reads_every_kind_of_file(source: list[str], folder: Path, tmp_path: Path) -> None:
    codes = tmp_path / "codes.npy"
    succeed("encode", "lsh.safetensors", *source, "-o", codes, cwd=folder)
    np.testing.assert_array_equal(np.load(codes), np.load(folder / "codes.npy"))


def test_encode_in_pieces_is_encode_at_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sdc_search import cli

    monkeypatch.setattr(cli, "_CHUNK_BYTES", 1000)
    codes = tmp_path / "codes.npy"
    assert (
        cli.main(["encode", str(folder / "lsh.safetensors"), str(folder / "half.npy"), "-o", str(codes)]) == 0
    )
    expected = load_hasher(folder / "lsh.safetensors").encode(np.load(folder / "half.npy"))
    np.testing.assert_array_equal(np.load(codes), expected)


def test_encode_no_rows(folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "none.npy", np.empty((0, 12), np.float32))
    succeed("encode", folder / "lsh.safetensors", "none.npy", "-o", "codes.npy", cwd=tmp_path)
    codes = np.load(tmp_path / "codes.npy")
    assert (codes.shape, codes.dtype) == ((0, 3), np.uint8)


def test_search(folder: Path, tmp_path: Path) -> None:
    distances, ids = hamming_topk(np.load(folder / "codes.npy"), np.load(folder / "query_codes.npy"), 4)
    search = "search", "codes.npy", "query_codes.npy", "-k", 4

    document = json.loads(succeed(*search, "--json", cwd=folder))
    assert document == {"k": 4, "distances": distances.tolist(), "ids": ids.tolist()}

    header, *lines = succeed(*search, cwd=folder).splitlines()
    assert header.split("\t") == ["query", "rank", "id", "distance"]
    assert [list(map(int, line.split("\t"))) for line in lines] == [
        [query, rank + 1, ids[query, rank], distances[query, rank]] for query in range(7) for rank in range(4)
    ]

    assert succeed(*search, "--output", tmp_path / "found.npz", cwd=folder) == ""
    with np.load(tmp_path / "found.npz") as found:
        np.testing.assert_array_equal(found["distances"], distances)
        np.testing.assert_array_equal(found["ids"], ids)


def test_search_encodes_queries_with_a_model(folder: Path) -> None:
    with_model = succeed("search", "codes.npy", "queries.npy", "--model", "lsh.safetensors", cwd=folder)
    assert with_model == succeed("search", "codes.npy", "query_codes.npy", cwd=folder)


def test_search_prints_no_missing_neighbours(folder: Path) -> None:
    assert (
        len(succeed("search", "query_codes.npy", "query_codes.npy", "-k", 9, cwd=folder).splitlines()) == 50
    )


def test_evaluate(folder: Path) -> None:
    evaluate = (
        *("evaluate", "codes.npy", "labels.npz", "query_codes.npy", "labels.npz"),
        *("--database-labels-key", "database", "--query-labels-key", "queries"),
    )
    document = json.loads(succeed(*evaluate, "--json", cwd=folder))
    with np.load(folder / "labels.npz") as labels:
        arguments = (
            np.load(folder / "codes.npy"),
            labels["database"],
            np.load(folder / "query_codes.npy"),
            labels["queries"],
        )
    assert document["mean_average_precision"] == mean_average_precision(*arguments)
    assert document["queries"] == 7
    assert 0 <= document["queries_without_hit"] <= 7

    options = "--at", 10, "--ties", "pessimistic", "--normalizer", "all_relevant", "--no-hit", "skip"
    document = json.loads(succeed(*evaluate, *options, "--json", cwd=folder))
    expected = mean_average_precision(
        *arguments, at=10, ties="pessimistic", normalizer="all_relevant", no_hit="skip"
    )
    assert document["mean_average_precision"] == expected
    assert str(expected) in succeed(*evaluate, *options, cwd=folder)


TRAIN: tuple[Any, ...] = ("--method", "lsh", "-o", "{out}/m.safetensors")
ENCODE: tuple[Any, ...] = ("-o", "{out}/codes.npy")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["trian"], ["trian", "--help"]),
        (["train", "--bitz", 8], ["--bitz"]),
        (["train", "features.npy"], ["--output"]),
        (["train", "absent.npy", *TRAIN], ["absent.npy", "No such file"]),
        (["train", "features.csv", *TRAIN], ["features.csv", ".npy"]),
        (["train", "nan.npy", *TRAIN], ["nan.npy", "row 41"]),
        (["train", "constant.npy", *TRAIN], ["constant.npy", "constant"]),
        (["train", "vector.npy", *TRAIN], ["vector.npy", "(n, d)"]),
        (["train", "bool.npy", *TRAIN], ["bool.npy", "bool"]),
        (["train", "noise.npy", *TRAIN], ["noise.npy"]),
        (["train", "noise.npz", *TRAIN], ["noise.npz"]),
        (["train", "noise.safetensors", *TRAIN], ["noise.safetensors"]),
        (["train", "cut.npy", *TRAIN], ["cut.npy"]),
        (["train", "all.npz", *TRAIN], ["all.npz", "features, queries", "--key"]),
        (["train", "all.safetensors", "--key", "x", *TRAIN], ["all.safetensors", "'x'", "features", "--key"]),
        (["train", "features.npy", "--key", "x", *TRAIN], ["features.npy", "key"]),
        (["train", "features.npy", "--method", "pca", "-o", "m.safetensors"], ["--method", "pca", "itq"]),
        (["train", "features.npy", "--method", "itq", "--bits", 13, *TRAIN[2:]], ["--bits", "12", "13"]),
        (["train", "features.npy", "--bits", 0, *TRAIN], ["--bits"]),
        (["train", "features.npy", "--seed", -1, *TRAIN], ["--seed"]),
        (["train", "features.npy", "-o", "{out}/absent/m.safetensors"], ["--output", "absent", "create"]),
        (["train", "features.npy", "-o", "features.npy/m.safetensors"], ["--output", "features.npy"]),
        (["train", "features.npy", "-o", "{out}/m.pkl"], ["--output", "m.pkl", ".safetensors"]),
        (["train", "features.npy", "-o", "{out}"], ["--output", ".safetensors"]),
        (["encode", "absent.safetensors", "features.npy", *ENCODE], ["absent.safetensors"]),
        (["encode", "cut.safetensors", "features.npy", *ENCODE], ["cut.safetensors"]),
        (["encode", "all.safetensors", "features.npy", *ENCODE], ["all.safetensors"]),
        (["encode", "lsh.safetensors", "narrow.npy", *ENCODE], ["narrow.npy", "12", "5"]),
        (["encode", "lsh.safetensors", "vector.npy", *ENCODE], ["vector.npy"]),
        (["encode", "lsh.safetensors", "nan.npy", *ENCODE], ["nan.npy", "row 41"]),
        (["encode", "lsh.safetensors", "features.npy", "-o", "features.npy"], ["--output", "features.npy"]),
        (["search", "codes.npy", "queries.npy"], ["queries.npy", "float32", "--model"]),
        (["search", "features.npy", "query_codes.npy"], ["features.npy", "uint8"]),
        (["search", "codes.npy", "narrow_codes.npy"], ["narrow_codes.npy", "3 bytes"]),
        (["search", "codes.npy", "query_codes.npy", "-k", 0], ["-k"]),
        (["search", "codes.npy", "query_codes.npy", "-o", "x.txt"], ["--output", ".npz"]),
        (
            ["evaluate", "codes.npy", "labels.npz", "query_codes.npy", "labels.npz"],
            ["labels.npz", "--database-labels-key"],
        ),
        (["evaluate", "codes.npy", "codes.npy", "query_codes.npy", "vector.npy"], ["npy"]),
        (
            ["evaluate", "codes.npy", "labels.npz", "query_codes.npy", "labels.npz", "--html", "page.txt"],
            ["--html", ".html"],
        ),
        (["demo", "--out", "features.npy"], ["--out", "features.npy"]),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_bad_input_is_one_line(
    arguments: list[object], named: list[str], folder: Path, tmp_path: Path
) -> None:
    words = [str(argument).replace("{out}", str(tmp_path)) for argument in arguments]
    before = sorted(folder.iterdir())
    message = refuse(*words, cwd=folder)
    assert all(word in message for word in named), message
    assert sorted(folder.iterdir()) == before
    assert list(tmp_path.iterdir()) == []


def test_evaluate_writes_a_page(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    files = "codes.npy", "labels.npz", "query_codes.npy", "labels.npz"
    keys = "--database-labels-key", "database", "--query-labels-key", "queries"
    document = json.loads(succeed("evaluate", *files, *keys, "--html", page, "--json", cwd=folder))
    text = page.read_text()
    assert f'data-value="{document["mean_average_precision"]!r}"' in text
    assert "the first 1,000 ranks" in text  # the protocol
    assert "expectation over all orders" in text
    assert f"sdc-search evaluate {' '.join(files)} {' '.join(keys)} --html {page} --json" in text
    assert text.count('<img src="data:image/svg+xml;base64,') == 2
    assert list(tmp_path.iterdir()) == [page]


def test_evaluate_names_at(folder: Path) -> None:
    labels = "--database-labels-key", "database", "--query-labels-key", "queries"
    files = "codes.npy", "labels.npz", "query_codes.npy", "labels.npz"
    assert "--at" in refuse("evaluate", *files, *labels, "--at", 0, cwd=folder)


def test_unknown_isa(tmp_path: Path) -> None:
    assert "SDC_SEARCH_ISA" in refuse("info", cwd=tmp_path, SDC_SEARCH_ISA="sse9")


def test_demo_without_matplotlib(tmp_path: Path) -> None:
    # A module that is None in sys.modules cannot be imported, as if it were not installed.
    code = "import sys; sys.modules['matplotlib'] = None; from sdc_search.cli import main; sys.exit(main())"
    result = subprocess.run(
        [sys.executable, "-c", code, "demo"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "pip install 'sdc-search[demo]'" in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_interrupt_leaves_no_file(folder: Path, tmp_path: Path) -> None:
    # Ctrl-C comes with the third piece, when the output has been begun.
    code = """
import itertools, os, signal, sys
from sdc_search import LSH, cli

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are born ignoring it
cli._CHUNK_BYTES = 1000
encode, calls = LSH.encode, itertools.count()

def interrupted(self, X):
    if next(calls) == 3:
        print(*os.listdir())
        os.kill(os.getpid(), signal.SIGINT)
    return encode(self, X)

LSH.encode = interrupted
sys.exit(cli.main(["encode", *sys.argv[1:], "-o", "codes.npy"]))
"""
    result = subprocess.run(
        [sys.executable, "-c", code, folder / "lsh.safetensors", folder / "features.npy"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.startswith(".codes.npy.")
    assert result.returncode == 130
    assert result.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    np.save(tmp_path / "codes.npy", np.random.default_rng(0).integers(0, 256, (4000, 8), dtype=np.uint8))
    process = subprocess.Popen(
        [sys.executable, "-m", "sdc_search", "search", "codes.npy", "codes.npy"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "query\trank\tid\tdistance\n"
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(timeout=30) == 141
