"""A report's files."""

from __future__ import annotations

import re
from pathlib import Path

from sdc_search.atomic_files import atomic_file
from sdc_search.report.content import Report
from sdc_search.report.documents import as_csv, as_json, markdown
from sdc_search.report.page import html


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write ``report.md``, ``.json``, ``.csv`` and ``.html`` and each figure as PNG and SVG.

    Everything is rendered before the first file is touched, each file appears whole, and those that refer to
    others come last.

    Parameters
    ----------
    report
        What to write.
    folder
        Made where it is missing.

    Returns
    -------
    The files, in the order of writing.

    Raises
    ------
    ValueError
        A figure's name is not of letters, digits, ``-`` and ``_``, or two figures have the same.
    MissingExtraError
        Retrieval examples need pillow, which is not installed.
    """
    names = [figure.name for figure in report.figures]
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or names.count(name) > 1:
            raise ValueError(f"figures need names of letters, digits, - and _, each once, got {names}")
    contents: dict[str, bytes] = {}
    for figure in report.figures:
        contents[f"{figure.name}.png"] = figure.png
        contents[f"{figure.name}.svg"] = figure.svg
    contents["report.csv"] = as_csv(report.blocks).encode()
    contents["report.json"] = as_json(report).encode()
    contents["report.md"] = markdown(report).encode()
    contents["report.html"] = html(report).encode()
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        with atomic_file(folder / name) as file:
            file.write(content)
    return [folder / name for name in contents]
