"""The language, letters and marks that a response is written in."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from rlguide.data.curate.language import OTHER, READ, language
from rlguide.evaluation.instructions.counts import lines

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_LATIN = re.compile(r"[A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024fＡ-Ｚａ-ｚ]")
# Half-width marks, but for those within a number, a time or a Latin word.
_HALF_WIDTH = re.compile(r"(?<![A-Za-z0-9])[,.?!;:()\"']|[,.?!;:()\"'](?![A-Za-z0-9])")
_DEVANAGARI = ("hi", "mr", "ne")  # which `language` does not tell apart
# A number of more than 一: at least one of the numerals to ten, after 第 or before a measure word or unit.
_DIGITS = "零〇一二两三四五六七八九十"
_NUMERALS = f"{_DIGITS}百千万亿"
_UNITS = (
    "[个只条本件张位名项章节步点种次遍年月日号天周秒岁元块角米斤克度人家篇段句行页层楼届倍]|小时|分钟|公里|公斤|厘米"
)
_NUMBER = re.compile(rf"(?<![\d.{_NUMERALS}])(第?)([{_NUMERALS}]+)(?=({_UNITS})?)")
# Characters of GB 2312's first level that Big5 has as rare ones, and that the General List of Simplified Characters
# (简化字总表, 1986) gives as simplified.
_BOTH = frozenset("万与虫价优体党厂吨圣复宁岭怀怜惊据机极构柜气洁洒洼涂痒确种离网胜腊茧苹蜡触赶踊适肮")


def in_language(response: str, language: str) -> bool:
    """Whether the beginning and the end of a response are in this language; one without a letter is in any."""
    if not any(map(str.isalpha, response)):
        return True
    wanted = {language, *(_DEVANAGARI if language in _DEVANAGARI else ())}
    found = [_language(part) for part in (response, response.strip()[-READ:])]
    return found[0] in wanted and found[1] in {*wanted, OTHER}


def _language(text: str) -> str:
    return language(text.strip())


def capitals(response: str) -> bool:
    """Whether all letters are capitals, in a text that is English or too short to tell."""
    return response.isupper() and _language(response) in ("en", OTHER)


def lowercase(response: str) -> bool:
    """Whether no letter is a capital, in a text that is English or too short to tell."""
    return response.islower() and _language(response) in ("en", OTHER)


def no_commas(response: str) -> bool:
    """Whether there is no comma."""
    return not {",", "，"} & set(response)


def no_punctuation(response: str) -> bool:
    """Whether Unicode counts no character as punctuation (general categories P*)."""
    return not any(unicodedata.category(character).startswith("P") for character in set(response))


def _is_chinese(response: str) -> bool:
    return _HAN.search(response) is not None


def full_width(response: str) -> bool:
    """Whether a Chinese text has no half-width marks."""
    return _is_chinese(response) and _HALF_WIDTH.search(response) is None


def no_latin(response: str) -> bool:
    """Whether there is no Latin letter."""
    return _LATIN.search(response) is None


def simplified(response: str) -> bool:
    """Whether a Chinese text has no character that is traditional only."""
    return _is_chinese(response) and not any(map(is_traditional, set(response)))


def traditional(response: str) -> bool:
    """Whether a Chinese text has no character that is simplified only."""
    return _is_chinese(response) and not any(map(is_simplified, set(response)))


@cache
def is_simplified(character: str) -> bool:
    """Whether a Han character is used in simplified Chinese only: one of GB 2312-1980 that Big5 does not have.

    The tables are those of Python's codecs. Characters in both (里, 后, 台) are neither, but for `_BOTH`.
    """
    if character in _BOTH:
        return True
    return _HAN.match(character) is not None and bool(_code(character, "gb2312")) and not _code(character, "big5")


@cache
def is_traditional(character: str) -> bool:
    """Whether a Han character is used in traditional Chinese only: a frequent one of Big5 that GB 2312 does not have.

    Frequent: of Big5's first level, 5,401 characters up to 0xC67E. The second has rare ones that either writing uses.
    """
    code = _code(character, "big5")
    frequent = len(code) == 2 and 0xA4 <= code[0] <= 0xC6
    return frequent and _HAN.match(character) is not None and not _code(character, "gb2312")


def _code(character: str, codec: str) -> bytes:
    """The character in an encoding; no bytes where it is not in it."""
    return character.encode(codec, "ignore")


def chinese_numerals(response: str) -> bool:
    """Whether a Chinese text has no digits."""
    return _is_chinese(response) and not any(map(str.isdecimal, response))


def arabic_numerals(response: str) -> bool:
    """Whether there are digits, and no number is written in Chinese numerals."""
    return any(map(str.isdecimal, response)) and not any(map(_is_number, _NUMBER.finditer(response)))


def _is_number(found: re.Match[str]) -> bool:
    ordinal, numerals, unit = found.groups()
    return bool(ordinal or unit) and numerals != "一" and any(numeral in _DIGITS for numeral in numerals)


def line_characters(response: str, characters: int) -> bool:
    """Whether every line has so many Han characters."""
    return all(len(_HAN.findall(line)) == characters for line in lines(response))
