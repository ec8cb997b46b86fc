"""What a response says word for word: phrases that it holds, begins or ends with."""

from __future__ import annotations

import re
from collections.abc import Sequence

_POSTSCRIPTS = {"P.S.": re.compile(r"p\.\s?s\."), "P.P.S": re.compile(r"p\.\s?p\.\s?s")}


def keywords(response: str, words: Sequence[str]) -> bool:
    """Whether all of them occur."""
    text = response.lower()
    return all(word.strip().lower() in text for word in words)


def forbidden(response: str, words: Sequence[str]) -> bool:
    """Whether none of them occurs; Latin ones count as whole words only."""
    return not any(re.search(_whole(word.strip()), response, re.IGNORECASE) for word in words)


def _whole(word: str) -> str:
    """A pattern for the word: not within a longer one, but for Han characters, which no space divides."""
    left, right = (r"\b" if end < "\u2e80" else "" for end in (word[:1], word[-1:]))
    return f"{left}{re.escape(word)}{right}"


def starts_with(response: str, phrase: str) -> bool:
    """Whether the response begins so."""
    return response.strip().lower().startswith(phrase.strip().lower())


def repeats(response: str, text: str) -> bool:
    """Whether the response begins with the prompt."""
    return starts_with(response, text)


def ends_with(response: str, phrase: str) -> bool:
    """Whether the response ends so, or does before a quotation mark."""
    return response.strip().strip('"').lower().endswith(phrase.strip().lower())


def quoted(response: str) -> bool:
    """Whether the response stands within straight double quotation marks."""
    return _within(response, '"', '"')


def chinese_quoted(response: str) -> bool:
    """Whether the response stands within Chinese double quotation marks."""
    return _within(response, "“", "”")


def _within(response: str, opens: str, closes: str) -> bool:
    text = response.strip()
    return len(text) > 1 and text.startswith(opens) and text.endswith(closes)


def postscript(response: str, marker: str) -> bool:
    """Whether there is a postscript with this marker."""
    text, marker = response.lower(), marker.strip()
    if marker in _POSTSCRIPTS:
        return _POSTSCRIPTS[marker].search(text) is not None
    return any(line.lstrip().startswith(marker.lower()) for line in text.split("\n"))


def options(response: str, options: Sequence[str]) -> bool:
    """Whether one of the options occurs."""
    return any(option in response for option in options)
