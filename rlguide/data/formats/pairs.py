"""Rows with a chosen and a rejected response: beside a prompt, or as whole conversations; also as the last of one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from rlguide.catalog.columns import plain
from rlguide.data.example import GPT, BadRow, Example
from rlguide.data.formats.base import Record, Shape
from rlguide.data.formats.cells import CONVERSATIONS, TEXTS, conversation, is_conversation, number, response
from rlguide.data.formats.implicit import cut
from rlguide.data.formats.prompts import Asked, nothing_asked, possible_prompts
from rlguide.data.formats.table import Column, Table

SIDES = ("chosen", "rejected")


def find_pairs(table: Table) -> Iterator[Shape]:
    """Ways to read rows as pairs of a chosen and a rejected response, the likeliest first."""
    for chosen, rejected in _sides(table):
        scores = _scores(table)
        used = {"chosen": chosen.name, "rejected": rejected.name}
        whole = "dialogue" in (chosen.kind, rejected.kind)
        whole = whole or any(map(is_conversation, (*chosen.values, *rejected.values)))
        prompts: list[Asked] = list(possible_prompts(table))
        prompts = [asked for asked in prompts if asked.prompt not in used.values()]
        if whole and not any(asked.prompt is not None and plain(asked.prompt) == "prompt" for asked in prompts):
            prompts.append(nothing_asked(table))
        for asked in prompts:
            if _ends_with_response(table, asked, chosen):
                continue
            convert = partial(_pair, asked=asked, sides=(chosen.name, rejected.name), scores=scores)
            yield Shape("pair", "pairs", asked.used() | used | scores.used, tuple(used.values()), convert)
    yield from _last_messages(table)


def find_implicit(table: Table) -> Iterator[Shape]:
    """Texts that begin with the same prompt (`implicit.py`): only if nothing else may be the prompt."""
    for chosen, rejected in _sides(table):
        if {chosen.kind, rejected.kind} == {"text"}:
            asked, scores, sides = nothing_asked(table), _scores(table), (chosen.name, rejected.name)
            used = asked.used() | dict(zip(SIDES, sides, strict=True)) | scores.used
            convert = partial(_implicit, asked=asked, sides=sides, scores=scores)
            yield Shape("implicit-text", "pairs", used, sides, convert)


class Scores:
    """The scores of the chosen and the rejected response: two columns, or one with a list of two."""

    def __init__(self, columns: tuple[str, ...], rating: str = "", responses: str = "") -> None:
        self.columns, self._rating, self._responses = columns, rating, responses
        names = dict(zip(("score_chosen", "score_rejected"), columns, strict=False))
        self.used = names | ({"scores": rating} if rating else {}) | ({"list": responses} if responses else {})

    def of(self, row: Record, pair: Example) -> tuple[float, float] | None:
        """Both scores, None unless both are finite numbers."""
        if self.columns:
            better, worse = number(row.get(self.columns[0])), number(row.get(self.columns[1]))
        elif self._rating and isinstance(rated := row.get(self._rating), list) and len(rated) == 2:
            listed = row.get(self._responses)
            if isinstance(listed, list):  # in argilla/distilabel-intel-orca-dpo-pairs in random order
                if sorted(map(str, listed)) != sorted(pair.responses):
                    return None
                rated = rated if listed[0] == pair.chosen else rated[::-1]
            better, worse = number(rated[0]), number(rated[1])
        else:
            return None
        return None if better is None or worse is None else (better, worse)


def _pair(row: Record, asked: Asked, sides: tuple[str, str], scores: Scores) -> list[Example]:
    pair = asked.pair(row, *sides)
    found = scores.of(row, pair) if scores.used else None
    return [pair if found is None else pair.scored(found)]


def _implicit(row: Record, asked: Asked, sides: tuple[str, str], scores: Scores) -> list[Example]:
    found = cut(row, *sides)
    pair = asked.assemble(row, conversation(found.prompt), found.chosen, found.rejected)
    return [pair.scored(scores.of(row, pair))]


def _sides(table: Table) -> Iterator[tuple[Column, Column]]:
    """Columns of chosen and rejected responses that go together; also a single response beside a rejected one."""
    found = {side: _responses(table, side) for side in SIDES}
    for base in dict.fromkeys(base for base, _ in found["chosen"]):
        for chosen in (column for its, column in found["chosen"] if its == base):
            yield from ((chosen, column) for its, column in found["rejected"] if its == base)
    if not found["chosen"] and found["rejected"]:
        for only in table.find("response", TEXTS):
            if only.name != found["rejected"][0][1].name:
                yield only, found["rejected"][0][1]
    elif found["rejected"] and not {base for base, _ in found["chosen"]} & {base for base, _ in found["rejected"]}:
        yield found["chosen"][0][1], found["rejected"][0][1]


def _responses(table: Table, side: str) -> list[tuple[str, Column]]:
    """The columns of a side, with the rest of their names. Numbers only if they are called so or a person says so."""
    found = []
    for column in table.find("response", (*TEXTS, "number"), side):
        meaning = next(m for m in column.meanings if (m.role, m.key) == ("response", side))
        if column.kind != "number" or plain(column.name) == side or column.name in table.given:
            found.append((meaning.base, column))
    return found


def _scores(table: Table) -> Scores:
    for chosen in table.find("score", ("number", "digits", "text"), "chosen"):
        for rejected in table.find("score", ("number", "digits", "text"), "rejected"):
            if len(plain(chosen.name)) + len("rejected") == len(plain(rejected.name)) + len("chosen"):
                return Scores((chosen.name, rejected.name))
    for side in (table.find("score", ("number", "digits", "text"), side) for side in SIDES):
        if not side:
            break
    else:
        return Scores(tuple(table.find("score", ("number", "digits", "text"), side)[0].name for side in SIDES))
    rated = [column.name for column in table.find("scores", ("numbers",))]
    listed = [column.name for column in table.find("list", ("texts",))]
    return Scores((), *(rated[:1] + listed[:1])) if rated else Scores(())


def _ends_with_response(table: Table, asked: Asked, chosen: Column) -> bool:
    """Whether the prompt is a conversation that holds a response already, and so is no prompt."""
    if asked.prompt is None or asked.prompt not in table.columns or not any(map(is_conversation, chosen.values)):
        return False
    return (
        table.columns[asked.prompt].kind in ("messages", "dialogue")
        and not table.is_given(table.columns[asked.prompt], "prompt")
        and _last_roles(table.columns[asked.prompt].values) == {GPT}
    )


def _last_messages(table: Table) -> Iterator[Shape]:
    """ms-swift: the last message of the conversation is the chosen response, another column has the rejected one."""
    rejected = [column for _, column in _responses(table, "rejected")]
    if not rejected or _responses(table, "chosen"):
        return
    for asked in possible_prompts(table):
        column = table.columns[asked.prompt or ""]
        if column.kind in CONVERSATIONS and GPT in _last_roles(column.values):
            convert = partial(_last_message, asked=asked, rejected=rejected[0].name)
            used = asked.used(prompt_as="conversation") | {"rejected": rejected[0].name}
            note = "the last message is the chosen response"
            yield Shape("pair", "pairs", used, (column.name, rejected[0].name), convert, note)


def _last_message(row: Record, asked: Asked, rejected: str) -> list[Example]:
    messages = asked.turns(row)
    if not messages or messages[-1].role != GPT:
        raise BadRow("the conversation does not end with the assistant")
    value = row.get(rejected)
    worse = conversation(value) if is_conversation(value) else None
    if worse is not None and worse[:-1] != messages[:-1]:
        raise BadRow("chosen and rejected differ before their last message")
    return [
        asked.assemble(row, messages[:-1], messages[-1].value, worse[-1].value if worse else response(value, rejected))
    ]


def _last_roles(values: Sequence[Any]) -> set[str]:
    found = set()
    for value in values:
        try:
            messages = conversation(value) if value is not None else ()
        except BadRow:
            continue
        found |= {messages[-1].role} if messages else set()
    return found
