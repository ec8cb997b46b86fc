"""Curves in the terminal."""

from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from rlguide.runs.curves import Line, Panel
from rlguide.runs.view.terminal import draw, paint

STEPS = range(1, 101)


def panel(title: str = "loss", *lines: Line) -> Panel:
    return Panel(title, lines or (Line(title, False, tuple((step, float(step)) for step in STEPS)),))


def curve(text: str) -> list[str]:
    """The rows right of the axis."""
    return [line.partition("│")[2] for line in text.split("\n") if "│" in line]


@given(
    st.lists(st.lists(st.floats(width=64), max_size=30), min_size=1, max_size=5),
    st.integers(0, 220),
    st.integers(0, 60),
    st.text(max_size=30).filter(str.isprintable),
)
def test_it_never_leaves_its_room(values: list[list[float]], width: int, height: int, name: str) -> None:
    lines = tuple(Line(f"{name}{at}", at % 2 == 1, tuple(enumerate(each))) for at, each in enumerate(values))
    text = draw([Panel(f"a{count}", lines) for count in range(len(values))], width, height)
    rows = text.split("\n")
    assert len(rows) <= max(height, 1) and all(cell_len(row) <= width for row in rows)


def test_what_rises_goes_from_the_lower_left_to_the_upper_right() -> None:
    rows = curve(draw([panel()], 80, 12))
    places = [[at for at, char in enumerate(row) if char != " "] for row in rows]
    assert all(places)  # a line without a gap
    assert places[-1][0] == 0 and places[0][-1] == 80 - 9 - 1
    assert all(upper[0] >= lower[0] for upper, lower in pairwise(places))
    assert "100.0│" in draw([panel()], 80, 12) and "1.0000│" in draw([panel()], 80, 12)


def test_a_mirrored_curve_is_drawn_mirrored() -> None:
    falling = panel("loss", Line("loss", False, tuple((step, float(101 - step)) for step in STEPS)))
    up, down = curve(draw([panel()], 80, 12)), curve(draw([falling], 80, 12))
    for above, below in zip(up, reversed(down), strict=True):
        assert [char != " " for char in above.ljust(71)] == [char != " " for char in below.ljust(71)]


def test_held_out_points_stand_where_they_were_measured() -> None:
    both = panel("loss", *panel().lines, Line("loss", True, ((1, 1.0), (100, 100.0), (101, math.nan))))
    rows = curve(draw([both], 80, 12))
    marks = [(at, row.index("o")) for at, row in enumerate(rows) if "o" in row]
    assert marks == [(0, 70), (len(rows) - 1, 0)]
    assert draw([both], 80, 12).startswith("loss  ─ 100.0 o held out 100.0\n")


def test_lines_are_told_apart_without_colours_and_named_with_their_last_value() -> None:
    lines = tuple(
        Line(name, False, tuple((s, s * k) for s in STEPS)) for name, k in (("saves/a", 1.0), ("saves/b", 2.0))
    )
    text = draw([Panel("margin", lines)], 60, 12)
    assert "saves/a ─ 100.0" in text and "saves/b x 200.0" in text
    assert sum(row.count("x") for row in curve(text)) > 2
    assert {str(span.style) for span in paint([Panel("margin", lines)], 60, 12).spans} >= {"cyan", "magenta"}


def test_many_points_keep_their_extremes() -> None:
    points = tuple((step, 100.0 if step == 7777 else 0.0) for step in range(20_000))
    rows = curve(draw([panel("loss", Line("loss", False, points))], 80, 12))
    assert rows[0].strip() and abs(len(rows[0].rstrip()) - 71 * 7777 / 20_000) < 2


def test_as_many_panels_as_fit() -> None:
    panels = [panel(name) for name in "abcdefg"]
    titles = [name for name in "abcdefg" if f"{name}  ─" in draw(panels, 60, 24)]
    assert titles == list("abcd")
    assert all(f"{name}  ─" in draw(panels, 200, 40) for name in "abcdefg")
    assert draw([], 80, 24) == draw(panels, 10, 24) == draw(panels, 80, 3) == ""
