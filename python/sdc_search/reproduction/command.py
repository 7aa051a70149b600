"""The command ``sdc-search reproduce``."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdc_search.console import InputError, Json, Quiet, make_directory, note, print_lines, progress

if TYPE_CHECKING:
    from sdc_search.extraction import Features
    from sdc_search.labelled_features import LabelledFeatures
    from sdc_search.quality_cells import Cell, Measurement
    from sdc_search.report import Report
    from sdc_search.reproduction.sources import Source

_TEXT = (
    "Features are made once; each method learns from the same rows of them, without labels, and encodes all;"
    " labels serve the measurement alone."
)
DEFAULT_OUT = Path("sdc-search-reproduction")


class DatasetName(StrEnum):
    """What can be reproduced, see `sdc_search.reproduction.experiments`."""

    cifar10 = "cifar10"
    imagenet100 = "imagenet100"
    nuswide = "nuswide"
    coco = "coco"
    fashion_mnist = "fashion-mnist"


def reproduce(
    dataset: Annotated[DatasetName, typer.Argument(metavar="DATASET", help=", ".join(DatasetName))],
    data: Annotated[Path, typer.Option(metavar="DIR", help="Where the data set's files are.")],
    methods: Annotated[
        list[str] | None,
        typer.Option(
            help="Classes of sdc_search.hashers; Class:preset or Class:name=value,... for other parameters"
            " than the defaults. Without it, all classes."
        ),
    ] = None,
    bits: Annotated[list[int] | None, typer.Option(min=1, help="Lengths of the codes: 16 32 64.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds: 0, 1, ...")] = 1,
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME or NAME@SIZE, the side of the images in pixels; several are a block each. Without it,"
            " vgg16; for fashion-mnist efficientnet_lite0@112 and pixels@28."
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The backbone's, .pth or .safetensors.", show_default=False),
    ] = None,
    features: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Folders that sdc-search extract has written, a block each."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where the files go.")] = (
        DEFAULT_OUT
    ),
    fraction: Annotated[
        float, typer.Option("--slice", metavar="FRACTION", help="Use so much of the images, drawn by a seed.")
    ] = 1.0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read images.")] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list the steps, with the time that they take.")
    ] = False,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Measure nothing; report what is done.")
    ] = False,
    quiet: Quiet = False,
    json_output: Json = False,
) -> None:
    """Extract features, train, encode and evaluate: a data set's table beside the paper's.

    Writes report.md, .json, .csv, .html and figures. Features and each result are kept in features/ and
    cells/ at once, so that an interrupted run goes on where it was, and several processes may share one.
    """
    from sdc_search.plots import require_matplotlib

    require_matplotlib("sdc-search reproduce")
    from sdc_search.claims import Claims
    from sdc_search.method_specs import parse_methods
    from sdc_search.quality_cells import plan_cells, read_cell, run_cells
    from sdc_search.report import write_report
    from sdc_search.reproduction import estimates
    from sdc_search.reproduction.experiments import EXPERIMENTS, parse_features
    from sdc_search.reproduction.sources import given_sources, plan_sources

    if not 0 < fraction <= 1:
        raise InputError(f"--slice must be above 0 and at most 1, got {fraction:g}")
    if features and (backbone or weights):
        raise InputError("--features and --backbone or --weights exclude each other: features are ready made")
    name, experiment = dataset.value, EXPERIMENTS[dataset.value]
    try:
        chosen = parse_methods(methods or [])
        specs = parse_features(name, backbone or [])
        if weights is not None and len(specs) != 1:
            raise InputError(f"--weights is for one backbone; name it with --backbone, of {len(specs)} here")
        sources = (
            given_sources(name, experiment, data, features, fraction=fraction)
            if features
            else plan_sources(
                name, experiment, data, specs, out / "features", fraction=fraction, weights=weights
            )
        )
    except (TypeError, ValueError) as error:
        raise InputError(str(error)) from error
    lengths = bits or [16, 32, 64]
    cell_folder = out / "cells"

    def ready(source: Source, opened: Features) -> tuple[LabelledFeatures, list[Cell]]:
        content = source.labelled(opened, f"{experiment.title}, {source.spec}")
        return content, plan_cells(chosen, lengths, seeds, content)

    if dry_run:
        steps: list[estimates.Step] = []
        for source in sources:
            opened = source.opened()
            steps.append(estimates.extraction_step(source, done=opened is not None))
            if opened is None:
                steps += [
                    estimates.cell_step_without_features(source, method, n_bits, seed)
                    for seed in range(seeds)
                    for method in chosen
                    for n_bits in lengths
                ]
            else:
                steps += estimates.cell_steps(ready(source, opened)[1], cell_folder)
        print_lines(estimates.lines(steps))
        return

    make_directory(cell_folder, "--out")
    blocks: list[tuple[Source, Features, LabelledFeatures, list[Cell]]] = []
    try:
        for source in sources:
            with (
                Claims(cell_folder / "claims") as claims,
                progress(len(source.part.images), quiet=quiet) as report,
            ):
                claims.take(str(source.folder.resolve()), wait=True)
                note(f"{source.spec}: features in {source.folder}", quiet=quiet)
                opened = source.opened() or source.extract(report, workers)
            blocks.append((source, opened, *ready(source, opened)))
    except (TypeError, ValueError) as error:
        raise InputError(str(error)) from error
    cells = [cell for _, _, _, own in blocks for cell in own]
    if report_only:
        found = {cell: read_cell(cell, cell_folder) for cell in cells}
        measured = {cell: each for cell, each in found.items() if each is not None}
        failures = [f"{cell}: not measured yet" for cell in cells if cell not in measured]
    else:
        with progress(len(cells), quiet=quiet, log=True) as report:
            measured, failures = run_cells(cells, cell_folder, report)
    command = _command(
        dataset=name,
        data=data,
        methods=methods,
        bits=bits,
        seeds=None if seeds == 1 else seeds,
        backbone=backbone,
        weights=weights,
        features=features,
        out=None if out == DEFAULT_OUT else out,
        slice=None if fraction == 1 else fraction,
    )
    content = _report(name, experiment.title, blocks, measured, failures, cell_folder, command)
    written = write_report(content, out)
    if json_output:
        print_lines([json.dumps(json.loads((out / "report.json").read_text()))])
    elif not quiet:
        print_lines(f"wrote {path}" for path in written)
    if failures and not report_only:
        raise InputError("; ".join(failures))


def _command(dataset: str, **options: Any) -> str:
    """Return what one types for the same run."""
    words = ["sdc-search", "reproduce", dataset]
    for name, value in options.items():
        if value is not None and value != []:
            words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return shlex.join(words)


def _report(
    name: str,
    title: str,
    blocks: Sequence[tuple[Source, Features, LabelledFeatures, list[Cell]]],
    measured: Mapping[Cell, Measurement],
    failures: Sequence[str],
    cell_folder: Path,
    command: str,
) -> Report:
    from sdc_search.benchmarks.machine import describe
    from sdc_search.published_figures import published_rows
    from sdc_search.quality_cells import kept_references, summarize
    from sdc_search.report import Report
    from sdc_search.reproduction import figures as drawing
    from sdc_search.reproduction.reporting import block

    tables, pictures, retrieval = [], [], None
    for place, (source, opened, data, cells) in enumerate(blocks):
        own = {cell: measured[cell] for cell in cells if cell in measured}
        if not own:
            continue
        summaries = {queries.title: summarize(own, queries) for queries in data.query_sets}
        references = {
            queries.title: kept_references(data, queries, cell_folder) for queries in data.query_sets
        }
        for queries in data.query_sets:
            tables.append(
                block(
                    name,
                    source.spec.backbone,
                    data,
                    queries,
                    summaries[queries.title],
                    references[queries.title],
                    opened.description,
                )
            )
        material = drawing.read_material(
            f"{place + 1}", data, source.part.images, source.dataset.class_names, list(own), cell_folder
        )
        published = published_rows(name, source.spec.backbone)
        pictures += drawing.draw(material, summaries, references, published)
        if retrieval is None:
            retrieval = drawing.retrieval_examples(material)
    return Report(
        title=f"{title}: unsupervised hashing",
        paragraphs=[_TEXT],
        command=command,
        machine=describe(("scipy", "torch")),
        blocks=tables,
        figures=pictures,
        retrieval=retrieval,
        notes=failures,
    )
