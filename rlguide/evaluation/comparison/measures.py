"""What can be counted in one response without any judge."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rlguide.conversation import Message, Response
from rlguide.data.curate.language import OTHER, language
from rlguide.data.curate.requested import requested_in
from rlguide.data.example import GPT, HUMAN, Example, Turn
from rlguide.evaluation.comparison.refusals import is_refusal
from rlguide.evaluation.instructions.counts import characters

GRAM = 4
# From so much repetition on a response is called a loop: most of it has been said before. The threshold is our own.
LOOP = 0.5
_LEAST_GRAMS = 16  # with fewer, a short list or a laugh would be a loop
# A Han character, kana or syllable; a word, one without end in pieces (so that "aaaa..." repeats); a run of signs.
_PIECE = re.compile(r"[一-鿿぀-ヿ가-힯]|[^\W一-鿿぀-ヿ가-힯]{1,20}|[^\w\s]{1,20}")
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_PART = 60  # letters that a part of a response has at least, whose language is looked at by itself
_LETTER = re.compile(r"[^\W\d_]")


@dataclass(frozen=True)
class Measures:
    """Of one response.

    Attributes:
        repetition: the share of its 4-grams that it has had before, 0 to 1.
        length: words, in Chinese characters (`counts.characters`).
        switches: whether it, or a long part of it, is in a language that its prompt neither is in nor asks for.
        cut: whether it reached the limit of tokens.
    """

    repetition: float
    length: int
    loops: bool
    refuses: bool
    switches: bool
    empty: bool
    cut: bool


def measure(prompt: Sequence[Message], response: Response) -> Measures:
    """Count what can be counted in the response to a prompt."""
    text = response.text
    share, grams = _repeated(text)
    is_loop = share > LOOP and grams >= _LEAST_GRAMS
    switched = bool(switched_to(prompt, text))
    return Measures(share, characters(text), is_loop, is_refusal(text), switched, not text.strip(), response.is_cut)


def repetition(text: str) -> float:
    """The share of 4-grams of words (Chinese: characters) that the text has had before; 0 where it is too short.

    This is seq-rep-4 of Welleck et al. 2020 (arXiv 1908.04319): 1 - unique / all.
    """
    return _repeated(text)[0]


def pieces(text: str) -> list[str]:
    """The words (Chinese: characters) and runs of signs of a text, in small letters."""
    return _PIECE.findall(text.lower())


def apart(texts: Sequence[str]) -> float:
    """How different responses to one prompt are: 0 of the same words, 1 where one shares none with the first.

    Of the other responses the one that differs most counts: 1 minus the share of words (Chinese: characters) that it
    and the first one have in common, in any order (the Dice coefficient of the two bags of words).
    """
    first, *others = [Counter(pieces(text)) for text in texts]
    return max(
        (1 - 2 * (first & other).total() / total if (total := first.total() + other.total()) else 0.0)
        for other in others
    )


def _repeated(text: str) -> tuple[float, int]:
    """The repetition, and the number of 4-grams."""
    found = pieces(text)
    grams = list(zip(*(found[at:] for at in range(GRAM)), strict=False))
    return (1 - len(set(grams)) / len(grams) if grams else 0.0), len(grams)


def switched_to(prompt: Sequence[Message], text: str) -> str:
    """The language, a code of ISO 639-1, that a response or a long part of it is in although nobody asked; "" if none.

    The prompt's language is that of the user's last message. Code is left out, and what is too short to tell.
    """
    turns = [message for message in prompt if message["role"] != "system"]
    if not turns:
        return ""
    asked = language(_without_code(turns[-1]["content"]))
    if asked == OTHER:
        return ""
    for code in _languages(_without_code(text)):
        if code not in (OTHER, asked) and not requested_in(_example(prompt, turns), code):
            return code
    return ""


def _example(prompt: Sequence[Message], turns: Sequence[Message]) -> Example:
    said = tuple(Turn(GPT if item["role"] == "assistant" else HUMAN, item["content"]) for item in turns)
    return Example.single(said, "", "\n".join(item["content"] for item in prompt if item["role"] == "system"))


def _without_code(text: str) -> str:
    return _CODE.sub(" ", text)


def _languages(text: str) -> Iterator[str]:
    """The language of the whole, then of each of its long parts."""
    yield language(text)
    part = ""
    for line in text.split("\n"):
        part = f"{part}\n{line}" if part else line
        if _weight(part) >= _PART:
            yield language(part)
            part = ""


def _weight(text: str) -> int:
    """Letters; a Han character, kana or syllable says as much as several."""
    return sum(4 if letter >= "\u3040" else 1 for letter in _LETTER.findall(text))
