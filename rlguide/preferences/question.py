"""When two prompts ask the same: the one rule that splits, `inspect` and filters of held-out questions go by."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from rlguide.preferences.pair import Turn

_BLANKS = b" \t\n\v\f\r"
_LOWER = bytes(range(256)).lower()


def asked(messages: Iterable[Turn]) -> bytes:
    """What a conversation asks, equal for equal questions.

    Neither case nor blanks nor the width of characters (NFKC: "Ａ" and "A", "？" and "?", a no-break space and a blank)
    make another question, nor does the system prompt. What was said before does.
    """
    text = "\0".join([turn.value for turn in messages])
    if text.isascii():
        return text.encode().translate(_LOWER, _BLANKS)  # in one go, which is twice as fast
    return unicodedata.normalize("NFKC", text).lower().encode("utf-8", "surrogatepass").translate(None, _BLANKS)
