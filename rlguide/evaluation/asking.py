"""What models are asked in an evaluation."""

from __future__ import annotations

from rlguide.conversation import Message
from rlguide.data.example import Example


def conversation_of(example: Example) -> list[Message]:
    """The prompt of an example as messages."""
    return [{"role": role, "content": text} for role, text in example.spoken]
