"""The state of a run as it fills a terminal, and as lines of text."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rlguide.engine.hardware import GpuUse
from rlguide.runs.curves import panels
from rlguide.runs.diagnosis.finding import Finding, finding_lines
from rlguide.runs.view.state import RunState
from rlguide.runs.view.terminal import paint
from rlguide.runs.view.words import clock, figures

if TYPE_CHECKING:
    from rich.text import Text

_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}
_CURVES = 8  # rows below which figures in words say more than curves


class Curves:
    """Paints the curves of a run, again only where there is a new point or another size: a clock moves more often."""

    def __init__(self) -> None:
        self._key: tuple[int, int, int] | None = None
        self._painted: Text | None = None

    def paint(self, rows: Sequence[dict[str, float]], width: int, height: int) -> Text:
        """The curves of these rows, as `terminal.paint` does it."""
        key = (len(rows), width, height)
        if self._painted is None or self._key != key:
            self._key, self._painted = key, paint(panels(rows), width, height)
        return self._painted


def screen(state: RunState, width: int, height: int, curves: Curves | None = None) -> Text:
    """A screen of `height` lines of `width` cells: where the run is, what is wrong, its curves.

    Args:
        curves: what paints them; None where the terminal has not the characters for it.
    """
    from rich.text import Text

    head = [Text(line, style="bold" if not at else "") for at, line in enumerate(_wrapped(_where(state), width))]
    head.append(_bar(state, width, *("━─" if curves is not None else "=-")))
    head += [Text(line) for line in _wrapped(_times(state), width)]
    head += [Text(line, style="dim") for line in _wrapped(gpu_words(state.gpus), width)]
    most = max(4, height * 2 // 5)
    said = [block for finding in state.findings for block in _finding(finding, width)]
    is_said = any(finding.rule == "reference" for finding in state.findings)  # what the first step showed
    for note in state.notes:
        if is_said and state.check is not None and note.endswith(state.check.message):
            continue
        style = "yellow" if note.startswith("warning") else "dim"
        said.append([Text(line, style=style) for line in _wrapped(note.split(" "), width, " ")])
    told = _as_many(said, most, f"and more: rlguide watch {shlex.quote(state.name)} --once")
    room = height - len(head) - len(told) - 1
    painted = curves.paint(state.rows, width, room) if curves is not None and room >= _CURVES else Text()
    if painted:
        body = [Text(), *painted.split("\n", allow_blank=True)]
    else:
        body = [Text(line) for line in _wrapped(figures(state.latest), width)]
    lines = [*head, *told, *body][:height]
    for line in lines:
        line.truncate(width, overflow="crop" if curves is None else "ellipsis")
    return Text("\n").join(lines)


def lines_of(state: RunState) -> list[str]:
    """The same as lines of text, without curves."""
    lines = ["  ".join([*_where(state), *_times(state)])]
    held_out = {key: value for key, value in state.latest.items() if key.startswith("eval_")}
    trained = {key: value for key, value in state.latest.items() if key not in held_out}
    lines += ["  ".join(figures(row)) for row in (trained, held_out)]
    lines += ["  ".join(gpu_words(state.gpus)), *state.notes]
    lines += [line for finding in state.findings for line in finding_lines(finding)]
    return [line for line in lines if line]


def document(state: RunState) -> dict[str, Any]:
    """The same for JSON: seconds, bytes, and each row that was logged."""
    from dataclasses import asdict

    left = state.left()
    return {
        "phase": state.phase,
        "doing": state.doing(),
        "step": state.step,
        "total_steps": state.total,
        "evaluation": dict(zip(("done", "total"), state.pace.batches, strict=True)),
        "seconds_since_start": round(state.elapsed(), 1),
        "seconds_left": None if left is None else round(left, 1),
        "seconds_per_step": state.pace.step_seconds(),
        "latest": state.latest,
        "gpus": [asdict(gpu) for gpu in state.gpus],
        "notes": state.notes,
        "findings": [asdict(finding) for finding in state.findings],
        "rows": state.rows,
    }


def gpu_words(gpus: Sequence[GpuUse]) -> list[str]:
    """What each GPU does, in a few words."""
    found = []
    for gpu in gpus:
        busy = "" if gpu.busy is None else f", {gpu.busy} % busy"
        used, total = gpu.used_bytes / 2**30, gpu.memory_bytes / 2**30
        found.append(f"GPU {gpu.index} {gpu.name}: {used:.1f} of {total:.1f} GiB{busy}")
    return found


def _where(state: RunState) -> list[str]:
    return [state.name, state.position(), state.doing()]


def _times(state: RunState) -> list[str]:
    elapsed = f"{clock(state.elapsed())} {'in all' if state.is_over else 'since the start'}"
    left = state.left()
    if left is None:
        return [elapsed]
    end = datetime.fromtimestamp(state.now() + left).astimezone()
    day = "%H:%M" if left < 20 * 3600 else "%a %d %b %H:%M"
    return [elapsed, f"{clock(left)} left (until {end.strftime(day)})"]


def _bar(state: RunState, width: int, done: str, rest: str) -> Text:
    """How much of the steps is done, as wide as the screen, in these characters."""
    from rich.text import Text

    share = min(1.0, state.step / state.total) if state.total > 0 else 0.0
    percent = f" {share:4.0%}"
    room = max(1, width - len(percent))
    full = round(share * room)
    return Text.assemble((done * full, "cyan"), (rest * (room - full), "dim"), percent)


def _finding(finding: Finding, width: int) -> list[list[Text]]:
    """What is said of it, each on as many lines as it takes."""
    from rich.text import Text

    style = _STYLES.get(finding.level, "")
    return [
        [Text(line, style=style if not at else "") for line in _wrapped(said.split(" "), width, " ")]
        for at, said in enumerate(finding_lines(finding)[:-1])  # the source stands in the report
    ]


def _as_many(said: Sequence[Sequence[Text]], most: int, more: str) -> list[Text]:
    """As many of these as fit in `most` lines, and then `more`: none is cut, so that its command can be pasted."""
    from rich.text import Text

    if sum(map(len, said)) <= most:
        return [line for block in said for line in block]
    lines: list[Text] = []
    for block in said:
        if len(lines) + len(block) >= most:
            break
        lines += block
    return [*lines, Text(more, style="dim")]


def _wrapped(items: Iterable[str], width: int, gap: str = "  ") -> list[str]:
    """The items one behind the other, on as many lines as they take; what is longer than a line goes on in the next."""
    from rich.cells import cell_len, chop_cells

    lines: list[str] = []
    for item in items:
        if lines and cell_len(lines[-1]) + len(gap) + cell_len(item) <= width:
            lines[-1] += gap + item
        elif cell_len(item) > width > 1:
            words = item.split(" ")
            lines += _wrapped(words, width, " ") if len(words) > 1 else chop_cells(item, width)
        else:
            lines.append(item)
    return lines
