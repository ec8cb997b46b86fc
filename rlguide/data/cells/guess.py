"""What columns may be whose names are not known: a guess, for an advice; no row is read by it."""

from __future__ import annotations

import difflib

from rlguide.catalog.columns import plain, vocabulary
from rlguide.data.cells.names import name_parts, side_of
from rlguide.data.cells.table import Column, Table
from rlguide.data.cells.values import TEXTS, is_word

ALIKE = 0.75  # of two names, by difflib
WORDS = 2  # a text of so many may be a prompt or a response
_NO_TEXTS = {"score", "scores", "rank", "ranks", "label", "verdict", "best", "split", "media", "list"}


def may_be_prompt(table: Table, used: set[str]) -> bool:
    """Whether a column that nothing reads may be the prompt: a text of several words, or a list."""
    return any(
        isinstance(value, list | dict | tuple) or (isinstance(value, str) and len(value.split()) >= WORDS)
        for name, column in table.columns.items()
        if name not in used and not table.is_media(name)
        for value in column.held
    )


def guess(table: Table) -> dict[str, str]:
    """prompt, chosen and rejected as far as names, misspelt ones too, and then the longest texts tell."""
    no_texts = [column.name for role in ("system", "ignored") for column in table.find(role)]
    texts = [
        column
        for column in table.columns.values()
        if column.kind in (*TEXTS, "exchanges")
        and column.name not in no_texts
        and not any(meaning.role in _NO_TEXTS or len(meaning.key) == 1 for meaning in column.meanings)
    ]
    found: dict[str, str] = {}
    for role in ("prompt", "chosen", "rejected"):
        known = table.find(role, TEXTS) if role == "prompt" else table.find("response", TEXTS, role)
        near = [*known, *(column for column in texts if _says(column.name, role))]
        if left := [column for column in near if column.name not in found.values() and not _is_no_text(column)]:
            found[role] = left[0].name
    others = {column.name for role in ("input", "context", "history") for column in table.find(role)} | {
        *found.values()
    }
    rest = [column for column in texts if column.name not in others and _words(column) >= WORDS]
    rest.sort(key=lambda column: -_words(column))
    missing = [role for role in ("prompt", "chosen", "rejected") if role not in found]
    if len(rest) >= len(missing) and len(missing) < 3:
        chosen = sorted(rest[: len(missing)], key=lambda column: table.all.index(column.name))
        found |= {role: column.name for role, column in zip(missing, chosen, strict=True)}
    return {role: found[role] for role in ("prompt", "chosen", "rejected") if role in found}


def _is_no_text(column: Column) -> bool:
    """Whether a column holds paths of pictures, or single words for who won, who asked or what task it is."""
    words = vocabulary()
    marks = bool(column.roles & {"verdict", "best", "label", "flag"}) or plain(column.name) in words.not_pieces
    return bool(words.parts["media"].intersection(name_parts(column.name))) or (
        marks and all(map(is_word, column.values))
    )


def _says(name: str, role: str) -> bool:
    """Whether a name sounds like the role, or has a word for it among others."""
    known = [role, *vocabulary().names.get(role, ())]
    return role in map(side_of, name_parts(name)) or bool(difflib.get_close_matches(plain(name), known, 1, ALIKE))


def _words(column: Column) -> float:
    return sum(len(str(value).split()) for value in column.held) / max(1, len(column.held))
