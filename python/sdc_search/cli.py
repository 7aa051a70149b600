"""The command ``sdc-search``.

Wrong usage and wrong input end with exit code 2 and one line on stderr that names the file or the option.
An interrupted command ends with 130 and leaves no half-written file. Everything slow is imported inside
the command that needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import itertools
import json
import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdc_search import __version__
from sdc_search.benchmarks.command import app as benchmark_app
from sdc_search.console import (
    InputError,
    Json,
    Quiet,
    SeveralValues,
    make_directory,
    note,
    print_lines,
    progress,
    render,
)
from sdc_search.errors import CorruptFileError
from sdc_search.reproduction.command import reproduce

if TYPE_CHECKING:
    import numpy.typing as npt

    from sdc_search.demo import DemoResult

# Of click, which typer keeps under a name that changes with its version: the base of all errors of usage.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]

# What `encode` reads of the features at a time.
_CHUNK_BYTES = 1 << 26

app = typer.Typer(
    help="Learn short binary codes for images or any embedding, without labels, and search them exactly.",
    epilog="Start with: [bold]sdc-search demo[/bold]",
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(benchmark_app, name="benchmark")
app.command(
    cls=SeveralValues,
    epilog="Example: [bold]sdc-search reproduce fashion-mnist --data /usr/share/datasets/fashion-mnist"
    " --bits 16 32 64[/bold]",
)(reproduce)


class Method(StrEnum):
    """The hash functions that `train` offers, by the names of their classes."""

    LSH = "lsh"
    SpectralHashing = "spectralhashing"
    ITQ = "itq"
    SSDH = "ssdh"
    GreedyHash = "greedyhash"
    TBH = "tbh"
    CIBHash = "cibhash"
    BiHalf = "bihalf"
    NSH = "nsh"
    WCH = "wch"
    SDC = "sdc"
    GraphSDC = "graphsdc"


class Ties(StrEnum):
    """Values of ``--ties``, see `sdc_search.mean_average_precision`."""

    expected = "expected"
    stable = "stable"
    optimistic = "optimistic"
    pessimistic = "pessimistic"


class Normalizer(StrEnum):
    """Values of ``--normalizer``, see `sdc_search.mean_average_precision`."""

    relevant_in_top = "relevant_in_top"
    all_relevant = "all_relevant"


class NoHit(StrEnum):
    """Values of ``--no-hit``, see `sdc_search.mean_average_precision`."""

    zero = "zero"
    skip = "skip"


def _print_version(wanted: bool) -> None:
    if wanted:
        print_lines([f"sdc-search {__version__}"])
        raise typer.Exit


def _array_argument(name: str, text: str) -> Any:
    return typer.Argument(metavar=name, help=f"{text}: .npy, .npz or .safetensors.", show_default=False)


def _key_option(name: str, argument: str) -> Any:
    text = f"Which array of {argument}, where that file holds several."
    return typer.Option(name, metavar="KEY", help=text, show_default=False)


def _file_option(*names: str, text: str) -> Any:
    return typer.Option(*names, metavar="FILE", help=text, show_default=False)


Features = Annotated[Path, _array_argument("FEATURES", "Vectors (n, d)")]
FeaturesKey = Annotated[str | None, _key_option("--key", "FEATURES")]
ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="What train wrote.", show_default=False)]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="The same seed gives the same codes.")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments
        What stands behind ``sdc-search``; by default ``sys.argv[1:]``.

    Returns
    -------
    The exit code: 0, 2 after wrong usage or input, 130 after Ctrl-C, 141 where stdout was closed.
    """
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        code = app(args=words, prog_name="sdc-search", standalone_mode=False, obj=words)
    except _UsageError as error:
        return _fail(f"{error.format_message()} (see sdc-search --help)")  # type: ignore[attr-defined]
    except (InputError, CorruptFileError, ImportError) as error:
        return _fail(str(error))  # imports fail where an extra or the native module is missing, and say so
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(where + (error.strerror or str(error)))
    except KeyboardInterrupt:
        return 130
    return code if isinstance(code, int) else 0


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: [bold]sdc-search demo --out pictures[/bold]")
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where the files go.")] = Path(
        "sdc-search-demo"
    ),
    seed: Seed = 0,
    quiet: Quiet = False,
    json_output: Json = False,
) -> None:
    """Hash and search 4,000 real images that come with the package.

    Prints one table, measured as it runs; writes retrieval.png, similarity.png and results.json.
    """
    from sdc_search.plots import require_matplotlib

    require_matplotlib("sdc-search demo")
    make_directory(out, "--out")

    from sdc_search.atomic_files import atomic_file
    from sdc_search.demo import N_STEPS, as_document, draw_pictures, load_demo_data, run_demo

    data = load_demo_data()
    with progress(N_STEPS, quiet=quiet, log=True) as report:
        steps = itertools.count()
        result = run_demo(data, seed, lambda text: report(text, next(steps)))
        report("drawing the pictures", next(steps))
        contents = draw_pictures(data, result)
    document = as_document(result)
    contents["results.json"] = (json.dumps(document, indent=2) + "\n").encode()
    for name, content in contents.items():
        with atomic_file(out / name) as file:
            file.write(content)
    if json_output:
        print_lines([json.dumps(document)])
    elif not quiet:
        _print_demo(result, [out / name for name in contents])


@app.command(epilog="Example: [bold]sdc-search extract photographs --out features[/bold]")
def extract(
    images_dir: Annotated[
        Path,
        typer.Argument(metavar="IMAGES_DIR", help="Images, also in folders within.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Where the files go.", show_default=False)
    ],
    backbone: Annotated[
        str,
        typer.Option(
            "--backbone",
            metavar="NAME",
            help="efficientnet_lite0, vgg16, resnet50, vit_b_16, vit_b_16:tokens, pixels, pixels:rgb, "
            "timm:NAME or the path of an .onnx file.",
        ),
    ] = "efficientnet_lite0",
    weights: Annotated[
        Path | None,
        _file_option("--weights", text="Weights instead of the published ones: .pth or .safetensors."),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(min=1, help="Side of what the network sees, in pixels.", show_default="the network's"),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images that it sees at once.")] = 32,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read and prepare images.")] = 2,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...; auto: cuda if there is one.")] = "auto",
    quiet: Quiet = False,
) -> None:
    """Turn a folder of images into feature vectors: features.npy, a row an image, and features.json.

    Rows are in the order of the paths. Interrupted, it goes on when it is started again. Images that cannot
    be read are listed in features.json, and their rows are zero.
    """
    from sdc_search.datasets.images import FileImages

    images = FileImages.below(images_dir)
    make_directory(out, "--out")

    from sdc_search.backbones import load_backbone
    from sdc_search.extraction import extract_features

    with _blame(weights="--weights", image_size="--image-size", backbone="--backbone", device="--device"):
        network = load_backbone(backbone, weights=weights, image_size=image_size, device=device)
        with progress(len(images), quiet=quiet) as report:
            features = extract_features(
                images, network, out, batch_size=batch_size, workers=workers, report=report
            )
    for image in features.description["unreadable"]:
        note(f"unreadable: {image['name']}: {image['reason']}", quiet=quiet)
    shape = " x ".join(f"{side:,}" for side in features.array.shape)
    note(f"{out / 'features.npy'}: {shape} features, {len(features.unreadable):,} unreadable", quiet=quiet)


@app.command(
    epilog="Example: [bold]sdc-search train features.npy --bits 64 --output model.safetensors[/bold]"
)
def train(
    features: Features,
    output: Annotated[Path, _file_option("--output", "-o", text="The model to write, .safetensors.")],
    method: Annotated[
        Method, typer.Option("--method", "-m", case_sensitive=False, help="What to train.")
    ] = Method.SDC,
    bits: Annotated[int, typer.Option("--bits", "-b", min=1, help="Length of a code.")] = 64,
    key: FeaturesKey = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Learn a hash function from feature vectors; it needs no labels."""
    _check_output(output, ".safetensors", [features])
    X = _read_features(features, key, "--key")
    _check_finite(features, X)

    from sdc_search import hashers

    hasher_class = getattr(hashers, method.name)  # imports that one alone
    with _blame(X=features, n_bits="--bits"):
        hasher = hasher_class(n_bits=bits, random_state=seed, verbose=not quiet).fit(X)
    hasher.save(output)
    note(f"{output}: {method.name}, {bits} bits, from {len(X):,} vectors", quiet=quiet)


@app.command(epilog="Example: [bold]sdc-search encode model.safetensors features.npy -o codes.npy[/bold]")
def encode(
    model: ModelFile,
    features: Features,
    output: Annotated[Path, _file_option("--output", "-o", text="The codes to write, .npy.")],
    key: FeaturesKey = None,
    quiet: Quiet = False,
) -> None:
    """Turn feature vectors into packed codes: uint8, a row of bits / 8 bytes each.

    An .npy file is read piece by piece, so it may be larger than the memory.
    """
    _check_output(output, ".npy", [model, features])
    X = _read_features(features, key, "--key")

    from numpy.lib import format as npy

    from sdc_search.atomic_files import atomic_file
    from sdc_search.codes import code_bytes
    from sdc_search.hashers import load_hasher

    hasher = load_hasher(model)
    with _blame(X=features):
        hasher.encode(X[:0])  # finds a wrong width before a file is begun
    rows_at_a_time = max(1, _CHUNK_BYTES // (X.itemsize * X.shape[1]))
    shape = (len(X), code_bytes(hasher.n_bits))
    with progress(len(X), quiet=quiet) as report, atomic_file(output) as file:
        npy.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for start in range(0, len(X), rows_at_a_time):
            chunk = X[start : start + rows_at_a_time]
            _check_finite(features, chunk, start)
            file.write(hasher.encode(chunk).tobytes())
            report("encoding", start + len(chunk))
    note(f"{output}: {shape[0]:,} codes of {hasher.n_bits} bits", quiet=quiet)


@app.command(epilog="Example: [bold]sdc-search search codes.npy query_codes.npy -k 10[/bold]")
def search(
    codes: Annotated[Path, _array_argument("CODES", "Codes to search")],
    queries: Annotated[Path, _array_argument("QUERIES", "Codes to look for, or vectors with --model")],
    k: Annotated[int, typer.Option("-k", min=1, help="Neighbours of each query.")] = 10,
    model: Annotated[
        Path | None, _file_option("--model", text="What train wrote: encodes QUERIES first.")
    ] = None,
    codes_key: Annotated[str | None, _key_option("--codes-key", "CODES")] = None,
    queries_key: Annotated[str | None, _key_option("--queries-key", "QUERIES")] = None,
    output: Annotated[
        Path | None,
        _file_option("--output", "-o", text="Write distances and ids to this .npz, print nothing."),
    ] = None,
    json_output: Json = False,
) -> None:
    """Find the nearest codes by Hamming distance, exactly.

    Prints a tab-separated line a neighbour, nearest first, ties by the smaller id; an id is a row of CODES.
    """
    if output is not None:
        _check_output(output, ".npz", [codes, queries])
    database = _read(codes, codes_key, "--codes-key")
    query = (_read if model is None else _read_features)(queries, queries_key, "--queries-key")

    from sdc_search.hamming import hamming_topk

    if model is not None:
        from sdc_search.hashers import load_hasher

        hasher = load_hasher(model)
        _check_finite(queries, query)
        with _blame(X=queries):
            query = hasher.encode(query)
    elif query.dtype.kind == "f":
        raise InputError(f"{queries} holds {query.dtype}, not codes: name with --model what shall encode it")
    with _blame(codes=codes, queries=queries, k="-k"):
        distances, ids = hamming_topk(database, query, k)
    if output is not None:
        import numpy as np

        from sdc_search.atomic_files import atomic_file

        with atomic_file(output) as file:
            np.savez(file, distances=distances, ids=ids)
    if json_output:
        print_lines([json.dumps({"k": k, "distances": distances.tolist(), "ids": ids.tolist()})])
    elif output is None:
        print_lines(_neighbour_lines(distances, ids))


@app.command(
    epilog="Example: [bold]sdc-search evaluate codes.npy labels.npy query_codes.npy query_labels.npy[/bold]"
)
def evaluate(
    context: typer.Context,
    database_codes: Annotated[Path, _array_argument("DATABASE_CODES", "Codes of the database")],
    database_labels: Annotated[
        Path, _array_argument("DATABASE_LABELS", "Its labels, (n,), or (n, classes) of 0 and 1")
    ],
    query_codes: Annotated[Path, _array_argument("QUERY_CODES", "Codes of the queries")],
    query_labels: Annotated[Path, _array_argument("QUERY_LABELS", "Their labels")],
    at: Annotated[int, typer.Option(help="Ranks that count; -1: all.")] = 1000,
    ties: Annotated[Ties, typer.Option(help="The order of items at one distance.")] = Ties.expected,
    normalizer: Annotated[
        Normalizer, typer.Option(help="What a query's sum of precisions is divided by.")
    ] = Normalizer.relevant_in_top,
    no_hit: Annotated[NoHit, typer.Option(help="What a query without a hit counts.")] = NoHit.zero,
    database_codes_key: Annotated[str | None, _key_option("--database-codes-key", "DATABASE_CODES")] = None,
    database_labels_key: Annotated[
        str | None, _key_option("--database-labels-key", "DATABASE_LABELS")
    ] = None,
    query_codes_key: Annotated[str | None, _key_option("--query-codes-key", "QUERY_CODES")] = None,
    query_labels_key: Annotated[str | None, _key_option("--query-labels-key", "QUERY_LABELS")] = None,
    html: Annotated[Path | None, _file_option("--html", text="Also write a page with curves, .html.")] = None,
    json_output: Json = False,
) -> None:
    """Measure the mean average precision of a ranking by Hamming distance."""
    if html is not None:
        inputs = database_codes, database_labels, query_codes, query_labels
        _check_output(html, ".html", inputs, "--html")

        from sdc_search.plots import require_matplotlib

        require_matplotlib("--html")
    arrays = {
        "database_codes": _read(database_codes, database_codes_key, "--database-codes-key"),
        "database_labels": _read(database_labels, database_labels_key, "--database-labels-key"),
        "query_codes": _read(query_codes, query_codes_key, "--query-codes-key"),
        "query_labels": _read(query_labels, query_labels_key, "--query-labels-key"),
    }

    from sdc_search.metrics import retrieval_scores

    with _blame(
        database_codes=database_codes,
        database_labels=database_labels,
        query_codes=query_codes,
        query_labels=query_labels,
        at="--at",
    ):
        scores = retrieval_scores(
            **arrays, at=at, ties=ties.value, normalizer=normalizer.value, no_hit=no_hit.value
        )
    document = {
        "mean_average_precision": scores.mean_average_precision,
        "at": at,
        "ties": ties.value,
        "normalizer": normalizer.value,
        "no_hit": no_hit.value,
        "database_items": len(arrays["database_codes"]),
        "queries": scores.n_queries,
        "queries_without_hit": scores.n_without_hit,
        "bytes_per_item": arrays["database_codes"].shape[1],
    }
    if html is not None:
        from sdc_search.evaluation_report import write_evaluation
        from sdc_search.protocols import Evaluation, Protocol

        protocol = Protocol(
            name="of this evaluation",
            at=at,
            multi_label=arrays["database_labels"].ndim == 2,
            ties=ties.value,
            normalizer=normalizer.value,
            no_hit=no_hit.value,
        )
        evaluation = Evaluation(*scores, protocol=protocol)
        command = shlex.join(["sdc-search", *context.obj])
        write_evaluation(html, evaluation, **arrays, name=database_codes.name, command=command)
    print_lines([json.dumps(document)] if json_output else _table_lines(document))


@app.command(epilog="Example: [bold]sdc-search info --json[/bold]")
def info(json_output: Json = False) -> None:
    """Say what the native code runs on, and which versions are installed."""
    import platform
    from importlib.metadata import version

    from sdc_search.runtime import info as runtime_info

    with _blame():
        native = runtime_info()
    # torch's version is read from its metadata: importing it takes longer than all the rest.
    versions = {"python": platform.python_version(), "numpy": version("numpy"), "torch": version("torch")}
    document = {**native, **versions}
    print_lines([json.dumps(document)] if json_output else _table_lines(document))


def _read(path: Path, key: str | None, key_option: str) -> npt.NDArray[Any]:
    from sdc_search.array_files import ArrayKeyError, read_array

    try:
        return read_array(path, key)
    except ArrayKeyError as error:
        raise InputError(f"{error}; choose one with {key_option}") from error
    except ValueError as error:
        raise InputError(str(error)) from error


def _read_features(path: Path, key: str | None, key_option: str) -> npt.NDArray[Any]:
    """Read vectors, and check their rank and dtype before anything slow is imported for them."""
    from sdc_search.arrays import as_features

    X = _read(path, key, key_option)
    with _blame():
        as_features(str(path), X[:0] if X.ndim else X)
    return X


def _check_finite(path: Path, X: npt.NDArray[Any], first_row: int = 0) -> None:
    """Name the row: in a file of a million vectors "must be finite" is no help."""
    import numpy as np

    if X.dtype.kind == "f":
        bad = ~np.isfinite(X).all(axis=1)
        if bad.any():
            row = first_row + int(np.argmax(bad))
            raise InputError(f"{path} holds NaN or infinity in row {row}; repair or drop such rows first")


@contextmanager
def _blame(**subjects: Path | str) -> Iterator[None]:
    """Turn what the library rejects into an `InputError` about what the user typed.

    The library's messages begin with an argument's name; `subjects` says which file or option that came from.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        argument, _, rest = str(error).partition(" ")
        if argument in subjects:
            raise InputError(f"{subjects[argument]} {rest}") from error
        origin = ", ".join(map(str, subjects.values()))
        raise InputError(f"{origin}: {error}" if origin else str(error)) from error


def _check_output(path: Path, suffix: str, inputs: Iterable[Path], option: str = "--output") -> None:
    """Find out before the work, not after it, that its result could not be written."""
    if path.suffix != suffix:
        raise InputError(f"{option} {path} must end in {suffix}")
    if path.is_dir():
        raise InputError(f"{option} {path} is a directory; name a file")
    if not path.parent.is_dir():
        raise InputError(f"{option} {path}: there is no directory {path.parent}; create it first")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{option} {path}: the directory {path.parent} is not writable; choose another")
    if path.exists() and any(given.exists() and path.samefile(given) for given in inputs):
        raise InputError(f"{option} {path} would replace an input; choose another name")


def _neighbour_lines(distances: npt.NDArray[Any], ids: npt.NDArray[Any]) -> Iterator[str]:
    yield "query\trank\tid\tdistance"
    for query, (row_distances, row_ids) in enumerate(zip(distances.tolist(), ids.tolist(), strict=True)):
        for rank, (distance, item) in enumerate(zip(row_distances, row_ids, strict=True), start=1):
            if item >= 0:
                yield f"{query}\t{rank}\t{item}\t{distance}"


def _table_lines(document: dict[str, Any]) -> Iterator[str]:
    width = max(map(len, document))
    for name, value in document.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        yield f"{name:<{width}}  {text or 'none'}"


def _print_demo(result: DemoResult, written: Sequence[Path]) -> None:
    from rich.table import Table

    reference = result.rows[0]
    title = f"{result.n_items:,} images of Fashion-MNIST, {result.n_queries} queries, seed {result.seed}"
    table = Table(title=title)
    for heading in ("codes", "bits", "mAP@1000", "bytes/item", "smaller", "train", "search", "faster"):
        table.add_column(heading, justify="left" if heading == "codes" else "right", no_wrap=True)
    for method, rows in itertools.groupby(result.rows, key=lambda row: row.method):
        table.add_section()
        for row in rows:
            coded = row.n_bits is not None
            table.add_row(
                method,
                str(row.n_bits) if coded else "",
                f"{100 * row.mean_average_precision:.1f} %",
                str(row.bytes_per_item),
                f"{reference.bytes_per_item / row.bytes_per_item:.0f}x" if coded else "",
                f"{row.fit_seconds:.1f} s" if coded else "",
                f"{row.search_ms:.1f} ms",
                f"{reference.search_ms / row.search_ms:.1f}x" if coded else "",
            )
    table.caption = (
        "mAP: ties in expectation. search: the 10 nearest of all the queries, median of several runs."
        " float: cosine of the features in float32, by numpy's matmul and argpartition."
    )
    print_lines([render(table, width=80), "", *(f"wrote {path}" for path in written)])


def _fail(message: str) -> int:
    print("sdc-search: error:", " ".join(message.split()), file=sys.stderr)
    return 2
