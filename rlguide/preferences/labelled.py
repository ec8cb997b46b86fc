"""One labelled answer: a conversation that ends with a question, an answer, and whether it is a desirable one (KTO)."""

from __future__ import annotations

from typing import Any, NamedTuple

from rlguide.preferences.pair import BadRow, Pair, Turn, check_messages, check_texts


class Labelled(NamedTuple):
    """A conversation (odd number of turns, human first and last), an answer and its label, a system prompt."""

    messages: tuple[Turn, ...]
    answer: str
    desirable: bool
    system: str = ""


def check_labelled_row(row: Labelled) -> None:
    """Refuse a row that LLaMA-Factory would drop with a warning only, or whose label it would turn round.

    llamafactory/data/processor/feedback.py (0.9.5) takes a row for desirable if its first answer is not empty, so
    an empty answer would be undesirable whatever its label says.

    Raises:
        BadRow: with the reason.
    """
    check_messages(row.messages)
    if not row.answer or row.answer.isspace():
        raise BadRow("the answer is empty")
    check_texts(row.messages, row.system, row.answer)


def from_pair(pair: Pair) -> tuple[Labelled, Labelled]:
    """The chosen answer as a desirable row and the rejected one as an undesirable row."""
    return (
        Labelled(pair.messages, pair.chosen, True, pair.system),
        Labelled(pair.messages, pair.rejected, False, pair.system),
    )


def parse_label(value: Any) -> bool:
    """A label as files give it: true/false, 1/0, or these as text in any case. Raises BadRow for all else."""
    if value is None:
        raise BadRow("the label is missing")
    if isinstance(value, str):
        value = LABEL_WORDS.get(value.strip().lower())
    if isinstance(value, bool | int | float) and value in (0, 1):
        return bool(value)
    raise BadRow("the label is neither true nor false")


LABEL_WORDS = {"true": True, "false": False, "1": True, "0": False}
