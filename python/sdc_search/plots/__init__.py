"""Figures: how well codes retrieve, what they retrieve, and how their similarities are distributed.

Every function takes arrays and returns a matplotlib ``Figure`` made without pyplot, so there is no global
state and no window; `save_figure` writes it as PNG, SVG or PDF.
"""

from sdc_search.plots.code_map import MappedCodes, code_map_figure, scale_codes
from sdc_search.plots.code_square import CodeSquare, code_square_figure
from sdc_search.plots.curves import Curve
from sdc_search.plots.files import png_bytes, save_figure, svg_bytes
from sdc_search.plots.map_over_bits import map_over_bits_figure
from sdc_search.plots.precision_at_n import precision_at_n_figure
from sdc_search.plots.precision_recall import precision_recall_figure
from sdc_search.plots.retrieval import Retrieval, retrieval_figure
from sdc_search.plots.similarity import Similarities, similarity_figure
from sdc_search.plots.style import require_matplotlib
from sdc_search.plots.training_collapse import training_collapse_figure

__all__ = [
    "CodeSquare",
    "Curve",
    "MappedCodes",
    "Retrieval",
    "Similarities",
    "code_map_figure",
    "code_square_figure",
    "map_over_bits_figure",
    "png_bytes",
    "precision_at_n_figure",
    "precision_recall_figure",
    "require_matplotlib",
    "retrieval_figure",
    "save_figure",
    "scale_codes",
    "similarity_figure",
    "svg_bytes",
    "training_collapse_figure",
]
