"""The command ``sdc-search benchmark``: one subcommand a suite."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdc_search.console import (
    InputError,
    Json,
    Quiet,
    SeveralValues,
    make_directory,
    print_lines,
    progress,
    render,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sdc_search.benchmarks.cases import Case, Result
    from sdc_search.quality_cells import Cell, Measurement, Summary

_TABLE_WIDTH = 150

app = typer.Typer(help="Race the library against what else one could install.", no_args_is_help=True)


class Scale(StrEnum):
    """Values of ``--scale``."""

    quick = "quick"
    full = "full"


ScaleOption = Annotated[
    Scale, typer.Option(help="full: the sizes that the targets are about; quick: a tenth of them.")
]
Cases = Annotated[
    str, typer.Option(metavar="NAMES", help="Which cases: names or patterns, separated by commas.")
]
Threads = Annotated[
    int,
    typer.Option(min=1, help="Threads of every contender, on as many CPUs; some cases fix it themselves."),
]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where the files go.")]
ListOnly = Annotated[bool, typer.Option("--list", help="Only list the names of the cases.")]


@app.command(
    epilog="Example: [bold]sdc-search benchmark hamming --scale full --cases 'batch-*,few-64'[/bold]"
)
def hamming(
    scale: ScaleOption = Scale.quick,
    cases: Cases = "*",
    threads: Threads = 1,
    out: Out = Path("sdc-search-benchmark"),
    list_only: ListOnly = False,
    quiet: Quiet = False,
    json_output: Json = False,
) -> None:
    """Hamming search against faiss, usearch, numpy and a plain read of the memory.

    Checks every contender's distances. Prints tables of ratios; writes them and a plot.
    """
    from sdc_search.benchmarks.requirements import HAMMING, require

    require(*HAMMING, "matplotlib")
    from sdc_search.benchmarks.hamming import hamming_cases
    from sdc_search.benchmarks.hamming_figure import hamming_figure
    from sdc_search.benchmarks.peers import DISTRIBUTIONS

    suite = _Suite(
        "hamming", hamming_cases(scale.value, _check_threads(threads)), DISTRIBUTIONS, hamming_figure
    )
    _run(suite, scale, cases, threads, out, list_only=list_only, quiet=quiet, json_output=json_output)


@app.command(epilog="Example: [bold]sdc-search benchmark losses --scale full --cases 'calibration-*'[/bold]")
def losses(
    scale: ScaleOption = Scale.quick,
    cases: Cases = "*",
    threads: Threads = 1,
    out: Out = Path("sdc-search-benchmark"),
    list_only: ListOnly = False,
    quiet: Quiet = False,
    json_output: Json = False,
) -> None:
    """Losses, forward and backward, against plain torch, POT and the published loss.

    Checks every contender's losses and gradients. Prints tables of ratios; writes them and a plot.
    """
    from sdc_search.benchmarks.requirements import LOSSES, require

    require(*LOSSES, "matplotlib")
    from sdc_search.benchmarks.loss_figure import loss_figure
    from sdc_search.benchmarks.loss_peers import DISTRIBUTIONS
    from sdc_search.benchmarks.losses import loss_cases

    suite = _Suite("losses", loss_cases(scale.value, _check_threads(threads)), DISTRIBUTIONS, loss_figure)
    _run(suite, scale, cases, threads, out, list_only=list_only, quiet=quiet, json_output=json_output)


@app.command(epilog="Example: [bold]sdc-search benchmark metrics --scale full[/bold]")
def metrics(
    scale: ScaleOption = Scale.quick,
    cases: Cases = "*",
    threads: Threads = 1,
    out: Out = Path("sdc-search-benchmark"),
    list_only: ListOnly = False,
    quiet: Quiet = False,
    json_output: Json = False,
) -> None:
    """Mean average precision with expected ties against the published evaluator, by float product and sort.

    Checks every contender's answer against the bounds over all orders of ties. Prints a table; writes it.
    """
    from sdc_search.benchmarks.requirements import METRICS, require

    require(*METRICS)
    from sdc_search.benchmarks.metric_peers import DISTRIBUTIONS
    from sdc_search.benchmarks.metrics import metric_cases

    suite = _Suite("metrics", metric_cases(scale.value, _check_threads(threads)), DISTRIBUTIONS, None)
    _run(suite, scale, cases, threads, out, list_only=list_only, quiet=quiet, json_output=json_output)


@app.command(
    cls=SeveralValues,
    epilog="Example: [bold]sdc-search benchmark quality --methods LSH ITQ SDC --bits 16 32 --seeds 3[/bold]",
)
def quality(
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="An .npz or .safetensors file of database (n, d), database_labels (n,) or (n, classes),"
            " query (q, d), query_labels and, unless all of the database is to be learnt from, train_rows"
            " (m,). Without it, the bundled features.",
            show_default=False,
        ),
    ] = None,
    bits: Annotated[list[int] | None, typer.Option(min=1, help="Lengths of the codes: 16 32 64.")] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            help="Classes of sdc_search.hashers; Class:preset or Class:name=value,... for other parameters"
            " than the defaults. Without it, all classes."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds: 0, 1, ...")] = 3,
    preset: Annotated[
        str | None, typer.Option(help="Of the methods that have presets and name none.", show_default=False)
    ] = None,
    train_rows: Annotated[
        int | None,
        typer.Option(help="Learn from so many random rows, another draw for each seed.", show_default=False),
    ] = None,
    out: Out = Path("sdc-search-benchmark"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what is done and what is not.")
    ] = False,
    quiet: Quiet = False,
    json_output: Json = False,
) -> None:
    """Quality of the codes of every method: mAP@1000 over bits and seeds, time to fit and to encode.

    Prints tables; writes quality.md, quality.json and quality.png. Each result is kept in quality-cells/ at
    once, so that an interrupted run goes on where it was; other data, settings or code are measured anew.
    """
    from sdc_search.benchmarks.requirements import require

    require("matplotlib")
    from sdc_search import quality_cells as suite
    from sdc_search.benchmarks.quality_data import bundled_data, read_data
    from sdc_search.method_specs import parse_methods

    try:
        chosen = parse_methods(methods or [], preset)
        content = bundled_data() if data is None else read_data(data)
        cells = suite.plan_cells(chosen, bits or [16, 32, 64], seeds, content, train_rows)
        (queries,) = content.query_sets
        references = suite.references(content, queries)
    except (TypeError, ValueError) as error:
        raise InputError(str(error)) from error
    folder = out / "quality-cells"
    if dry_run:
        print_lines(f"{'to do' if suite.read_cell(c, folder) is None else 'done '}  {c}" for c in cells)
        return
    make_directory(folder, "--out")
    with progress(len(cells), quiet=quiet, log=True) as report:
        measured, failures = suite.run_cells(cells, folder, report)
    learnt = len(content.train) if train_rows is None else train_rows
    heading = (
        f"{content.title}: {len(queries.database):,} items, {learnt:,} to learn from,"
        f" {len(queries.query):,} queries, seeds: {seeds}"
    )
    summaries = suite.summarize(measured, queries)
    _report_quality(heading, summaries, measured, references, failures, out, quiet, json_output)
    if failures:
        raise InputError("; ".join(failures))


@app.command(
    cls=SeveralValues,
    epilog="Example: [bold]sdc-search benchmark collapse --methods ITQ SDC --seeds 3[/bold]",
)
def collapse(
    methods: Annotated[
        list[str] | None,
        typer.Option(help="As for quality. Without it: GreedyHash and BiHalf as published, SDC."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds: 0, 1, ...; the first is drawn.")] = 5,
    out: Out = Path("sdc-search-benchmark"),
    quiet: Quiet = False,
    json_output: Json = False,
) -> None:
    """Codes of 2 bits for four well-separated classes: how many codes each method uses.

    Prints a line for each method and seed; writes collapse.json and collapse.png.
    """
    from sdc_search.benchmarks.requirements import require

    require("matplotlib")
    from sdc_search.atomic_files import atomic_file
    from sdc_search.benchmarks import collapse as toy
    from sdc_search.benchmarks.collapse_figure import collapse_figure
    from sdc_search.method_specs import parse_methods
    from sdc_search.plots import png_bytes

    try:
        chosen = parse_methods(methods or toy.METHODS)
    except ValueError as error:
        raise InputError(str(error)) from error
    make_directory(out, "--out")
    runs: list[toy.CollapseRun] = []
    with progress(seeds * len(chosen), quiet=quiet, log=True) as report:
        for seed in range(seeds):
            for method in chosen:
                report(f"{method.label}, seed {seed}", len(runs))
                runs.append(toy.run_method(method, seed))
    document = [run.document() for run in runs]
    contents = {
        "collapse.json": (json.dumps(document, indent=2) + "\n").encode(),
        "collapse.png": png_bytes(collapse_figure([run for run in runs if run.seed == 0])),
    }
    for name, content in contents.items():
        with atomic_file(out / name) as file:
            file.write(content)
    if json_output:
        print_lines([json.dumps(document)])
    elif not quiet:
        print_lines(
            [
                f"{run.method}, seed {run.seed}: {run.classes_apart} of 4 classes have a code of their own;"
                f" {run.codes_used} codes used; commonest distance: {100 * run.collapse:.0f} % of all pairs"
                for run in runs
            ]
            + [f"wrote {out / name}" for name in contents]
        )


def _report_quality(
    heading: str,
    summaries: Sequence[Summary],
    measured: Mapping[Cell, Measurement],
    references: Mapping[str, float],
    failures: Sequence[str],
    out: Path,
    quiet: bool,
    json_output: bool,
) -> None:
    from dataclasses import asdict

    from sdc_search.atomic_files import atomic_file
    from sdc_search.benchmarks import quality_tables
    from sdc_search.benchmarks.machine import describe
    from sdc_search.benchmarks.quality_figure import quality_figure
    from sdc_search.plots import png_bytes

    machine = describe(("scipy", "torch"))
    document = {
        "suite": "quality",
        "data": heading,
        "machine": machine,
        "references": dict(references),
        "summaries": [asdict(summary) for summary in summaries],
        "cells": [
            {"method": c.method.label, "n_bits": c.n_bits, "seed": c.seed, **c.settings, **asdict(m)}
            for c, m in measured.items()
        ],
        "failures": list(failures),
    }
    contents = {
        "quality.json": (json.dumps(document, indent=2) + "\n").encode(),
        "quality.md": quality_tables.markdown(machine, heading, summaries, references, failures).encode(),
    }
    if summaries:
        contents["quality.png"] = png_bytes(quality_figure(summaries, references, caption=heading))
    for name, content in contents.items():
        with atomic_file(out / name) as file:
            file.write(content)
    if json_output:
        print_lines([json.dumps(document)])
    elif not quiet and summaries:
        tables = quality_tables.rich_tables(summaries, references)
        text = render(heading, *tables, quality_tables.CAPTION, width=_TABLE_WIDTH)
        print_lines([text, "", *(f"wrote {out / name}" for name in contents)])


@dataclass(frozen=True)
class _Suite:
    """What tells one command from another: its cases, the distributions of its peers, its figure if any."""

    name: str
    cases: Sequence[Case]
    peers: tuple[str, ...]
    draw: Callable[..., Figure | None] | None


def _run(
    suite: _Suite,
    scale: Scale,
    cases: str,
    threads: int,
    out: Path,
    *,
    list_only: bool,
    quiet: bool,
    json_output: bool,
) -> None:
    chosen = _choose(suite.cases, cases)
    if list_only:
        print_lines(case.name for case in chosen)
        return
    make_directory(out, "--out")
    failures: list[str] = []
    settings = {"suite": suite.name, "scale": scale.value, "threads": threads, "failures": failures}

    def keep(results: Sequence[Result]) -> None:
        _write_json(results, settings, suite.peers, out)  # so that a run that is ended keeps what it has

    results = _measure(chosen, scale, threads, failures, keep, quiet=quiet)
    _report(results, settings, suite.peers, suite.draw, out, quiet=quiet, json_output=json_output)
    if failures:
        raise InputError("; ".join(failures))


def _check_threads(threads: int) -> int:
    from sdc_search.benchmarks.timing import usable_cpus

    if threads > usable_cpus():
        raise InputError(f"--threads {threads} is more than the {usable_cpus()} CPUs that may be used")
    return threads


def _choose(cases: Sequence[Case], patterns: str) -> list[Case]:
    """Select by name; a pattern without a match is an error, since it is most likely misspelt."""
    wanted = [pattern.strip() for pattern in patterns.split(",")]
    for pattern in wanted:
        if not any(fnmatchcase(case.name, pattern) for case in cases):
            raise InputError(f"--cases {pattern!r} matches no case that this machine can run; see --list")
    return [case for case in cases if any(fnmatchcase(case.name, pattern) for pattern in wanted)]


def _measure(
    cases: Sequence[Case],
    scale: Scale,
    threads: int,
    failures: list[str],
    keep: Callable[[Sequence[Result]], None],
    *,
    quiet: bool,
) -> list[Result]:
    """Run the cases, and keep the results after each.

    A wrong answer is added to the failures: it costs its own case, not the hour that the others took.
    """
    from sdc_search.benchmarks.cases import BUDGETS, WrongAnswerError, run_case

    results: list[Result] = []
    with progress(len(cases), quiet=quiet, log=True) as report:
        for done, case in enumerate(cases):
            report(case.name, done)
            try:
                results.append(run_case(case, threads, BUDGETS[scale.value]))
            except WrongAnswerError as error:
                failures.append(str(error))
            keep(results)
    return results


def _write_json(
    results: Sequence[Result], settings: dict[str, Any], peers: tuple[str, ...], out: Path
) -> dict[str, Any]:
    """Write results.json and return what it holds."""
    from sdc_search.atomic_files import atomic_file
    from sdc_search.benchmarks import tables
    from sdc_search.benchmarks.machine import describe

    document = tables.document(describe(peers), results, **settings)
    with atomic_file(out / "results.json") as file:
        file.write((json.dumps(document, indent=2) + "\n").encode())
    return document


def _report(
    results: Sequence[Result],
    settings: dict[str, Any],
    peers: tuple[str, ...],
    draw: Callable[..., Figure | None] | None,
    out: Path,
    *,
    quiet: bool,
    json_output: bool,
) -> None:
    from sdc_search.atomic_files import atomic_file
    from sdc_search.benchmarks import tables
    from sdc_search.plots import png_bytes

    document = _write_json(results, settings, peers, out)
    machine = document["machine"]
    contents = {"results.md": tables.markdown(machine, results).encode()}
    threads, scale = settings["threads"], settings["scale"]
    caption = f"{machine['cpu']}, {machine['isa']}, threads: {threads}, scale: {scale}"
    figure = None if draw is None else draw(results, caption=caption)
    if figure is not None:
        contents[f"{settings['suite']}.png"] = png_bytes(figure)
    for name, content in contents.items():
        with atomic_file(out / name) as file:
            file.write(content)
    if json_output:
        print_lines([json.dumps(document)])
    elif not quiet and results:
        text = render(*tables.rich_tables(results), tables.CAPTION, width=_TABLE_WIDTH)
        print_lines([text, "", *(f"wrote {out / name}" for name in ("results.json", *contents))])
