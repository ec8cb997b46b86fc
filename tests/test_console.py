from __future__ import annotations

import sys
import unicodedata

from rlguide.console import UNSAFE, escaped, printable

TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def test_what_acts_on_a_screen_is_what_unicode_says() -> None:
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    acting = [sign for sign in every if unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") or sign in TURNING]
    assert UNSAFE.findall(every) == acting
    unseen = set(acting) - {"\n", "\t"}
    assert printable(every) == "".join(sign for sign in every if sign not in unseen)


def test_an_escaped_text_can_be_shown_and_read() -> None:
    assert escaped("a\x1b[2J\u202eb\ud800 你好") == "a\\x1b[2J\\u202eb\\ud800 你好"
    assert escaped("rows\n.json").isprintable()
