"""Encoding damage: what a text looks like after its UTF-8 was read as something else.

UTF-8 read as Windows-1252: the first byte of a character (C2 to F4) becomes a letter with an accent, the others (80 to
BF) become signs: "Ã©", "â€™", "Å¡", "Î•Î»Î»". Read as GBK, each two bytes become a Chinese character that hardly
anybody uses: "浣犲ソ". Good writing has such pairs too ("liberté…»", "Pelé¹²", "2×½", "1.5 Å±0.1"), so what is found
must also be UTF-8 again when it is put back, and be more than good writing can come to. Damage is missed rather than
good writing refused.
"""

from __future__ import annotations

import re

_CP1252 = "€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8dŽ\x8f\x90‘’“”•–—˜™š›œ\x9džŸ" + "".join(map(chr, range(0xA0, 0xC0)))  # 80 to BF
_BYTE = {ord(sign): 0x80 + at for at, sign in enumerate(_CP1252)}  # for str.translate, then Latin-1
# A letter that is a first byte and a sign that is a later one, both in UTF-8. Hardly any good text has this, and
# bytes that begin with a certain one are found fast.
_HINT = re.compile(
    rb"\xc3[\x82-\xb4](?:\xc2[\xa0-\xbf]|\xc5[\x92\x93\xa0\xa1\xb8\xbd\xbe]|\xc6\x92|\xcb[\x86\x9c]"
    rb"|\xe2\x80[\x93\x94\x98-\x9a\x9c-\x9e\xa0-\xa2\xa6\xb0\xb9\xba]|\xe2\x82\xac|\xe2\x84\xa2)"
)

_LATER = re.escape(_CP1252)
_CHARACTER = f"(?:[Â-ß][{_LATER}]|[à-ï][{_LATER}]{{2}}|[ð-ô][{_LATER}]{{3}})"
_RUN = re.compile(f"{_CHARACTER}+")
_ONE = re.compile(_CHARACTER)
# Signs that never follow a letter in good writing. Quotes, dashes, footnote marks, ® and the like do; the letters
# š, ž and œ do ("víš…").
_NEVER = re.compile("[¢£¤¥¦¨ª¬¯±µ¸º¼½¾‚ƒ„ˆ‰˜]")
# What is damage alone, where it is common: ’ “ … –, mathematics, €, ™, ticks, arrows; é ü ß à; no-break space, ° £ ©;
# emoji, U+FFFD, byte order mark, full-width punctuation.
_COMMON = re.compile(
    "â[€ˆ‰].|â‚¬|â„¢|âœ[“”…–—˜]|â†[’“‘”]|Ã[¡-©ª¬®¯°±²³´µ¶¸¹º¼½¾¿\xa0\xadŸœ€ƒ]|Â[\xa0£§©®°±´µ·¿¡½¼¾²³]"
    "|ðŸ.|ï¿½|ï»¿|ï¼[Œšˆ‰Ÿ]",
    re.DOTALL,
)

# In UTF-8 that was read as GBK: ， 。 的 你 是 一 我 今 这 可 の “, and ， 的 where the character before them is cut in
# two. Nearly all pieces of 16 characters have one of these; good texts hardly ever.
_GBK_HINTS = "锛銆鐨浣鏄涓鎴浠杩鍙銇鈥紝殑"
# Three characters of UTF-8 in the bytes of GBK text: Chinese, kana, their punctuation, dashes and quotes. Bytes of good
# Chinese are hardly ever like that: the first byte of the three is one of rare characters there.
_CHINESE = re.compile(
    rb"(?:[\xe4-\xe9][\x80-\xbf]{2}|\xe3[\x80-\x83][\x80-\xbf]|\xef[\xbc\xbd][\x80-\xbf]|\xe2\x80[\x90-\xa6]){3}"
)

_NEAR = 8  # characters on each side of a hint: of 16 there is nearly always one that is a hint
_QUOTE = re.compile("[\u2010-\u2026]")
# The fresh memory of a debugger, as 屯 is, too; three times 烫 is also what somebody says who drinks hot tea.
_FILLING = re.compile("烫{4}|烫{3}(?![烫！!，。~～啊呀的了哦])")
# A text that speaks of damaged encodings may well show one.
_ABOUT = re.compile(
    "mojibake|garbled|乱码|亂碼|编码|編碼|文字化け|锟斤拷(?:是|什么|怎么)|cp-?1252|windows-?1252|latin-?1|iso-?8859|utf-?8"
    "|unicode|charset|encod(?:e|ing)|decod(?:e|ing)|gbk|gb2312|gb18030",
    re.I,
)


def is_mojibake(text: str, data: bytes) -> bool:
    """Whether a part of `text` is UTF-8 that was read as Windows-1252 or GBK, or what is left of lost characters.

    Args:
        data: the text in UTF-8.
    """
    found = b"\xc3" in data and _HINT.search(data) is not None and _was_read_as_western(text)
    return (found or _was_read_as_chinese(text)) and not _ABOUT.search(text)


def _was_read_as_western(text: str) -> bool:
    if _COMMON.search(text):
        return True
    for run in _RUN.finditer(text):
        characters = _ONE.findall(run[0])
        if _put_back(run[0]) is None:
            continue
        if len(characters) > 2 or (len(characters) == 2 and (_NEVER.search(run[0]) or run[0][0] in "ÐÑ")):
            return True
        around = text[run.start() - 1 : run.start()], text[run.end() : run.end() + 1]
        if any(_alone(character, *around) for character in characters):
            return True
    return False


def _put_back(run: str) -> str | None:
    try:
        return run.translate(_BYTE).encode("latin-1").decode()
    except UnicodeError:
        return None


def _alone(character: str, before: str, after: str) -> bool:
    """Whether one damaged character between these two is enough to tell: of a writing that uses few of them."""
    letter, sign = character[0], character[-1]
    in_word, begins_word = "a" <= before <= "z", "a" <= after <= "z"
    if letter >= "à":
        vietnamese = character.startswith("á»") and sign in "†‡‹›¡¿§¹²³"
        return bool(_NEVER.search(character)) or (vietnamese and begins_word)
    if letter in "ÄÅ":  # Polish, Czech, Turkish, Baltic, Croatian, Hungarian
        if letter == "Å" and sign in "±²³¹·–—":  # the unit
            return in_word and begins_word
        return bool(_NEVER.match(sign)) or sign in "ŸŒœšž¡¿" or in_word or (begins_word and sign in "°‘›»«‡™·")
    if letter == "È":  # Romanian
        return sign in "˜™š›" and (in_word or begins_word)
    return character in ("Æ¡", "Æ°")  # Vietnamese


def _was_read_as_chinese(text: str) -> bool:
    for hint in _GBK_HINTS:  # `in` for one character takes a tenth of what a set or an expression takes
        if hint in text and _was_read_as_gbk(text, hint):
            return True
    return "锟斤拷" in text or "屯屯屯" in text or ("烫烫烫" in text and _FILLING.search(text) is not None)


def _was_read_as_gbk(text: str, hint: str) -> bool:
    """Whether there is damage near one of these characters in the text."""
    at = text.find(hint)
    while at >= 0:
        if hint == "鈥":  # the first two bytes of a quote, a dash, an ellipsis
            sign = text[at : at + 2].encode("gbk", "replace").decode(errors="ignore")
            if _QUOTE.match(sign):
                return True
        if _CHINESE.search(text[max(0, at - _NEAR) : at + _NEAR + 1].encode("gbk", "replace")):
            return True
        at = text.find(hint, at + 1)
    return False
