"""The language of a row: that of its response; and whether its prompt asks for a response in that language.

A prompt in English whose response is in Spanish is rarely a mistake: of the 599 rows of LLaMA-Factory's two English
demo sets 19 have a response in another language, and the prompt of each asks for a translation or names that language.
Requests in English and Chinese are recognised.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from rlguide.data.curate.language import OTHER, language
from rlguide.data.example import Example

END = 600  # characters of each end of a text that are looked at: a request stands before or after what it is about


def response_language(example: Example) -> str:
    """The language of the first response; where that cannot be told (a number, one word) of prompt and response."""
    response = example.responses[0]
    found = language(response)
    return found if found != OTHER else language(f"{example.messages[-1].value}\n{response}")


def requested_in(example: Example, code: str) -> str:
    """The language, "en" or "zh", in which the prompt asks for a translation or names the language `code`.

    "" if it does neither. The system prompt and the first message may ask, too: "Always answer in French."
    """
    english, chinese = _requests(code)
    for prompt in filter(None, (example.messages[-1].value, example.system, example.messages[0].value)):
        ends = prompt if len(prompt) <= 2 * END else f"{prompt[:END]}\n{prompt[-END:]}"
        if code != "en" and english.search(ends):
            return "en"
        if code != "zh" and not ends.isascii() and chinese.search(ends):
            return "zh"
    return ""


@cache
def _requests(code: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What a request for this language looks like in English, and in Chinese."""
    latin, han = _names().get(code, ((), ()))
    words = "|".join(["translat(?:e|es|ed|ing|ion|ions)", *map(re.escape, latin)])
    signs = "|".join(["翻译", "译成", "译为", "译文", *(f"{name}[语文话]" for name in han)])
    return re.compile(rf"\b(?i:{words})(?![a-z])"), re.compile(signs)


@cache
def _names() -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """The names of each language in `language_names.txt`, by its code: with Latin letters, and Chinese ones."""
    text = files("rlguide.data.curate").joinpath("language_names.txt").read_text(encoding="utf-8")
    lines = [line.split() for line in text.splitlines()]
    return {
        code: (tuple(name for name in names if name < "\u2e80"), tuple(name for name in names if name >= "\u2e80"))
        for code, *names in lines
    }
