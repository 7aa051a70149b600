"""The quality benchmark's figure: mAP over the length of the codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sdc_search.benchmarks.quality_data import PROTOCOL
from sdc_search.plots import Curve, map_over_bits_figure
from sdc_search.quality_cells import Summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAP = "mean_average_precision"


def quality_figure(summaries: Sequence[Summary], references: Mapping[str, float], *, caption: str) -> Figure:
    """Draw one line a method, with bars of a standard deviation, beside the float features' cosine.

    Parameters
    ----------
    summaries
        At least one.
    references
        Name → mAP in [0, 1]; horizontal lines.
    caption
        A line below the axes.
    """
    curves = []
    for method in dict.fromkeys(summary.method for summary in summaries):
        line = sorted((s for s in summaries if s.method == method), key=lambda s: s.n_bits)
        curves.append(
            Curve(
                method,
                [s.n_bits for s in line],
                [s.mean[_MAP] for s in line],
                [s.spread.get(_MAP, 0.0) for s in line],
            )
        )
    return map_over_bits_figure(curves, references=references, measure=f"mAP@{PROTOCOL.at}", caption=caption)
