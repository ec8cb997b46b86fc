"""Lists of responses to one prompt, each with a score: best against worst, or every pair far enough apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

from rlguide.data.example import GPT, BadRow, Example, turn
from rlguide.data.formats.base import Format, Record
from rlguide.data.formats.column_names import (
    MEDIA,
    PROMPTS,
    RANK_KEYS,
    RANK_LISTS,
    RESPONSE_LISTS,
    SCORE_KEYS,
    SCORE_LISTS,
    SYSTEM,
)
from rlguide.data.formats.extract import held, number, refuse_media, split_system, system
from rlguide.data.formats.transcripts import any_prompt
from rlguide.errors import UsageError

TEXT_KEYS = ("response", "completion", "text", "content", "answer", "generation", "output")
MODES = ("best-worst", "all")


@dataclass(frozen=True)
class Pairing:
    """How pairs are made of a list of scored responses.

    mode: "best-worst" makes one pair of the best and the worst, "all" one of every two. Equal scores, or equal texts,
    never make a pair. How far apart the scores must be is for a filter.

    Raises:
        UsageError: an unknown mode.
    """

    mode: str = "best-worst"

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UsageError(f"no pairing {self.mode}", f"choose from {', '.join(MODES)}")


class Scored(NamedTuple):
    """A response and its score; of ranks, the negative."""

    response: str
    score: float


class ScoredList(Format):
    name = "scored-list"
    sentence = "prompt, instruction or messages, a list of responses with scores or ranks (by default best and worst)"
    columns = (*PROMPTS, "input", "history", *SYSTEM, *RESPONSE_LISTS, *SCORE_LISTS, *RANK_LISTS, *MEDIA)

    def __init__(self, pairing: Pairing | None = None) -> None:
        self.pairing = pairing or Pairing()

    def matches(self, row: Record) -> bool:
        responses = _first(row, RESPONSE_LISTS)
        if not isinstance(responses, list) or held(row, PROMPTS) is None:
            return False
        lists = any(isinstance(row.get(key), list) for key in (*SCORE_LISTS, *RANK_LISTS))
        return lists or any(_has_score(entry) for entry in responses)

    def to_examples(self, row: Record) -> list[Example]:
        """Pairs with their scores; none where all responses are as good as each other. Raises BadRow."""
        refuse_media(row)
        messages, given_system = split_system(any_prompt(row), system(row))
        ranked = sorted(_scored(row), key=lambda entry: -entry.score)  # stable: the first of equals stays first
        if len(ranked) < 2:
            raise BadRow("fewer than two responses have a score")
        return [
            Example.pair(messages, better.response, worse.response, given_system, (better.score, worse.score))
            for better, worse in self._couples(ranked)
        ]

    def _couples(self, ranked: list[Scored]) -> Iterator[tuple[Scored, Scored]]:
        worst = next(entry for entry in ranked if entry.score == ranked[-1].score)
        couples = [(ranked[0], worst)] if self.pairing.mode == "best-worst" else combinations(ranked, 2)
        for better, worse in couples:
            if better.score > worse.score and better.response != worse.response:
                yield better, worse


def with_pairing(form: Format, pairing: Pairing) -> Format:
    """The format with this way of pairing. One that has pairs already stays; its margins are for a filter.

    Raises:
        UsageError: a pairing is asked for that the format cannot do.
    """
    if isinstance(form, ScoredList):
        return ScoredList(pairing)
    if pairing.mode != "best-worst":
        raise UsageError(
            f"--pairing {pairing.mode} is for lists of scored responses, and the format here is {form.name}",
            "leave --pairing out, or name the format with --format scored-list",
        )
    return form


def _first(row: Record, columns: tuple[str, ...]) -> Any:
    column = held(row, columns)
    return None if column is None else row[column]


def _has_score(entry: Any) -> bool:
    return isinstance(entry, dict) and held(entry, (*SCORE_KEYS, *RANK_KEYS)) is not None


def _scored(row: Record) -> list[Scored]:
    """The responses that have a score, in order. Raises BadRow when responses and scores do not belong together."""
    responses = _first(row, RESPONSE_LISTS)
    if not isinstance(responses, list):
        raise BadRow("the list of responses is missing")
    scores, ranks = _first(row, SCORE_LISTS), _first(row, RANK_LISTS)
    values = scores if isinstance(scores, list) else ranks
    if isinstance(values, list):
        if len(values) != len(responses):
            raise BadRow("there are not as many scores as responses")
        sign = 1.0 if isinstance(scores, list) else -1.0
    else:
        objects = [entry if isinstance(entry, dict) else {} for entry in responses]
        has_scores = any(held(entry, SCORE_KEYS) for entry in objects)
        sign = 1.0 if has_scores else -1.0
        values = [_first(entry, SCORE_KEYS if has_scores else RANK_KEYS) for entry in objects]
    numbers = [number(value) for value in values]
    return [
        Scored(_text(entry), sign * value) for entry, value in zip(responses, numbers, strict=True) if value is not None
    ]


def _text(entry: Any) -> str:
    """A response: text, an object with a text, a message of the assistant, or a list of one such message."""
    if isinstance(entry, str):
        return entry
    if isinstance(entry, list) and len(entry) == 1:
        entry = entry[0]
    if not isinstance(entry, dict):
        raise BadRow("a response of the list has no text")
    if "role" in entry or "from" in entry:
        message = turn(entry)
        if message.role != GPT:
            raise BadRow("a response of the list is not a message of the assistant")
        return message.value
    found = _first(entry, TEXT_KEYS)
    if isinstance(found, list) and len(found) == 1:
        return _text(found)
    if not isinstance(found, str):
        raise BadRow("a response of the list has no text")
    return found
