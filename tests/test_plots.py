"""Figures on data small enough to count what they draw."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from sdc_search import pack_bits, plots
from sdc_search.hamming import hamming_distance
from sdc_search.plots import Curve
from sdc_search.plots.style import line_style


def test_histograms_are_densities_of_the_values_that_codes_take() -> None:
    values = np.array([-1.0, -0.5, 0.0, 0.0, 0.5, 1.0])
    same = np.array([False, False, False, True, True, True])
    figure = plots.similarity_figure([plots.Similarities("codes", values)], same, n_bits=4)
    every, of_one_class = figure.axes[0].containers
    width = 0.5
    np.testing.assert_allclose([bar.get_height() * width for bar in every], np.array([1, 1, 2, 1, 1]) / 6)
    np.testing.assert_allclose(
        [bar.get_height() * width for bar in of_one_class], np.array([0, 0, 1, 1, 1]) / 6
    )
    target = figure.axes[0].lines[0].get_xydata()
    assert np.trapezoid(target[:, 1], target[:, 0]) == pytest.approx(1)


def test_retrieval_says_right_and_wrong_in_style_and_words(rng: np.random.Generator) -> None:
    images = rng.integers(0, 256, (6, 28, 28), dtype=np.uint8)
    labels = np.array([0, 0, 0, 1, 1, 1])
    figure = plots.retrieval_figure(
        images[:1],
        labels[:1],
        images,
        labels,
        [plots.Retrieval("one", np.array([[0, 1, 4]])), plots.Retrieval("two", np.array([[3, 4, 5]]))],
        class_names=["shoe", "bag"],
    )
    axes = figure.axes[0]
    _, *frames = axes.patches  # the first is the query's
    assert [frame.get_linestyle() == "solid" for frame in frames] == [True, True, False, False, False, False]
    texts = [text.get_text() for text in axes.texts]
    assert texts.count("✓") == 2
    assert texts.count("✕ bag") == 4
    png = plots.png_bytes(figure)
    with Image.open(BytesIO(png)) as image:
        assert image.format == "PNG"


def test_images_keep_their_shape_within_the_square() -> None:
    tall = np.full((40, 20), 200, np.uint8)
    colour = np.full((10, 10, 3), 50, np.uint8)
    labels = np.zeros(2, np.int64)
    figure = plots.retrieval_figure(
        [tall],
        labels[:1],
        [colour, tall],
        labels,
        [plots.Retrieval("one", np.array([[0, 1]]))],
        class_names=["x"],
    )
    query, first, second = figure.axes[0].images
    left, right, bottom, top = query.get_extent()
    assert (right - left, bottom - top) == pytest.approx((1.0, 2.0))
    assert first.get_array().shape == (10, 10, 3)
    left, right, bottom, top = second.get_extent()
    assert (right - left, bottom - top) == pytest.approx((0.5, 1.0))


def test_no_two_of_many_lines_look_alike() -> None:
    assert len({line_style(place) for place in range(90)}) == 90


def test_map_over_bits_draws_values_spreads_and_references() -> None:
    figure = plots.map_over_bits_figure(
        [
            Curve("LSH", [16, 32, 64], [0.2, np.nan, 0.4], [0.01, 0.01, 0.02]),
            Curve("SDC", [16, 64], [0.3, 0.6], published=True),
            Curve("SDC", [16, 64], [0.2, 0.5]),
        ],
        references={"chance": 0.1},
        measure="mAP@100",
    )
    axes = figure.axes[0]
    measured, published, same = axes.containers
    assert published.lines[0].get_color() == same.lines[0].get_color() != measured.lines[0].get_color()
    np.testing.assert_allclose(measured.lines[0].get_xydata(), [[16, 20], [64, 40]])
    bars = [segment[:, 1].tolist() for segment in measured.lines[2][0].get_segments()]
    np.testing.assert_allclose(bars, [[19, 21], [38, 42]])
    assert published.lines[0].get_markerfacecolor() == "white"
    assert measured.lines[0].get_markerfacecolor() != "white"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["16", "32", "64"]
    assert axes.get_ylabel() == "mAP@100, %"
    assert {text.get_text() for text in axes.texts} == {"chance", "LSH", "SDC", "SDC (paper)"}


def test_names_at_the_ends_never_overlap_and_keep_the_order() -> None:
    curves = [Curve(f"method {place}", [1, 2], [0.1, 0.5 + 0.001 * place]) for place in range(10)]
    figure = plots.map_over_bits_figure(curves)
    plots.png_bytes(figure)  # lays the figure out
    boxes = {text.get_text(): Text.get_window_extent(text) for text in figure.axes[0].texts}
    bottoms = [boxes[curve.label].y0 for curve in curves]
    tops = [boxes[curve.label].y1 for curve in curves]
    assert all(top < bottom for top, bottom in zip(tops, bottoms[1:], strict=False))


def test_precision_recall_is_in_percent() -> None:
    curves = [Curve("LSH", [0.1, 0.5], [0.9, 0.3]), Curve("SDC", [0.1, 0.5], [0.9, 0.5])]
    figure = plots.precision_recall_figure(curves, title="32 bits")
    axes = figure.axes[0]
    np.testing.assert_allclose(axes.containers[0].lines[0].get_xydata(), [[10, 90], [50, 30]])
    assert (axes.get_title(), axes.get_xlabel()) == ("32 bits", "recall, %")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["SDC", "LSH"]


@pytest.mark.parametrize(("largest", "scale"), [(10, "linear"), (1000, "log")])
def test_precision_at_n_spreads_the_first_ranks_where_there_are_many(largest: int, scale: str) -> None:
    figure = plots.precision_at_n_figure([Curve("LSH", [1, largest], [0.9, 0.3])])
    axes = figure.axes[0]
    np.testing.assert_allclose(axes.containers[0].lines[0].get_xydata(), [[1, 90], [largest, 30]])
    assert axes.get_xscale() == scale


def test_collapse_stands_beside_what_fair_bits_give() -> None:
    figure = plots.training_collapse_figure([Curve("SDC", [1, 2, 3], [0.9, 0.5, 0.4])], n_bits=2)
    axes = figure.axes[0]
    np.testing.assert_allclose(axes.containers[0].lines[0].get_xydata(), [[1, 90], [2, 50], [3, 40]])
    fair = axes.lines[-1]
    assert fair.get_ydata()[0] == pytest.approx(50)  # one of two bits differs in half of the pairs
    assert axes.get_ylim()[0] == 0


def test_codes_are_scaled_to_their_distances(rng: np.random.Generator) -> None:
    bits = np.zeros((60, 16), bool)
    bits[:, :2] = rng.random((60, 2)) < 0.5  # on a plane, so that nothing is lost
    codes = pack_bits(bits)
    points, share = plots.scale_codes(codes)
    squared = np.sum((points[:, None] - points) ** 2, axis=2)
    np.testing.assert_allclose(squared, hamming_distance(codes, codes), atol=1e-9)
    assert share == pytest.approx(1)
    _, share = plots.scale_codes(pack_bits(rng.random((60, 64)) < 0.5))
    assert 2 / 64 < share < 0.3


@pytest.mark.parametrize("codes", [np.zeros((5, 2), np.uint8), np.array([[7]], np.uint8)])
def test_codes_that_are_all_alike_lie_on_one_point(codes: np.ndarray) -> None:
    points, share = plots.scale_codes(codes)
    np.testing.assert_array_equal(points, 0)
    assert share == 1


def test_code_map_shows_every_item_in_its_class(rng: np.random.Generator) -> None:
    codes = pack_bits(rng.random((30, 16)) < 0.5)
    labels = np.arange(30) % 3
    panels = [plots.MappedCodes("one", codes), plots.MappedCodes("two", codes[::-1].copy())]
    figure = plots.code_map_figure(panels, labels, class_names=["a", "b", "c"])
    for axes in figure.axes:
        assert [len(group.get_offsets()) for group in axes.collections] == [10, 10, 10]
        assert "% of the variance" in axes.get_xlabel()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "c"]


def test_code_square_counts_pairs() -> None:
    projections = np.array([[1.0, 2.0], [1.0, 1.0], [-1.0, -1.0]])
    square = plots.CodeSquare("toy", np.array([0, 0, 1]), np.array([0.9, 0.1, 0.1]), projections)
    figure = plots.code_square_figure([square])
    upper, lower = figure.axes
    first, second, corners = upper.collections
    np.testing.assert_allclose(first.get_offsets(), [[0.5, 1.0], [0.5, 0.5]])
    assert len(second.get_offsets()) == 1
    assert len(corners.get_offsets()) == 4
    features, codes = lower.containers
    assert [round(bar.get_height(), 6) for bar in codes if bar.get_height()] == [66.666667, 33.333333]
    assert sum(bar.get_height() for bar in features) == pytest.approx(100)


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".SVG", b"<?xml"), (".pdf", b"%PDF")])
def test_the_suffix_decides_the_format(suffix: str, start: bytes, tmp_path: Path) -> None:
    figure = plots.precision_recall_figure([Curve("LSH", [0.1, 0.5], [0.9, 0.3])])
    paths = [tmp_path / f"one{suffix}", tmp_path / f"two{suffix}"]
    for path in paths:
        plots.save_figure(figure, path)
    assert paths[0].read_bytes().startswith(start)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    figure = plots.precision_recall_figure([Curve("LSH", [0.1, 0.5], [0.9, 0.3])])
    with pytest.raises(ValueError, match=r"\.png, \.svg or \.pdf, got figure\.gif"):
        plots.save_figure(figure, tmp_path / "figure.gif")
    assert list(tmp_path.iterdir()) == []
