"""Reports of an evaluation: tables of measurements beside published ones, figures, retrieval examples.

A `Report` holds content alone. `write_report` writes it as Markdown, JSON, CSV and HTML, and `html` gives the
page, which loads nothing from anywhere.
"""

from sdc_search.report.content import (
    Block,
    Measure,
    Ranking,
    Report,
    ReportFigure,
    RetrievalExamples,
    Row,
    percent,
)
from sdc_search.report.page import html
from sdc_search.report.writing import write_report

__all__ = [
    "Block",
    "Measure",
    "Ranking",
    "Report",
    "ReportFigure",
    "RetrievalExamples",
    "Row",
    "html",
    "percent",
    "write_report",
]
