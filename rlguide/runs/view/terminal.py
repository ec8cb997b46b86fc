"""Curves drawn with characters: panels side by side, each with its latest values and the range of its axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from rlguide.runs.curves import Line, Panel

if TYPE_CHECKING:
    from rich.text import Text

_NARROWEST = 36  # columns of a panel beside another
_LOWEST = 6  # rows of a panel: a line of values, four of curves, one for the steps
_HIGHEST = 16
_AXIS = 8  # columns for the numbers of the vertical axis
_STYLES = ("cyan", "magenta", "green", "yellow", "blue", "red")
_HELD_OUT = "o"
_MARKERS = "x+*#%@"  # by which lines are told apart where there are several, and no colours
_LARGEST = 1e300  # what is larger cannot be drawn: a difference of two would be infinite
_BLANK = 0x2800  # the braille character without a dot


def draw(panels: Sequence[Panel], width: int, height: int) -> str:
    """The panels as lines of text without colours, at most `height` of them, none wider than `width` cells.

    As many panels stand side by side as the width allows; where the height does not hold all, the last are left out.
    Held-out points are drawn as "o", and the first line of a panel in braille dots; the others have marks at their
    points. Returns "" where there is no room or nothing to draw.
    """
    return paint(panels, width, height).plain


def paint(panels: Sequence[Panel], width: int, height: int) -> Text:
    """The same with colours, for Rich."""
    from rich.text import Text

    columns, rows, each = _layout(len(panels), width, height)
    if not columns:
        return Text()
    gap = 2
    wide = (width - gap * (columns - 1)) // columns
    shown = [_panel(panel, wide, each) for panel in panels[: columns * rows]]
    lines = []
    for start in range(0, len(shown), columns):
        beside = shown[start : start + columns]
        for at in range(each):
            line = Text(" " * gap).join([panel[at] for panel in beside])
            line.rstrip()
            lines.append(line)
    return Text("\n").join(lines)


def _layout(count: int, width: int, height: int) -> tuple[int, int, int]:
    """Panels beside each other, rows of them, and the height of each; zeros where there is no room."""
    if not count or width < 2 * _AXIS or height < _LOWEST:
        return 0, 0, 0
    columns = min(count, max(1, width // _NARROWEST))
    rows = min(math.ceil(count / columns), height // _LOWEST)
    columns = min(columns, math.ceil(count / rows))  # the same rows with wider panels
    return columns, rows, min(height // rows, _HIGHEST)


@dataclass(frozen=True)
class _Drawn:
    """A line as it is drawn: where it has a value, in which style, with which mark ("" for none)."""

    line: Line
    points: list[tuple[float, float]]
    style: str
    mark: str


def _panel(panel: Panel, width: int, height: int) -> list[Text]:
    """A panel as `height` lines of `width` cells."""
    from rich.text import Text

    lines = _styled(panel.lines)
    head = _legend(panel, lines, width)
    points = [point for line in lines for point in line.points]
    if not points:
        return _filled([*head, Text("nothing to draw", style="dim")], width, height)
    (left, right), (low, high) = (_range([point[axis] for point in points]) for axis in (0, 1))
    rows = max(1, height - len(head) - 1)
    cells = _canvas(lines, (left, right, low, high), width - _AXIS - 1, rows)
    names = [""] * rows
    names[0], names[-1] = short(high), short(low)
    if rows >= 5 and rows % 2:
        names[rows // 2] = short((high + low) / 2)
    body = [Text(f"{name:>{_AXIS}}│", style="dim") + line for name, line in zip(names, cells, strict=True)]
    first, last = f"{left:.0f}", f"{right:.0f}"
    ruler = "─" * max(1, width - _AXIS - 3 - len(first) - len(last))
    steps = Text(f"{'step':>{_AXIS}} {first} {ruler} {last}", style="dim")
    return _filled([*head, *body, steps], width, height)


def _filled(lines: list[Text], width: int, height: int) -> list[Text]:
    from rich.text import Text

    lines = (lines + [Text()] * height)[:height]
    for at, line in enumerate(lines):
        lines[at] = line = line.copy()
        line.truncate(width, overflow="crop", pad=True)
    return lines


def _styled(lines: Sequence[Line]) -> list[_Drawn]:
    """The lines with what they are drawn in: held-out points in the colour of the training that they belong to."""
    styles: dict[str, int] = {}
    found = []
    for line in lines:
        at = styles.setdefault(line.label, len(styles))
        mark = _HELD_OUT if line.held_out else _MARKERS[(at - 1) % len(_MARKERS)] if at else ""
        points = [(float(step), value) for step, value in line.points if abs(value) < _LARGEST]  # no NaN either
        found.append(_Drawn(line, points, _STYLES[at % len(_STYLES)], mark))
    return found


def _legend(panel: Panel, lines: Sequence[_Drawn], width: int) -> list[Text]:
    """The title and the latest value of each line, on as many lines of text as they take, three at most."""
    from rich.text import Text

    is_single = len({line.line.label for line in lines}) == 1
    rows = [Text(panel.title, style="bold")]
    for label in dict.fromkeys(line.line.label for line in lines):
        of_label = [line for line in lines if line.line.label == label]
        item = Text("" if is_single else label)
        item.truncate(max(1, width - 26), overflow="ellipsis")
        for line in of_label:
            value = short(line.points[-1][1]) if line.points else "-"
            item.append(" " * bool(item))
            item.append(f"{line.mark or '─'} {'held out ' if is_single and line.line.held_out else ''}{value}")
        item.stylize(of_label[0].style)
        if rows[-1].cell_len + 2 + item.cell_len > width and len(rows) < 3:
            rows.append(Text(""))
        rows[-1] = rows[-1] + Text("  ") + item
    return rows


def _range(values: Sequence[float]) -> tuple[float, float]:
    """The lowest and the highest of these, apart from each other."""
    low, high = min(values), max(values)
    room = abs(low) * 0.05 or 1.0
    return (low, high) if high > low else (low - room, high + room)


def _canvas(lines: Sequence[_Drawn], limits: tuple[float, float, float, float], width: int, height: int) -> list[Text]:
    """The lines in a box of characters, one over the other, the held-out points on top."""
    from plotille import Canvas
    from rich.text import Text

    left, right, low, high = limits
    # A canvas ends just before its upper limits, so that they are put one dot further.
    right, high = right + (right - left) / (2 * width - 1), high + (high - low) / (4 * height - 1)
    cells = [[(" ", "")] * width for _ in range(height)]
    for line in sorted(lines, key=lambda line: line.line.held_out):
        canvas = Canvas(width, height, left, low, right, high)
        points = _thinned(line.points, 2 * width)
        if not line.line.held_out:
            for (x0, y0), (x1, y1) in pairwise(points):
                canvas.line(x0, y0, x1, y1)
        if line.mark or len(points) == 1:
            for x, y in points if line.line.held_out or len(points) < width // 4 else points[:: width // 6 or 1]:
                canvas.point(x, y, marker=line.mark or None)
        for row, text in zip(cells, canvas.plot("\n").split("\n"), strict=True):
            row[:] = [_over(old, new, line.style) for old, new in zip(row, text, strict=True)]
    return [Text.assemble(*row) for row in cells]


def _over(old: tuple[str, str], new: str, style: str) -> tuple[str, str]:
    """A character of a line over what lies below it: dots are joined, a mark hides them."""
    if new == chr(_BLANK):
        return old
    both = ord(old[0]) >= _BLANK and ord(new) >= _BLANK
    if not both and ord(old[0]) < 128 and old[0] != " " and ord(new) >= _BLANK:
        return old  # a mark stays above dots
    return (chr(ord(old[0]) | ord(new)) if both else new), style


def _thinned(points: list[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most a few points for each of `most` columns: the first, lowest, highest and last of each, in order."""
    if len(points) <= 4 * most:
        return points
    size = len(points) / most
    kept: list[tuple[float, float]] = []
    for column in range(most):
        part = range(int(column * size), int((column + 1) * size))
        of_value = sorted(part, key=lambda at: points[at][1])
        kept += [points[at] for at in sorted({part[0], of_value[0], of_value[-1], part[-1]})]
    return kept


def short(value: float) -> str:
    """A number in at most seven characters: 0.6931, 12.3, 1,234, 4.0e-06."""
    size = abs(value)
    if size and (size < 1e-3 or size >= 1e5):
        return f"{value:.1e}"
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 100 else f"{value:.2f}" if size >= 10 else f"{value:.4f}"
