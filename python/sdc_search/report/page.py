"""A report as one page that loads nothing from anywhere."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from io import BytesIO
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sdc_search.errors import MissingExtraError
from sdc_search.report.content import (
    ABSENT,
    PAPER_NOTE,
    Block,
    Measure,
    Ranking,
    Report,
    ReportFigure,
    RetrievalExamples,
    Row,
    best_rows,
    cell,
    flat_machine,
    has_published_rows,
    lengths,
    rows_of,
)

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

# A vector graphic beyond this is a scatter of thousands of points: then the pixels are lighter.
_LARGEST_SVG = 600_000
_THUMBNAIL = 112
_SHOWN_AT_FIRST = 3


def html(report: Report) -> str:
    """Return the report as a page.

    Images are inlined, fonts are the reader's, and a content security policy forbids all requests and any
    script but the page's own. Without JavaScript all of the content is there; with it, tables can be sorted
    and retrieval examples switched between lengths.

    Parameters
    ----------
    report
        Its texts may hold anything: they are escaped.

    Raises
    ------
    MissingExtraError
        Retrieval examples need pillow, which is not installed.
    """
    template = (files("sdc_search.report") / "page.html").read_text("utf-8")
    script = re.search(r"<script>(.*?)</script>", template, re.DOTALL)
    if script is None:
        raise RuntimeError("the template has no script")
    digest = b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    blocks = [(f"results-{place}", block) for place, block in enumerate(report.blocks, 1)]
    links = [(name, block.title) for name, block in blocks]
    sections = [_block_section(name, block) for name, block in blocks]
    if sections and has_published_rows(report.blocks):
        sections.append(f'<p class="legend"><span class="badge">paper</span> {escape(PAPER_NOTE)}</p>')
    if report.retrieval is not None and report.retrieval.rankings:
        links.append(("retrieval", "Retrieval"))
        sections.append(_retrieval_section(report.retrieval))
    if report.figures:
        links.append(("figures", "Figures"))
        sections.append(_figures_section(report.figures))
    if report.command or report.machine or report.notes:
        links.append(("making", "How it was made"))
        sections.append(_making_section(report))
    return Template(template).substitute(
        policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
        title=escape(report.title),
        lead=_paragraphs(report.paragraphs),
        links="".join(f'<a href="#{name}">{escape(text)}</a>' for name, text in links),
        sections="\n".join(sections),
    )


def _paragraphs(texts: Iterable[str]) -> str:
    return "".join(f"<p>{escape(text)}</p>" for text in texts)


def _block_section(name: str, block: Block) -> str:
    tables = "\n".join(
        _table(block, measure, with_references=place == 0) for place, measure in enumerate(block.measures)
    )
    return (
        f'<section id="{name}"><h2>{escape(block.title)}</h2>'
        f'<div class="text">{_paragraphs(block.paragraphs)}</div>\n'
        f'<div class="tables">{tables}</div></section>'
    )


def _table(block: Block, measure: Measure, *, with_references: bool) -> str:
    columns = lengths(block)
    first = "ascending" if measure.higher_is_better is False else "descending"
    headings = _heading("method", "ascending") + "".join(_heading(f"{n} bits", first) for n in columns)
    best = {n_bits: best_rows(block, n_bits, measure) for n_bits in columns}
    shown = rows_of(block, measure)
    found = [value[0] for row in shown for n in columns if (value := cell(row, n, measure)) is not None]
    largest = max(found, default=0.0)
    rows = "\n".join(
        f'<tr class="{row.source}">{_row_heading(row)}'
        + "".join(_cell(row, n, measure, best=row in best[n], largest=largest) for n in columns)
        + "</tr>"
        for row in shown
    )
    references = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        f'<td colspan="{len(columns)}">{escape(measure.format(value))}</td></tr>'
        for name, value in block.references.items()
    )
    foot = f"<tfoot>{references}</tfoot>" if with_references and references and columns else ""
    label = escape(f"{block.title}: {measure.title}")
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{label}"><table>'
        f"<caption>{escape(measure.title)}</caption><thead><tr>{headings}</tr></thead>"
        f"<tbody>{rows}</tbody>{foot}</table></div>"
    )


def _heading(text: str, first: str) -> str:
    return f'<th scope="col" aria-sort="none" data-first="{first}"><button type="button">{text}</button></th>'


def _row_heading(row: Row) -> str:
    badge = ' <span class="badge">paper</span>' if row.source == "paper" else ""
    note = f' <small class="note">{escape(row.note)}</small>' if row.note else ""
    return f'<th scope="row">{escape(row.method)}{badge}{note}</th>'


def _cell(row: Row, n_bits: int, measure: Measure, *, best: bool, largest: float) -> str:
    value = cell(row, n_bits, measure)
    if value is None:
        return f'<td class="absent">{ABSENT}</td>'
    mean, spread = value
    text = escape(measure.format(mean))
    if best:
        text = f"<strong>{text}</strong>"
    if spread is not None:
        text += f' <small class="spread">± {escape(measure.format(spread))}</small>'
    share = min(max(mean / largest, 0.0), 1.0) if largest > 0 else 0.0
    return f'<td data-value="{mean!r}" style="--share:{100 * share:.1f}%">{text}</td>'


def _figures_section(figures: Sequence[ReportFigure]) -> str:
    cards = []
    for figure in figures:
        small = len(figure.svg) <= _LARGEST_SVG
        uri = _data_uri("image/svg+xml", figure.svg) if small else _data_uri("image/png", figure.png)
        width, height = figure.figure.get_size_inches()
        shape = ' class="wide"' if width > 1.7 * height else ""
        caption = escape(figure.caption)
        cards.append(
            f'<figure{shape}><div class="frame" tabindex="0"><img src="{uri}" alt="{caption}"'
            f' width="{96 * width:.0f}" height="{96 * height:.0f}"></div>'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    return f'<section id="figures"><h2>Figures</h2><div class="figures">{"".join(cards)}</div></section>'


def _making_section(report: Report) -> str:
    command = f"<pre><code>{escape(report.command)}</code></pre>" if report.command else ""
    facts = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in flat_machine(report.machine)
    )
    facts = f"<dl>{facts}</dl>" if facts else ""
    notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
    notes = f"<h3>Notes</h3><ul>{notes}</ul>" if notes else ""
    return f'<section id="making"><h2>How it was made</h2>{command}{facts}{notes}</section>'


def _retrieval_section(examples: RetrievalExamples) -> str:
    bits = sorted({ranking.n_bits for ranking in examples.rankings})
    methods = list(dict.fromkeys(ranking.method for ranking in examples.rankings))
    shown = methods if len(methods) <= _SHOWN_AT_FIRST else [methods[0], methods[-1]]
    symbols = [
        _symbol(f"{kind}-{place}", image)
        for kind, images in (("query", examples.query_images), ("item", examples.images))
        for place, image in enumerate(images)
    ]
    ticks = "".join(f"<span>{n_bits}</span>" for n_bits in bits)
    boxes = "".join(
        f'<label><input type="checkbox" value="{place}"{" checked" if method in shown else ""}>'
        f"{escape(method)}</label>"
        for place, method in enumerate(methods)
    )
    # The longest first: that is what a reader should see before touching anything.
    slider = (
        '<div class="slider"><label for="bits">Bits of a code</label><div>'
        f'<input type="range" id="bits" min="0" max="{len(bits) - 1}" value="{len(bits) - 1}"'
        f' data-bits="{" ".join(map(str, bits))}">'
        f'<div class="ticks" aria-hidden="true">{ticks}</div></div>'
        f'<output for="bits">{bits[-1]} bits</output></div>'
    )
    queries = "\n".join(
        _query(examples, place, bits, methods, _order(examples.rankings, methods))
        for place in range(len(examples.query_images))
    )
    return (
        f'<section id="retrieval"><h2>Retrieval</h2><div class="text"><p>{escape(examples.caption)}</p></div>'
        f'<svg class="store" width="0" height="0" aria-hidden="true"><defs>{"".join(symbols)}</defs></svg>'
        f"<form><fieldset><legend>Methods</legend>{boxes}</fieldset>{slider}{queries}</form></section>"
    )


def _order(rankings: Sequence[Ranking], methods: Sequence[str]) -> list[Ranking]:
    return sorted(rankings, key=lambda ranking: (methods.index(ranking.method), ranking.n_bits))


def _query(
    examples: RetrievalExamples,
    place: int,
    bits: Sequence[int],
    methods: Sequence[str],
    rankings: Sequence[Ranking],
) -> str:
    label = escape(examples.query_labels[place])
    strips = []
    for ranking in rankings:
        right = int(np.count_nonzero(ranking.right[place]))
        method = methods.index(ranking.method)
        hits = "".join(
            _hit(item, examples.labels[item], right=bool(is_right), distance=int(distance))
            for item, is_right, distance in zip(
                ranking.items[place].tolist(), ranking.right[place], ranking.distances[place], strict=True
            )
        )
        strips.append(
            f'<div class="ranking" data-bits="{ranking.n_bits}" data-method="{method}">'
            f"<h4>{escape(ranking.method)} <small>{ranking.n_bits} bits</small>"
            f"<span>{right} of {len(ranking.right[place])} right</span></h4>"
            f'<ol style="--k: {len(ranking.items[place])}">{hits}</ol></div>'
        )
    return (
        f'<article><div class="asked">{_use(f"query-{place}", f"query: {label}")}'
        f"<p><small>query</small>{label}</p></div>"
        f'<div class="rankings">{"".join(strips)}</div></article>'
    )


def _hit(item: int, label: str, *, right: bool, distance: int) -> str:
    verdict = "right" if right else "wrong"
    name = escape(label)
    mark = "✓" if right else "✕"
    return (
        f'<li class="{verdict}">{_use(f"item-{item}", f"{verdict}: {name}, distance {distance}")}'
        f'<span title="{name}">{mark}{"" if right else f" {name}"}</span><small>{distance}</small></li>'
    )


def _use(name: str, label: str) -> str:
    """Show a stored image; `label` is escaped already."""
    return f'<svg viewBox="0 0 1 1" role="img" aria-label="{label}"><use href="#{name}"/></svg>'


def _symbol(name: str, pixels: npt.NDArray[np.uint8]) -> str:
    """Store an image once, whole within the unit square."""
    image = _image(pixels)
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    buffer = BytesIO()
    if image.mode == "L" or max(image.size) <= 48:
        image.save(buffer, "PNG", optimize=True)
        kind = "image/png"
    else:
        image.save(buffer, "JPEG", quality=85)
        kind = "image/jpeg"
    uri = _data_uri(kind, buffer.getvalue())
    return f'<image id="{name}" width="1" height="1" href="{uri}"/>'


def _image(pixels: npt.NDArray[np.uint8]) -> PillowImage:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("pillow", "plot", "a report with retrieval examples") from error
    array: npt.NDArray[Any] = np.asarray(pixels)
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise ValueError(
            f"images must be uint8 (height, width) or (height, width, 3), got {array.dtype} {array.shape}"
        )
    return Image.fromarray(array)


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{b64encode(content).decode()}"
