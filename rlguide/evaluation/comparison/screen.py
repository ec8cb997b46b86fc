"""A comparison on the screen: figures, then responses side by side, or one below the other where that is too narrow."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rlguide.console import cleaned, console, show, show_block, show_table
from rlguide.data.inspect.page import Pieces, differences
from rlguide.evaluation.comparison.compare import Comparison
from rlguide.evaluation.comparison.figures import POINTS
from rlguide.evaluation.comparison.measures import apart
from rlguide.evaluation.comparison.record import Compared, texts_of
from rlguide.evaluation.lines import Line

if TYPE_CHECKING:
    from rich.text import Text

_NARROWEST = 34  # cells of a column of text; with less, responses stand one below the other
_ENDS = {"length": "cut", "stopped": "stopped", "filtered": "withheld by a content filter"}


def show_figures(found: Comparison) -> None:
    """Every figure of every model, and what it comes to (stdout)."""
    for item in found.against:
        columns = ("figure", item.first, item.model, "difference", "95 % interval", "verdict")
        show_table(columns, [_row(line) for line in item.lines], lesser=("verdict",))
        show(f"the same response to {item.same.hits} of {item.same.n} prompts")
    for sentence in found.verdicts:
        show(sentence)


def _row(line: Line) -> tuple[str, ...]:
    scale, plain, signed = (100, "{:.1f} %", "{:+.1f}") if line.unit == POINTS else (1, *_forms(line))
    low, high = (signed.format(scale * end) for end in (line.difference.low, line.difference.high))
    mark = {True: "better", False: "WORSE", None: ""}[line.is_better]
    return (
        f"{line.name} ({line.unit})" if line.unit not in ("", POINTS) else line.name,
        plain.format(scale * line.parent),
        plain.format(scale * line.tuned),
        signed.format(scale * line.difference.value),
        f"{low} to {high}" if line.interval else "-",
        mark,
    )


def _forms(line: Line) -> tuple[str, str]:
    return f"{{:.{line.digits}f}}", f"{{:+.{line.digits}f}}"


def by_difference(records: Sequence[Compared]) -> list[int]:
    """The places of the records, those first whose responses differ most."""
    return sorted(range(len(records)), key=lambda at: -apart(texts_of(records[at])))


def show_responses(records: Sequence[Compared], places: Sequence[int]) -> None:
    """The prompts at these places with all responses, what differs from the first one marked (stdout)."""
    for at in places:
        record = records[at]
        show("")
        *earlier, last = record.prompt
        for message in earlier:
            show_block(message["role"], message["content"], "dim")
        show_block(f"{at + 1}. prompt ({record.source})", last["content"])
        width = console().width // len(record.models) - 3
        if sys.stdout.isatty() and width >= _NARROWEST:
            show(_side_by_side(record))
        else:
            for name, text in zip(record.models, _texts(record), strict=True):
                _show_below(_head(record, name), text)


def _show_below(head: str, text: Text) -> None:
    from rich.padding import Padding

    if not sys.stdout.isatty():
        show_block(head, text.plain)
        return
    show_block(head, "", "bold cyan")
    show(Padding(text, (0, 0, 0, 2)))


def _side_by_side(record: Compared) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False, padding=(0, 1))
    for name in record.models:
        table.add_column(cleaned(_head(record, name)), ratio=1, overflow="fold")
    table.add_row(*_texts(record))
    return table


def _head(record: Compared, name: str) -> str:
    end = _ENDS.get(record.responses[name].ended)
    return f"{name} ({end})" if end else name


def _texts(record: Compared) -> list[Text]:
    """The responses; words of the others that the first one has not are marked, and in it those that only it has."""
    return [_marked(own) for own in marked_of(texts_of(record))]


def marked_of(texts: Sequence[str]) -> list[Pieces]:
    """The texts in pieces, each with whether it differs; of more than two, what differs from the first one."""
    first, *others = texts
    if len(others) == 1:
        return _both(first, others[0])
    return [[(False, first)], *(_both(first, other)[1] for other in others)]


def _both(left: str, right: str) -> list[Pieces]:
    found = differences(left, right)
    for own, text in zip(found, (left, right), strict=True):
        own.append((False, text[sum(len(piece) for _, piece in own) :]))  # what is too long to be compared
    return list(found)


def _marked(found: Pieces) -> Text:
    from rich.text import Text

    text = Text()
    for differs, piece in found:
        text.append(cleaned(piece), "yellow" if differs else "")
    return text if text.plain.strip() else Text("(empty)", "dim")
