"""The quality benchmark's figure: mAP over the length of the codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sdc_search.benchmarks.quality_data import PROTOCOL
from sdc_search.plots import FAINT, INK
from sdc_search.quality_cells import Summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe & Ito 2008; with dashes and markers of other periods, no two of the first 24 lines look alike.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#222222", "#8a7d00")
_DASHES = ("solid", "dashed", "dashdot")
_MARKERS = "osD^vPX*<"
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
    from matplotlib.figure import Figure

    lengths = sorted({summary.n_bits for summary in summaries})
    figure = Figure(figsize=(8.4, 5.4), facecolor="white", layout="constrained")
    axes = figure.subplots()
    for place, method in enumerate(dict.fromkeys(summary.method for summary in summaries)):
        line = sorted((s for s in summaries if s.method == method), key=lambda s: s.n_bits)
        axes.errorbar(
            [s.n_bits for s in line],
            [100 * s.mean[_MAP] for s in line],
            [100 * s.spread.get(_MAP, 0.0) for s in line],
            color=_COLORS[place % len(_COLORS)],
            linestyle=_DASHES[place % len(_DASHES)],
            marker=_MARKERS[place % len(_MARKERS)],
            markersize=5.5,
            linewidth=1.7,
            capsize=3,
            label=method,
        )
    for style, (name, value) in zip(("dotted", (0, (6, 2, 1, 2))), references.items(), strict=True):
        axes.axhline(100 * value, color=FAINT, linewidth=1.2, linestyle=style, label=name, zorder=0)
    axes.set_xscale("log", base=2)
    axes.set_xticks(lengths, [str(n_bits) for n_bits in lengths])
    axes.set_xlabel("bits", size=10.5, color=INK)
    axes.set_ylabel(f"mAP@{PROTOCOL.at}, %", size=10.5, color=INK)
    axes.grid(visible=True, which="major", color="#dddddd", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9.5)
    figure.legend(loc="outside right center", frameon=False, fontsize=9.5, handlelength=3.6)
    figure.supxlabel(caption, size=9, color=FAINT)
    return figure
