"""What makes an example bad: empty fields, the order of roles, two equal answers, and what `text` finds."""

from __future__ import annotations

from rlguide.data.checks.text import NO_UNICODE, fault
from rlguide.data.example import GPT, HUMAN, BadRow, Labelled, Pair, Turn


def check_messages(messages: tuple[Turn, ...]) -> None:
    """Refuse a prompt that LLaMA-Factory would drop with a warning only. Raises BadRow with the reason."""
    for index, turn in enumerate(messages):
        if turn.role != (GPT if index % 2 else HUMAN):
            raise BadRow("roles do not alternate human, assistant, human")
        if not turn.value or turn.value.isspace():
            raise BadRow("a message of the prompt is empty")
    if len(messages) % 2 == 0:
        raise BadRow("the prompt does not end with a human message" if messages else "the prompt is empty")


def check_pair(pair: Pair) -> None:
    """Refuse a pair that LLaMA-Factory would drop with a warning only, or that teaches nothing or the wrong thing.

    Raises:
        BadRow: with the reason.
    """
    check_structure(pair)
    check_texts(pair.messages, pair.system, pair.chosen, pair.rejected)


def check_texts(messages: tuple[Turn, ...], *others: str) -> None:
    """Refuse template tokens, encoding damage and absurd lengths (see `checks`). Raises BadRow with the reason."""
    reason = fault([*others, *[turn.value for turn in messages]])
    if reason:
        raise BadRow(reason)


def check_unicode(messages: tuple[Turn, ...], *others: str) -> None:
    """The part of `check_texts` without which a row cannot be written. Raises BadRow for half of a surrogate pair."""
    try:
        "".join([*others, *[turn.value for turn in messages]]).encode()
    except UnicodeEncodeError:
        raise BadRow(NO_UNICODE) from None


def check_structure(pair: Pair) -> None:
    """The part of `check_pair` that the engine does, too: what it drops is no pair. Raises BadRow with the reason."""
    check_messages(pair.messages)
    chosen, rejected = pair.chosen.strip(), pair.rejected.strip()
    if not chosen:
        raise BadRow("chosen is empty")
    if not rejected:
        raise BadRow("rejected is empty")
    if chosen == rejected:
        raise BadRow("chosen equals rejected")


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
