"""What makes an example bad: empty fields, the order of roles, two equal responses, and what `text` finds."""

from __future__ import annotations

from rlguide.data.checks.text import NO_UNICODE, fault
from rlguide.data.example import GPT, HUMAN, BadRow, Example


def check_example(example: Example) -> None:
    """Refuse an example that LLaMA-Factory would drop with a warning only, or that teaches nothing or the wrong thing.

    Raises:
        BadRow: with the reason.
    """
    check_structure(example)
    check_texts(example)


def check_structure(example: Example) -> None:
    """The part of `check_example` that the engine does, too. Raises BadRow with the reason.

    Of labelled responses the engine drops none: llamafactory/data/processor/feedback.py (0.9.5) takes a row for
    desirable if its first response is not empty, so an empty one would be undesirable whatever its label says.
    """
    messages = example.messages
    for index, (role, value) in enumerate(messages):
        if role != (GPT if index % 2 else HUMAN):
            raise BadRow("roles do not alternate human, assistant, human")
        if not value or value.isspace():
            raise BadRow("a message of the prompt is empty")
    if len(messages) % 2 == 0:
        raise BadRow("the prompt does not end with a human message" if messages else "the prompt is empty")
    responses = [response.strip() for response in example.responses]
    if not all(responses):
        names = ("chosen", "rejected") if len(responses) == 2 else ("the response",)
        raise BadRow(f"{names[responses.index('')]} is empty")
    if len(responses) == 2 and responses[0] == responses[1]:
        raise BadRow("chosen equals rejected")


def check_texts(example: Example) -> None:
    """Refuse template tokens, encoding damage and absurd lengths (see `text`). Raises BadRow with the reason."""
    if reason := fault(example.texts):
        raise BadRow(reason)


def check_unicode(example: Example) -> None:
    """The part of `check_texts` without which a row cannot be written. Raises BadRow for half of a surrogate pair."""
    try:
        "".join(example.texts).encode()
    except UnicodeEncodeError:
        raise BadRow(NO_UNICODE) from None
