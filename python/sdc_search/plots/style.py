"""One look for all figures: lines and bars stay apart in grey print and under colour deficiencies."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sdc_search.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#222222"
FAINT = "#6b6b6b"
GRID = "#e2e2e2"
# Bluish green and vermillion stay apart under the common colour deficiencies (Okabe & Ito 2008); darker
# than theirs, for small text.
RIGHT = "#00875f"
WRONG = "#d0440b"
BAR = "#a9c6de"
BAR_SAME_CLASS = "#1f5c8b"
CALIBRATION = "#d0440b"

TITLE_SIZE = 12.0
LABEL_SIZE = 10.5
TICK_SIZE = 9.5
CAPTION_SIZE = 9.5

# Okabe & Ito 2008, its yellow replaced by an olive and its orange darkened, since lines are thin on white; a
# violet and a brown make ten.
COLORS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#C98500", "#3C9DD0", "#222222", "#8a7d00"),
    *("#6B3FA0", "#8C4A2F"),
)
MARKERS = "osD^vPX*<"
_DASHES = ("solid", "dashed", "dashdot")


class LineStyle(NamedTuple):
    """Colour, dashes and marker: any one of them tells neighbouring lines apart."""

    color: str
    dashes: str | tuple[int, tuple[float, ...]]
    marker: str


def line_style(place: int) -> LineStyle:
    """Return the style of the line that is drawn `place`-th; the first 90 all differ."""
    return LineStyle(
        COLORS[place % len(COLORS)], _DASHES[place % len(_DASHES)], MARKERS[place % len(MARKERS)]
    )


def dress(axes: Axes, *, title: str = "", x_label: str = "", y_label: str = "", grid: bool = True) -> None:
    """Give axes the common look: no box, faint grid, dark text."""
    axes.set_title(title, size=TITLE_SIZE, color=INK)
    axes.set_xlabel(x_label, size=LABEL_SIZE, color=INK)
    axes.set_ylabel(y_label, size=LABEL_SIZE, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=TICK_SIZE)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(visible=True, which="major", color=GRID, linewidth=0.7)


def require_matplotlib(purpose: str) -> None:
    """Raise `MissingExtraError` where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("matplotlib", "demo", purpose) from error


def new_figure(purpose: str, width: float, height: float) -> Figure:
    """Make a white figure of inches, laid out by constraints, without pyplot."""
    require_matplotlib(purpose)
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), facecolor="white", layout="constrained")
