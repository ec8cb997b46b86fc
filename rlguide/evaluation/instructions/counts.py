"""How much of something a response holds: words, sentences, lines, marked parts."""

from __future__ import annotations

import re
from collections.abc import Iterator

_WORD = re.compile(r"\w+")
# A word in capitals may hold marks: U.S., TOP-5, R&D.
_WHOLE_WORD = re.compile(r"[^\W_]+(?:[-.'’&][^\W_]+)*")
_CLOSING = "\"'”’」』）】》〉)]}*_"
# One or more marks, what closes after them, and for half-width marks white space or the end.
_SENTENCE_END = re.compile(
    rf"[。！？][。！？!?…]*[{re.escape(_CLOSING)}]*|(?<![.!?…])[.!?…]*[.!?][{re.escape(_CLOSING)}]*(?=\s|$)"
)
_LETTER = re.compile(r"[^\W\d_]")
# Never the last word of a sentence.
_TITLE = re.compile(
    r"mrs?|ms|dr|prof|st|rev|gen|col|capt|lt|sgt|hon|figs?|nos?|vs|e\.?g|i\.?e|cf|approx",
    re.IGNORECASE,
)
# The last word of a sentence only if a capital letter follows.
_ABBREVIATION = re.compile(
    r"etc|al|est|inc|ltd|co|corp|jr|sr|dept|ave|blvd|vol|ed|[ap]\.m|u\.[sk]|e\.u|d\.c|b\.c|a\.d|ph\.d|m\.[da]|b\.a"
    r"|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"[ \t]*\d{1,3}[.)、．）](?!\d)")
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+\S")
_SINGLE = re.compile(r"\*([^\n*]*)\*")
_DOUBLE = re.compile(r"\*\*([^\n*]*)\*\*")
# 字数: a run of what is neither white space, nor wide, is one; Han characters, kana and full-width marks are one each.
_WIDE = (
    "\u2014\u2018\u2019\u201c\u201d\u2026\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef"
    "\U00020000-\U0003ffff"
)
_CHARACTER = re.compile(rf"[{_WIDE}]|[^\s{_WIDE}]+")


def lines(text: str) -> list[str]:
    """The lines that are not blank, as they stand."""
    return [line for line in text.split("\n") if line.strip()]


def words(text: str) -> int:
    """Runs of letters, digits and underscores."""
    return len(_WORD.findall(text))


def characters(text: str) -> int:
    """字数, as word processors count it."""
    return len(_CHARACTER.findall(text))


def sentences(text: str) -> int:
    """Sentences, one without its mark at the end among them; what holds no letter ("1.") is none."""
    return sum(_LETTER.search(sentence) is not None for sentence in _split(text))


def _split(text: str) -> Iterator[str]:
    start = 0
    for end in _SENTENCE_END.finditer(text):
        before, after = text[max(start, end.start() - 20) : end.start()], text[end.end() : end.end() + 20].lstrip()
        if _goes_on(before, end[0].rstrip(_CLOSING), after):
            continue
        yield text[start : end.end()]
        start = end.end()
    yield text[start:]


def _goes_on(before: str, mark: str, after: str) -> bool:
    """Whether a mark between these is an ellipsis within a sentence, or belongs to an abbreviation or an initial."""
    if set(mark) <= set(".…") and len(mark) > 1:
        return bool(after) and not after[0].isupper()
    if mark != ".":
        return False
    last = (before.split() or [""])[-1].lstrip("([{\"'“‘*_")
    if _TITLE.fullmatch(last) or (len(last) == 1 and last.isupper() and last != "I"):
        return True
    return _ABBREVIATION.fullmatch(last) is not None and not after[:1].isupper()


def paragraphs(text: str) -> int:
    """Blocks of lines with blank lines between them."""
    blank = [not line.strip() for line in text.split("\n")]
    return sum(not here and before for here, before in zip(blank, [True, *blank], strict=False))


def divided_paragraphs(text: str) -> int:
    """Paragraphs with *** between them; 0 if one in the middle is blank."""
    parts = [part.strip() for part in text.split("***")]
    return 0 if not all(parts[1:-1]) else sum(map(bool, parts))


def line_count(text: str) -> int:
    """Lines that are not blank."""
    return len(lines(text))


def bullets(text: str) -> int:
    """Lines that begin with - or with a single *."""
    starts = (line.lstrip()[:2] for line in lines(text))
    return sum(start[0] == "-" or (start[0] == "*" and start != "**") for start in starts)


def numbered(text: str) -> int:
    """Lines that begin with a number and a mark."""
    return sum(_NUMBERED.match(line) is not None for line in lines(text))


def headings(text: str) -> int:
    """Markdown headings."""
    return sum(_HEADING.match(line) is not None for line in lines(text))


def sections(text: str, marker: str) -> int:
    """Places where the marker stands before a number."""
    return len(re.findall(rf"{re.escape(marker.strip())}\s?\d", text))


def highlights(text: str) -> int:
    """Parts within single or double asterisks that are not blank."""
    return sum(bool(part.strip()) for pattern in (_SINGLE, _DOUBLE) for part in pattern.findall(text))


def placeholders(text: str) -> int:
    """Square brackets that open and close on one line."""
    count = 0
    for line in text.split("\n"):
        opens = line.find("[")
        while opens >= 0 and (closes := line.find("]", opens)) >= 0:
            count += 1
            opens = line.find("[", closes)
    return count


def letters(text: str, letter: str) -> int:
    """How often a character occurs, in either case."""
    return text.lower().count(letter.lower())


def keyword(text: str, word: str) -> int:
    """How often a text occurs, in either case, also within words."""
    return text.lower().count(word.strip().lower())


def capital_words(text: str) -> int:
    """Words in capital letters."""
    return sum(word.isupper() for word in _WHOLE_WORD.findall(text))
