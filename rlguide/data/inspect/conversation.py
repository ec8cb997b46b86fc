"""A stored row as a conversation on the screen, and for `--json`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rlguide import console
from rlguide.data.example import Example
from rlguide.data.inspect.examples import plain, shortened, shown_turns
from rlguide.data.store.one_row import StoredRow
from rlguide.workspace import Workspace

STYLES = {"chosen": "bold green", "desirable": "bold green", "rejected": "bold red", "undesirable": "bold red"}


def show_row(row: StoredRow, short: bool = False) -> None:
    """The row, turn by turn, with its responses, each whole unless `short` (stdout)."""
    console.show(_title(row))
    for name, note, text in _parts(row.example, short):
        console.show("")
        console.show_block(name + note, text, STYLES.get(name, "bold"))


def as_json(workspace: Workspace, row: StoredRow) -> dict[str, Any]:
    """The whole row and where it is, for `--json`."""
    place = {"dataset": row.dataset, "row": row.number, "rows": row.rows, "file": workspace.relative(row.file)}
    return {**place, "held_out_of": row.heldout_of, **plain(row.example)}


def _title(row: StoredRow) -> str:
    of = f" of {row.rows:,}" if row.rows is not None else ""
    held = f", held out from {row.heldout_of}" if row.heldout_of else ""
    return f"{row.dataset}, row {row.number:,}{of}{held}"


def _parts(example: Example, short: bool) -> Iterator[tuple[str, str, str]]:
    """Name, note and text of each turn and response."""
    for role, text in shown_turns(example) if short else example.spoken:
        yield role, "", text
    for name, note, text in _responses(example):
        yield name, note, shortened(text) if short else text


def _responses(example: Example) -> Iterator[tuple[str, str, str]]:
    if example.label is not None:
        yield "desirable" if example.label else "undesirable", " response", example.chosen
    elif len(example.responses) < 2:
        yield from (("response", "", text) for text in example.responses)
    else:
        scores = [f" (score {_number(score)})" for score in example.scores] if example.scores else ["", ""]
        yield from zip(("chosen", "rejected"), scores, example.responses, strict=True)


def _number(value: float) -> str:
    return repr(value).removesuffix(".0")
