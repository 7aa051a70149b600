"""A report as Markdown, JSON and CSV."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Sequence
from io import StringIO
from typing import Any

from sdc_search.report.content import (
    ABSENT,
    PAPER_NOTE,
    Block,
    Measure,
    Report,
    Row,
    best_rows,
    cell,
    flat_machine,
    has_published_rows,
    lengths,
    rows_of,
)


def markdown(report: Report) -> str:
    """Return the report as Markdown; figures are linked as ``name.png`` beside it.

    Published rows are set in italics and say "paper"; the best measured value of a column is bold.
    """
    parts = [f"# {_escape(report.title)}", *map(_escape, report.paragraphs)]
    for block in report.blocks:
        parts += [f"## {_escape(block.title)}", *map(_escape, block.paragraphs)]
        for place, measure in enumerate(block.measures):
            table = _table(block, measure, with_references=place == 0)
            parts += [f"### {_escape(measure.title)}", "\n".join(table)]
    if has_published_rows(report.blocks):
        parts.append(PAPER_NOTE)
    if report.figures:
        parts.append("## Figures")
        for figure in report.figures:
            caption = _escape(figure.caption)
            parts += [f"![{caption}]({figure.name}.png)", f"{caption} ([SVG]({figure.name}.svg))"]
    if report.command:
        parts += ["## How it was made", f"```sh\n{report.command}\n```"]
    if report.machine:
        parts.append("; ".join(f"{name}: {text}" for name, text in _escaped_machine(report)) + ".")
    if report.notes:
        parts += ["## Notes", "\n".join(f"- {_escape(note)}" for note in report.notes)]
    return "\n\n".join(parts) + "\n"


def _table(block: Block, measure: Measure, *, with_references: bool) -> list[str]:
    columns = lengths(block)
    lines = [
        ["method", *(f"{n_bits} bits" for n_bits in columns)],
        ["---", *["---:"] * len(columns)],
        *([_name(row), *(_cell(block, row, n, measure) for n in columns)] for row in rows_of(block, measure)),
    ]
    if with_references:
        lines += [
            [_escape(name), *[_escape(measure.format(value))] * len(columns)]
            for name, value in block.references.items()
        ]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _name(row: Row) -> str:
    note = f", {_escape(row.note)}" if row.note else ""
    if row.source == "paper":
        return f"*{_escape(row.method)}* (paper{note})"
    return _escape(row.method) + (f" ({_escape(row.note)})" if row.note else "")


def _cell(block: Block, row: Row, n_bits: int, measure: Measure) -> str:
    value = cell(row, n_bits, measure)
    if value is None:
        return ABSENT
    mean, spread = value
    text = _escape(measure.format(mean))
    if row in best_rows(block, n_bits, measure):
        text = f"**{text}**"
    if row.source == "paper":
        text = f"*{text}*"
    return text if spread is None else f"{text} ± {_escape(measure.format(spread))}"


def _escaped_machine(report: Report) -> list[tuple[str, str]]:
    return [(_escape(name), _escape(text)) for name, text in flat_machine(report.machine)]


def _escape(text: str) -> str:
    """Make text inert in Markdown, tables included."""
    return re.sub(r"([\\`*<>|\[\]])", r"\\\1", " ".join(text.split()))


def as_json(report: Report) -> str:
    """Return the numbers and texts as JSON; what is not a number is null."""
    document = {
        "title": report.title,
        "paragraphs": list(report.paragraphs),
        "command": report.command,
        "machine": dict(report.machine),
        "blocks": [_block_document(block) for block in report.blocks],
        "figures": [
            {"files": [f"{f.name}.png", f"{f.name}.svg"], "caption": f.caption} for f in report.figures
        ],
        "notes": list(report.notes),
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _block_document(block: Block) -> dict[str, Any]:
    return {
        "title": block.title,
        "paragraphs": list(block.paragraphs),
        "measures": [{"key": measure.key, "title": measure.title} for measure in block.measures],
        "references": {name: _number(value) for name, value in block.references.items()},
        "rows": [
            {
                "method": row.method,
                "source": row.source,
                "note": row.note,
                "values": {
                    str(n_bits): {
                        key: {"mean": _number(mean), "spread": _number(spread)}
                        for key, (mean, spread) in values.items()
                    }
                    for n_bits, values in sorted(row.values.items())
                },
            }
            for row in block.rows
        ],
    }


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def as_csv(blocks: Sequence[Block]) -> str:
    """Return one line for each value, with a heading."""
    buffer = StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["block", "method", "source", "note", "bits", "measure", "mean", "spread"])
    for block in blocks:
        for row in block.rows:
            for n_bits, values in sorted(row.values.items()):
                for key, (mean, spread) in values.items():
                    numbers = [_number(mean), _number(spread)]
                    writer.writerow([block.title, row.method, row.source, row.note, n_bits, key, *numbers])
    return buffer.getvalue()
