"""What was measured on a GPU, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import roofline

PEERS = ("torch", "faiss", "cuVS")


@dataclass(frozen=True)
class Outcome:
    """The median times of a case's contenders, in seconds, or why there is none."""

    name: str
    predicted: float | None  # None: nothing is, for the case or on this device
    measured: Mapping[str, float | str]


def render(about: Mapping[str, str], outcomes: Sequence[Outcome]) -> str:
    """Return the report: a line a case, its prediction beside what was measured."""
    lines = [
        f"# Measured on {about['device']}",
        "",
        "Written by `bench/gpu.py`. Times are medians, predictions the least times of `cuda/ROOFLINE.md`.",
        "The share is how near the measured time comes to that, and a peer's ratio its time to ours. Times",
        "of faiss include the copies of queries and results, which it takes from and gives to the CPU.",
        "",
        *(f"- {key}: {value}" for key, value in about.items()),
        "",
        f"| case | sdc-search | predicted | share | {' | '.join(PEERS)} |",
        "|---|---|---|---|" + "---|" * len(PEERS),
    ]
    notes = []
    for outcome in outcomes:
        ours = outcome.measured["sdc-search"]
        cells = [outcome.name, roofline.duration(ours) if isinstance(ours, float) else "failed"]
        comparable = isinstance(ours, float) and outcome.predicted is not None
        cells += (
            [roofline.duration(outcome.predicted), f"{outcome.predicted / ours:.2f}"]
            if comparable
            else ["—", "—"]
        )
        for peer in PEERS:
            theirs = outcome.measured.get(peer)
            if isinstance(theirs, float):
                ratio = f", {theirs / ours:.2f}x" if isinstance(ours, float) else ""
                cells.append(f"{roofline.duration(theirs)}{ratio}")
            else:
                cells.append("—" if theirs is None else "failed")
        notes += [
            f"- {outcome.name}, {name}: {text}"
            for name, text in outcome.measured.items()
            if isinstance(text, str)
        ]
        lines.append(f"| {' | '.join(cells)} |")
    if notes:
        lines += ["", "## What failed", "", *notes]
    return "\n".join(lines) + "\n"
