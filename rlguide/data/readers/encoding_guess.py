"""In which of the usual encodings a text that is not UTF-8 was written, and only where that is beyond doubt.

A text in a wrong encoding is worse than a refusal. A double-byte encoding must turn the bytes into characters that are
in daily use (the first level of its standard, where the common ones stand), among them the commonest of its language;
no second encoding may do so half as well. Of single-byte encodings nearly any byte is a letter: there the letters must
be those of the languages, and stand where they do in words. (charset-normalizer 3.5 reads French as Baltic, and
Portuguese as Central European.)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

LOOKED_AT = 64 << 10  # bytes; charset-normalizer needs half a second for them
FEWEST = 5  # characters beyond ASCII that are enough to tell
COMMON, FREQUENT = 0.88, 0.12  # shares of them; texts of any kind have 0.95 and 0.3, but for names and lists

# The commonest characters of running text, half of it in Chinese, three fifths in Korean.
_SIMPLIFIED = (
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方多经么去法学如都同"
    "现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日者意无力它与长把机十民第公此已工使情明性知全三又关点正外将两高间由问很最重并物手"
    "应向头文体美相见被什二等新己制身果加月话回特代信表化老给世位次度门任常先教提立及比解水名真题请答句写出助语言数字何哪吗呢吧啊"
)
_TRADITIONAL = (
    "的一是不了在人有我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得於著下自之年過發後作裡用道行所然家種事成方多經麼去法學如都同"
    "現當沒動面起看定天分還進好小部其些主樣理心她本前開但因只從想實日者意無力它與長把機十民第公此已工使情明性知全三又關點正外將兩高間由問很最重並物手"
    "應向頭文體美相見被什二等新己制身果加月話回特代信表化老給世位次度門任常先教提立及比解水名真題請答句寫出助語言數字何哪嗎呢吧啊"
)
_KOREAN = (
    "이다는을를에가의은로고하지서도한기사자리어나시인그대스만아있해정보수일라게전것면부주구과장제여무소안"
    "으했니습요세니까했던들와적성상동러오할말야우원생국조"
)
# Letters and signs of Western Europe. Not among them are those that Central European, Turkish and Baltic letters become
# when they are read so: ð ý þ š ž ¹ ¤ ...
_WESTERN = frozenset("àâäáãåæçèéêëíìîïñòóôõöøùúûüÿßœÀÂÄÁÃÅÆÇÈÉÊËÍÌÎÏÑÒÓÔÕÖØÙÚÛÜŸŒ‘’“”„‚–—…•«»‹›¿¡€£§°·©®™½¼²ºª±´\xa0")
# Capitals after small letters, signs within words; õ, which is in Portuguese before e only, and Hungarian's ő.
_WEST_MISPLACED = re.compile(
    "(?<=[a-zà-öø-ÿ])[À-ÖØ-ÞŒŸ]|(?<=[A-Za-zà-öø-ÿ])[„‚•“«»‹›°§©®½¼²ºª¿¡±´€£](?=[A-Za-zà-öø-ÿ])|õ(?!e)"
)
_CYRILLIC = frozenset("абвгдежзийклмнопрстуфхцчшщъыьэюяёіїєґўАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯЁІЇЄҐЎ«»“”„‘’–—…№°§©\xa0")
# The encodings take each other's small letters for capitals; and no word is half Latin.
_CYRILLIC_MISPLACED = re.compile("(?<=[а-яё])[А-ЯЁ]|(?<=[A-Za-z])[А-яЁё]|[А-яЁё](?=[A-Za-z])")
_PUNCTUATION = re.compile("[\u00a0-\u00bf\u2010-\u2030\u3000-\u301f\uff00-\uff60\uffe0-\uffe6]")


@dataclass(frozen=True)
class _Double:
    """A double-byte encoding. `level` names the standard whose first level has the common characters, by lead byte."""

    codec: str
    about: str
    level: str
    leads: range
    frequent: Callable[[str], bool]
    kana: bool = False  # without some of them it is not Japanese


def _is_kana(character: str) -> bool:
    return "\u3041" <= character <= "\u30ff"


_DOUBLE = (
    _Double("gb18030", "GB18030 (Chinese)", "gb2312", range(0xB0, 0xD8), frozenset(_SIMPLIFIED).__contains__),
    _Double("big5", "Big5 (Chinese)", "big5", range(0xA4, 0xC7), frozenset(_TRADITIONAL).__contains__),
    _Double("cp932", "Shift-JIS (Japanese)", "shift_jis", range(0x88, 0x99), _is_kana, kana=True),
    _Double("euc_jp", "EUC-JP (Japanese)", "euc_jp", range(0xB0, 0xD0), _is_kana, kana=True),
    _Double("cp949", "EUC-KR (Korean)", "euc_kr", range(0xB0, 0xC9), frozenset(_KOREAN).__contains__),
)  # fmt: skip
_SINGLE = {
    "cp1252": ("Windows-1252 (Western European)", _WESTERN, _WEST_MISPLACED),
    "cp1251": ("Windows-1251 (Cyrillic)", _CYRILLIC, _CYRILLIC_MISPLACED),
    "koi8_r": ("KOI8-R (Cyrillic)", _CYRILLIC, _CYRILLIC_MISPLACED),
}
# The commonest words of Russian, Ukrainian and Bulgarian: a Hebrew or Arabic text has small Cyrillic letters, too.
_CYRILLIC_WORDS = frozenset(
    re.findall(
        r"\w+",
        "и в не на я что с по это как за для от а у из о то но вы ты мы он она к до так все мне если или же бы его ее"
        " их был і та що з й це як є да се е като си ли може има при",
    )
)
FEWEST_COMMON = 0.06  # share of the words that these are; it is a quarter in prose
MOST_ODD = 0.02  # share of the characters beyond ASCII that may be others, or misplaced
FEWEST_WORDS = 3  # with such characters, no two alike


def guess(data: bytes) -> tuple[str, str]:
    """The codec of these lines and what to call it; ("", "") where it is not certain. `data` is not UTF-8."""
    data = data[:LOOKED_AT]
    found = [(score, one) for one in _DOUBLE if (score := _double_score(data, one))]
    found.sort(key=lambda pair: -pair[0])
    if found and (len(found) == 1 or found[0][0] >= 2 * found[1][0]):
        return found[0][1].codec, found[0][1].about
    if found:
        return "", ""
    fits = [codec for codec in _SINGLE if _is_single(data, codec)]
    return (fits[0], _SINGLE[fits[0]][0]) if len(fits) == 1 else ("", "")


def _double_score(data: bytes, one: _Double) -> float:
    """The share of the commonest characters of the language; 0 if it is small, or the others are not in daily use."""
    text = _decoded(data, one.codec)
    wide = [character for character in text or "" if character >= "\x80"]
    letters = [character for character in wide if not _PUNCTUATION.match(character)]
    if len(letters) < FEWEST:
        return 0
    daily = _daily(one.level, one.leads)
    common = sum(character in daily or (one.kana and _is_kana(character)) for character in letters) / len(letters)
    frequent = sum(map(one.frequent, letters)) / len(letters)
    return frequent if common >= COMMON and frequent >= FREQUENT else 0


def _decoded(data: bytes, codec: str) -> str | None:
    """The text, without a character at the end that is cut; None if a byte means nothing."""
    import codecs

    try:
        return codecs.getincrementaldecoder(codec)().decode(data)
    except UnicodeDecodeError:
        return None


@cache
def _daily(codec: str, leads: range) -> frozenset[str]:
    """The characters of the first level of a standard: those with these lead bytes."""
    pairs = (bytes((lead, trail)) for lead in leads for trail in range(0x40, 0xFF))
    return frozenset(text for pair in pairs if len(text := pair.decode(codec, "ignore")) == 1)


def _is_single(data: bytes, codec: str) -> bool:
    """Whether this is text in a single-byte encoding: nearly all letters are those of its languages, and in place."""
    text = _decoded(data, codec) or ""
    _, known, misplaced = _SINGLE[codec]
    beyond = [character for character in text if character >= "\x80"]
    words = {word for word in re.findall(r"\S+", text) if not word.isascii()}
    if len(beyond) < FEWEST or len(words) < FEWEST_WORDS:
        return False
    odd = sum(character not in known for character in beyond) + len(misplaced.findall(text))
    if odd > MOST_ODD * len(beyond):
        return False
    if codec == "cp1252":  # its words have letters of ASCII, too; a text in another script would have hardly any
        runs = re.findall("[\x80-\U0010ffff]{3,}", text)
        return sum(map(len, runs)) <= 0.1 * len(beyond)
    found = re.findall("[А-яЁёІіЇїЄєҐґЎў]+", text)
    common = sum(word.lower() in _CYRILLIC_WORDS for word in found)
    small = sum(map(str.islower, "".join(found)))
    return common >= max(2, FEWEST_COMMON * len(found)) and 3 * small > 2 * sum(map(len, found))
