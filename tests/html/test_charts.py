"""Charts: what is drawn is what was given, inside the box, on round axes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.html.charts import (
    HEIGHT,
    WIDTH,
    Chart,
    Counts,
    Series,
    histogram,
    line_chart,
    medians,
    thinned,
    tick_labels,
)

values = st.floats(-1e300, 1e300) | st.floats(-10, 10) | st.sampled_from([float("nan"), float("inf"), 0.0])
points = st.lists(values, max_size=60).map(lambda ys: [(float(x), y) for x, y in enumerate(ys)])


def places(path: str) -> list[tuple[float, float]]:
    """The corners of a line."""
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path)]


def numbers(labels: tuple[str, ...]) -> list[float]:
    return [float(label.replace(",", "")) for label in labels]


@given(points, points)
def test_a_chart_of_anything_lies_in_its_box(
    first: list[tuple[float, float]], second: list[tuple[float, float]]
) -> None:
    chart = line_chart("x", [Series("a", first), Series("b", second, 2, is_dotted=True)])
    finite = [y for _, y in (*first, *second) if abs(y) < float("inf")]
    assert (chart is None) == (not finite)
    if chart is None:
        return
    for drawn in chart.series:
        for x, y in (*places(drawn.line), *places(drawn.dots)):
            assert 0 <= x <= WIDTH and 0 <= y <= HEIGHT
    labels = numbers(chart.y_labels)
    assert labels == sorted(labels, reverse=True) and len(set(labels)) == len(labels) >= 2
    assert chart.grid[0] == 0 and chart.grid[-1] == HEIGHT


@given(st.lists(st.floats(-1000, 1000), min_size=1, max_size=40))
def test_what_is_read_off_a_chart_is_what_was_given(ys: list[float]) -> None:
    given = [(float(x), y) for x, y in enumerate(ys)]
    chart = line_chart("x", [Series("a", given, is_dotted=True)])
    assert chart is not None
    top, bottom = numbers(chart.y_labels)[0], numbers(chart.y_labels)[-1]
    (drawn,) = chart.series
    if not chart.outside:
        for (px, py), (x, y) in zip(places(drawn.dots), given, strict=True):
            assert px / WIDTH * chart.end == pytest.approx(x, abs=chart.end / WIDTH)
            # half a tenth of the box, and the rounding of the labels
            assert top - py / HEIGHT * (top - bottom) == pytest.approx(y, abs=(top - bottom) / 200)
    assert [float(text) for _, text in drawn.values] == pytest.approx(ys, rel=1e-3)
    assert drawn.last == drawn.values[-1][1]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=3000))
def test_no_spike_is_lost_in_a_long_line(ys: list[float]) -> None:
    given = [(float(x), y) for x, y in enumerate(ys)]
    kept = thinned(given, 100)
    assert len(kept) <= 102 and kept[0] == given[0] and kept[-1] == given[-1]
    assert kept == sorted(kept) and set(kept) <= set(given)
    assert {min(ys), max(ys)} <= {y for _, y in kept}


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=3000))
def test_medians_of_stretches_lie_among_their_points(ys: list[float]) -> None:
    found = medians([(float(x), y) for x, y in enumerate(ys)])
    assert len(found) == min(60, len(ys))
    assert [x for x, _ in found] == sorted(x for x, _ in found)
    assert min(ys) <= min(y for _, y in found) and max(y for _, y in found) <= max(ys)
    rising = medians([(float(x), float(x)) for x in range(len(ys))])
    assert all(x == pytest.approx(y) for x, y in rising)


def test_a_spike_does_not_move_the_middle() -> None:
    points = [(float(x), 1e5 if x == 777 else 2.0) for x in range(6000)]
    assert {y for _, y in medians(points)} == {2.0}


def test_only_a_line_of_many_points_has_a_middle() -> None:
    rows = [(float(step), 1 + step % 7 / 10) for step in range(1000)]
    chart = line_chart("loss", [Series("training", rows), Series("held out", rows[::100], 2, is_dotted=True)])
    assert chart is not None
    assert [len(places(drawn.middle)) for drawn in chart.series] == [60, 0]


def test_a_spike_is_cut_off_and_counted() -> None:
    rows = [(float(step), 1 + step % 7 / 10) for step in range(300)] + [(300.0, 1e6)]
    chart = line_chart("gradient norm", [Series("training", rows)])
    assert chart is not None
    assert chart.outside == 1 and numbers(chart.y_labels)[0] < 20
    assert chart.series[0].last == "1e+06"


def test_a_line_of_one_point_is_a_dot() -> None:
    chart = line_chart("loss", [Series("training", [(1, 0.6931)])])
    assert chart is not None
    assert chart.series[0].line == "" and len(places(chart.series[0].dots)) == 1


@pytest.mark.parametrize(
    ("ticks", "labels"),
    [
        ([0.0, 0.5, 1.0], ["0.0", "0.5", "1.0"]),
        ([0.0, 0.25, 0.5], ["0.00", "0.25", "0.50"]),
        ([0.0, 2e-4, 4e-4], ["0", "0.0002", "0.0004"]),
        ([0.6931, 0.69315, 0.6932], ["0.6931", "0.69315", "0.6932"]),
        ([0.0, 5000.0, 10000.0], ["0", "5,000", "10,000"]),
        ([-0.5, -0.0, 0.5], ["-0.5", "0.0", "0.5"]),
    ],
)
def test_labels_of_an_axis(ticks: list[float], labels: list[str]) -> None:
    assert tick_labels(ticks) == labels


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=70))
def test_bars_and_outlines_are_as_high_as_their_counts(counts: list[int]) -> None:
    def chart(is_filled: bool) -> Chart:
        return histogram("x", [Counts("a", counts, 3, is_filled)], ("0", "1"), "x")

    filled, line = chart(True), chart(False)
    top = numbers(filled.y_labels)[0]
    assert top == int(top) >= max(counts)
    heights = [float(tall) / HEIGHT * top for tall in re.findall(r"M[\d.]+ 300v-([\d.]+)h", filled.bars[0][1])]
    assert heights == pytest.approx([count for count in counts if count], abs=top / HEIGHT)
    outline = [top - float(y) / HEIGHT * top for y in re.findall(r"V(-?[\d.]+)H", line.series[0].line)]
    assert outline == pytest.approx(counts, abs=top / HEIGHT)
