"""Two responses to one prompt, and a column that says which is the better one: it may be either, row by row."""

from __future__ import annotations

import re
from typing import Any

from rlguide.data.example import HUMAN, BadRow, Example, Turn, turns
from rlguide.data.formats.base import Format, Record
from rlguide.data.formats.column_names import (
    BETTER_AND_WORSE,
    FIRST_IS_ONE,
    MEDIA,
    NAMES,
    OTHER_PROMPTS,
    PROMPTS,
    RESPONSE_COLUMNS,
    RESPONSE_PAIRS,
    SCORES,
    STRENGTHS,
    SYSTEM,
    WINNERS,
)
from rlguide.data.formats.extract import assemble, held, is_conversation, number, part, prompt_turns, response
from rlguide.data.formats.transcripts import any_prompt

_NAMED = re.compile(r"(?:model|response|answer|assistant|completion|output|conversation)?[ _-]*([ab012])")
_TIES = {"both_bad", "both bad", "bothbad", "equal", "same", "neither", "both", "draw"}
_ENDS = ("ab", "AB", "01", "12")


class Comparison(Format):
    name = "comparison"
    sentence = "prompt, two responses (response_a and response_b, ...) and which is the better one (winner, ...)"
    columns = (*PROMPTS, *OTHER_PROMPTS, *RESPONSE_COLUMNS, *WINNERS, *SYSTEM, *SCORES, *MEDIA)

    def matches(self, row: Record) -> bool:
        names = _responses(row)
        if names is None or not _understood(row, names):
            return False
        return is_conversation(row[names[0]]) or held(row, (*PROMPTS, *OTHER_PROMPTS)) is not None

    def to_examples(self, row: Record) -> list[Example]:
        """The pair, better response first; none where neither is better. Raises BadRow."""
        names = _responses(row)
        if names is None:
            raise BadRow("there are no two responses")
        better = _better(row, names)
        if better is None:
            return []
        chosen, rejected = names[better], names[1 - better]
        if is_conversation(row[chosen]):
            return [part(turns(row[chosen]), turns(row[rejected]), row)]
        return [assemble(_prompt(row), response(row, chosen), response(row, rejected), row)]


def two_responses(rows: list[Record]) -> tuple[str, str] | None:
    """Two columns that look like two responses: named alike but for an a/b, 0/1 or 1/2 at the end."""
    found = {
        (str(column), str(column)[:-1] + end[1]): len(str(row[column]))
        for row in rows
        for column in row
        for end in _ENDS
        if str(column).endswith(end[0]) and isinstance(row.get(str(column)[:-1] + end[1]), str | list)
    }
    return max(found, key=lambda names: found[names]) if found else None


def _responses(row: Record) -> tuple[str, str] | None:
    for names in RESPONSE_PAIRS:
        if row.get(names[0]) is not None and row.get(names[1]) is not None:
            return names
    return None


def _prompt(row: Record) -> tuple[Turn, ...]:
    if held(row, PROMPTS):
        return any_prompt(row)
    if column := held(row, ("context", "input")):
        return prompt_turns(row, column)
    if isinstance(row.get("history"), str):
        return (Turn(HUMAN, row["history"]),)
    raise BadRow("prompt is missing")


def _understood(row: Record, names: tuple[str, str]) -> bool:
    try:
        _better(row, names)
    except BadRow:
        return False
    return True


def _better(row: Record, names: tuple[str, str]) -> int | None:
    """The place of the better response, 0 or 1; None if neither is. Raises BadRow where it is not said."""
    column = held(row, WINNERS)
    if column is None:
        raise BadRow("it does not say which response is better")
    value = row[column]
    if column in (*STRENGTHS, *FIRST_IS_ONE):
        grade = number(value)
        if column in STRENGTHS and grade is not None:
            return None if grade == 0 else int(grade > 0)
        if column in FIRST_IS_ONE and grade in (0, 1) and names[0].startswith("human_ref"):
            return int(grade == 0)
    elif not isinstance(value, bool):
        said = _said(value)
        if said.startswith("tie") or said in _TIES:
            return None
        found = _NAMED.fullmatch(said)
        ends = [name[-1].lower() for name in names]
        unclear = column in NAMES and said in ("0", "1") and "0" in ends
        if found and found[1] in ends and not unclear:
            return ends.index(found[1])
    raise BadRow(f"the column {column} does not say which response is better")


def _said(value: Any) -> str:
    """What a cell says, in small letters; 1.0 says 1."""
    grade = number(value)
    return str(value if grade is None or not grade.is_integer() else int(grade)).strip().lower()


class Responses(Format):
    name = "responses"
    sentence = "prompt, instruction or messages, chosen_response and rejected_response, system, scores"
    columns = (*PROMPTS, "input", "history", *BETTER_AND_WORSE, *SYSTEM, *SCORES, *MEDIA)

    def matches(self, row: Record) -> bool:
        responses = any(isinstance(row.get(key), str | list | dict) for key in BETTER_AND_WORSE)
        return responses and held(row, PROMPTS) is not None

    def to_examples(self, row: Record) -> list[Example]:
        chosen, rejected = BETTER_AND_WORSE[2:] if row.get(BETTER_AND_WORSE[2]) is not None else BETTER_AND_WORSE[:2]
        return [assemble(any_prompt(row), response(row, chosen), response(row, rejected), row)]
