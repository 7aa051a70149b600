"""The report in its four formats: complete, consistent, and inert whatever its texts hold."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from sdc_search.report import Block, Measure, Report, ReportFigure, Row, html, percent, write_report

VOID = {"meta", "img", "input", "image", "use", "br"}


class Page(HTMLParser):
    """Elements in order with their attributes and texts; complains of tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.open: list[tuple[str, list[str]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        texts: list[str] = []
        self.elements.append((tag, dict(attrs), texts))
        if tag not in VOID:
            self.open.append((tag, texts))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for _, texts in self.open:
            texts.append(data)

    def of(self, tag: str, cls: str | None = None) -> list[tuple[dict[str, str | None], str]]:
        """Return attributes and text of the elements of one tag, and of one class."""
        return [
            (attributes, "".join(texts))
            for name, attributes, texts in self.elements
            if name == tag and (cls is None or cls in (attributes.get("class") or "").split())
        ]


def test_write_report_writes_all_formats_and_nothing_else(report: Report, tmp_path: Path) -> None:
    paths = write_report(report, tmp_path / "new" / "folder")
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == sorted(
        ["report.md", "report.json", "report.csv", "report.html", "map-over-bits.png", "map-over-bits.svg"]
    )
    assert {path.name for path in paths} == {path.name for path in (tmp_path / "new" / "folder").iterdir()}
    with Image.open(tmp_path / "new" / "folder" / "map-over-bits.png") as image:
        assert image.width > 600
    ElementTree.parse(tmp_path / "new" / "folder" / "map-over-bits.svg")
    assert (tmp_path / "new" / "folder" / "report.html").read_text() == html(report)


def test_json_holds_the_numbers(report: Report, tmp_path: Path) -> None:
    row = Row("NaN", "measured", {16: {"map": (float("nan"), float("inf"))}})
    block = replace(report.blocks[0], rows=[*report.blocks[0].rows, row])
    write_report(replace(report, blocks=[block]), tmp_path)
    document = json.loads((tmp_path / "report.json").read_text())
    rows = document["blocks"][0]["rows"]
    assert rows[0]["values"]["32"]["map"] == {"mean": 0.3, "spread": 0.02}
    assert [row["source"] for row in rows] == ["measured", "measured", "measured", "paper", "measured"]
    assert rows[4]["values"]["16"]["map"] == {"mean": None, "spread": None}
    assert document["machine"]["versions"] == {"numpy": "2", "x": None}


def test_csv_has_a_line_a_value(report: Report, tmp_path: Path, hostile: str) -> None:
    write_report(report, tmp_path)
    with (tmp_path / "report.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 9
    assert lines[0]["method"] == "LSH"
    assert (lines[0]["bits"], lines[0]["measure"], lines[0]["mean"], lines[0]["spread"]) == (
        *("16", "map", "0.25"),
        "0.01",
    )
    assert [line["note"] for line in lines if line["source"] == "paper"] == ["VGG16", "VGG16"]
    assert hostile in {line["note"] for line in lines}


def test_markdown_marks_the_paper_and_the_best(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path)
    text = (tmp_path / "report.md").read_text()
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert table[2] == "| LSH | 25.0 ± 1.0 | 30.0 ± 2.0 |"
    assert table[3] == "| SDC | **45.0** ± 1.0 | **55.0** ± 2.0 |"
    assert table[5] == "| *SDC* (paper, VGG16) | *59.8* | *64.0* |"
    assert "arXiv 2302.07669" in text
    assert "(map-over-bits.png)" in text
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {4}
    assert "fit, s" in text
    assert "| LSH | **0.5** | \N{EN DASH} |" in text


def test_markdown_is_inert(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path)
    text = (tmp_path / "report.md").read_text()
    outside_code = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    assert re.search(r"(?<!\\)<", outside_code) is None
    assert re.search(r"(?<!\\)`", outside_code) is None


def test_page_is_well_formed_and_inert(report: Report, hostile: str) -> None:
    page = Page(html(report))
    scripts = page.of("script")
    assert len(scripts) == 1  # the template's own
    assert not any("owned" in text for _, text in scripts)
    assert all("onerror" not in attributes for _, attributes, _ in page.elements)
    assert [text for _, text in page.of("h1")] == [f"Codes {hostile}"]
    assert hostile in [text for _, text in page.of("li")]
    assert f"A {hostile} {hostile}" in [text for _, text in page.of("th")]


def test_page_asks_the_network_for_nothing(report: Report) -> None:
    text = html(report)
    page = Page(text)
    for tag, attributes, _ in page.elements:
        for name in "src", "href", "action", "srcset", "data":
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:image/")), (tag, name, value[:80])
    assert not {"link", "iframe", "object", "base", "embed"} & {tag for tag, _, _ in page.elements}
    style = page.of("style")[0][1]
    assert "url(" not in style
    assert "@import" not in style
    policy = next(a["content"] for a, _ in page.of("meta") if a.get("http-equiv"))
    digest = base64.b64encode(hashlib.sha256(page.of("script")[0][1].encode()).digest()).decode()
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert f"script-src 'sha256-{digest}'" in policy


def test_tables_are_made_for_sorting(report: Report) -> None:
    page = Page(html(report))
    assert len(page.of("table")) == 2
    columns = [a for a, _ in page.of("th") if a.get("scope") == "col"]
    assert [a["aria-sort"] for a in columns] == 6 * ["none"]
    assert [a["data-first"] for a in columns] == [
        *("ascending", "descending", "descending"),
        *("ascending", "ascending", "ascending"),
    ]
    assert [text for _, text in page.of("button")] == 2 * ["method", "16 bits", "32 bits"]
    cells = [(a.get("data-value"), text) for a, text in page.of("td")]
    assert cells[0] == ("0.25", "25.0 ± 1.0")
    assert (None, "\N{EN DASH}") in cells
    assert [text for _, text in page.of("strong")] == ["45.0", "55.0", "0.5"]


def test_published_rows_are_marked(report: Report) -> None:
    page = Page(html(report))
    assert len(page.of("tr", "paper")) == 1  # no row in the table of what the paper does not tell
    for _, text in page.of("tr", "paper"):
        assert text.startswith("SDC paper VGG16")
    assert any("not measured here" in text for _, text in page.of("p", "legend"))
    measured = replace(report.blocks[0], rows=[r for r in report.blocks[0].rows if r.source != "paper"])
    assert "not measured here" not in html(replace(report, blocks=[measured]))


def test_retrieval_examples_hold_every_length(report: Report, hostile: str) -> None:
    page = Page(html(report))
    rankings = page.of("div", "ranking")
    assert len(rankings) == 2 * 4 * 3
    assert [a["data-bits"] for a, _ in rankings[:3]] == ["16", "32", "64"]
    assert len(page.of("image")) == 2 + 12  # each once, however often it is found
    examples = report.retrieval
    assert examples is not None
    right = sum(int(ranking.right.sum()) for ranking in examples.rankings)
    assert len(page.of("li", "right")) == right
    assert len(page.of("li", "wrong")) == 2 * 4 * 3 * 6 - right
    assert all(text.startswith("✕ ") for _, text in page.of("li", "wrong"))
    assert next(a["href"] for a, _ in page.of("use")) == "#query-0"
    slider = next(a for a, _ in page.of("input") if a["type"] == "range")
    assert (slider["data-bits"], slider["max"]) == ("16 32 64", "2")
    boxes = [a for a, _ in page.of("input") if a["type"] == "checkbox"]
    assert ["checked" in a for a in boxes] == [True, False, False, True]
    shown = base64.b64decode((page.of("image")[2][0]["href"] or "").partition(",")[2])
    with Image.open(BytesIO(shown)) as image:
        np.testing.assert_array_equal(np.asarray(image), examples.images[0])


def test_a_report_of_a_title_alone(tmp_path: Path) -> None:
    page = Page(html(Report("Nothing yet")))
    assert page.of("section") == []
    write_report(Report("Nothing yet"), tmp_path)
    assert (tmp_path / "report.md").read_text() == "# Nothing yet\n"


def test_a_block_without_rows_and_one_row_alone() -> None:
    measure = Measure("map", "mAP", percent)
    row = Row("LSH", "measured", {16: {"map": (0.25, None)}})
    page = Page(
        html(Report("x", blocks=[Block("empty", [], [measure], []), Block("b", [], [measure], [row])]))
    )
    assert len(page.of("table")) == 2
    assert page.of("strong") == []  # the best of one is no news


@pytest.mark.parametrize("names", [["a/b"], [""], ["x", "x"], ["../x"]])
def test_figures_need_plain_names(names: list[str], report: Report, tmp_path: Path) -> None:
    figure = report.figures[0].figure
    figures = [ReportFigure(name, "", figure) for name in names]
    with pytest.raises(ValueError, match="letters, digits"):
        write_report(replace(report, figures=figures), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_images_of_another_kind_are_refused(report: Report) -> None:
    examples = report.retrieval
    assert examples is not None
    with pytest.raises(ValueError, match="uint8"):
        html(replace(report, retrieval=replace(examples, query_images=2 * [np.zeros((3, 3))])))
