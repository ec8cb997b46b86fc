"""What a person says of columns: `--columns prompt=question,response_a=left`."""

from __future__ import annotations

from collections.abc import Sequence

from rlguide.data.cells.names import Meaning, meanings
from rlguide.data.cells.values import Record
from rlguide.data.readers.source import named
from rlguide.errors import UsageError, did_you_mean

ROLES = (
    *("prompt", "input", "system", "history", "context", "conversation", "beginning"),
    *("chosen", "rejected", "response", "list"),
    *("verdict", "best", "score", "score_chosen", "score_rejected", "scores", "ranks", "label", "split", "ignored"),
)
SEVERAL = ("system", "context", "ignored")  # roles that more than one column may have
MOST_USED = ("prompt", "system", "context", "chosen", "rejected", "response_a", "verdict", "label", "list", "ignored")
_NUMBERED = ("response", "score", "rank", "flag")  # roles with a number, as in response_a


def given_meanings(columns: Sequence[tuple[str, str]], rows: Sequence[Record], path: object) -> dict[str, Meaning]:
    """What is said of columns, as (column, role). Raises UsageError for a column or a role that there is not."""
    there = list(dict.fromkeys(str(name) for row in rows for name in row))
    found = {}
    for called, role in columns:
        alike = [name for name in there if name.strip().lower() == called.lower()]
        column = alike[0] if called not in there and len(alike) == 1 else called
        if column not in there and role in there:
            raise UsageError(
                f"{path} has no column {column}: the name of the column goes after the sign",
                f"write --columns {','.join(f'{column}={role}' for column, role in columns)}",
            )
        if column not in there:
            near = did_you_mean(column, there)
            raise UsageError(f"{path} has no column {column}{near}", f"it has {named(sorted(there))}")
        found[column] = _meaning(role)
    return found


def check_columns(columns: Sequence[tuple[str, str]]) -> None:
    """Raises UsageError for a role that there is not, or that two columns are given and one can have."""
    found: dict[Meaning, str] = {}
    for column, role in columns:
        meaning = _meaning(role)
        if found.setdefault(meaning, column) != column and meaning.role not in SEVERAL:
            raise UsageError(
                f"--columns: both {found[meaning]} and {column} are said to be the {role}",
                f"name one of them; what belongs above the prompt is context, as in --columns context={column}",
            )


def _meaning(role: str) -> Meaning:
    """What a word before the sign says: a role in small or large letters, or a name that a column of it may have."""
    said = role.lower()
    if said in ROLES and said not in ("chosen", "rejected") and not said.startswith("score_"):
        return Meaning(said)
    keyed = [meaning for meaning in meanings(said) if meaning.role in _NUMBERED and meaning.key]
    others = [Meaning(meaning.role) for meaning in meanings(said) if meaning.role in ROLES and not meaning.key]
    found = [*keyed, *others]
    if not found:
        near = did_you_mean(said, list(ROLES))
        raise UsageError(
            f"--columns: {role} is nothing that a column can hold{near}",
            f"write role=column; roles are {', '.join(MOST_USED)}",
        )
    return found[0]
