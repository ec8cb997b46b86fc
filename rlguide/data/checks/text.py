"""What makes a text bad whatever format it came in: template tokens, encoding damage, absurd length.

A pair has several thousand characters and there may be a million pairs, so everything is looked for in all texts of
a row at once, single characters first (`in` runs at memory speed); expressions see only the few texts with a suspect.
"""

from __future__ import annotations

import re
from pathlib import Path

from rlguide.data.checks.mojibake import is_mojibake

# Characters in one text, about 50,000 tokens: more than any cutoff_len that fits on a GPU, and nearly always a
# file or a log that was pasted in by mistake.
LONGEST_TEXT = 200_000
# Tokens that the chat templates of LLaMA-Factory 0.9.5 put around turns (llamafactory/data/template.py), one line for
# each family of models. Tokenizers read them as control tokens also in the middle of a text, so a response that holds
# one teaches to end early or to speak for the user. <think> is not among them: reasoning models write it. <s> neither:
# it is HTML, too.
_FAMILIES = Path(__file__).with_name("chat_tokens.txt").read_text(encoding="utf-8").splitlines()
TOKENS = [token for family in _FAMILIES for token in family.partition(": ")[2].split()]
_NAMED = frozenset(TOKENS)

_STEMS = (
    "start|begin|end|eo[stm]|bo[stm]|im_|sep|pad|unk|user|human|assistant|system|bot|tool|call|think|text|turn|role"
    "|message|token|reserved|mask|image|audio|video|vision|fim|code|User|Human|Assistant|System|START|BEGIN|END|USER"
)

_TOKEN = re.compile(
    "|".join(re.escape(token) for token in sorted(TOKENS, key=len, reverse=True))
    # Those of models to come; <|name|> between spaces only if it sounds like one: F# has operators like that.
    + r"|(?<!\s)<\|[A-Za-z0-9_/]{2,40}\|>|<\|[A-Za-z0-9_/]{2,40}\|>(?!\s)|<｜[^\s<>｜]{2,40}｜>"
    + r"|<img>[^<>\n]{1,300}</img>"  # Qwen-VL; HTML has no path there
    + rf"|<\|(?=[A-Za-z0-9_/]*(?:{_STEMS}))[A-Za-z0-9_/]{{2,40}}\|>"
)

NO_UNICODE = "a text is not valid Unicode"
CONTROL = "a text holds control characters (encoding damage)"
MOJIBAKE = "a text is UTF-8 that was read as another encoding (encoding damage)"
ESCAPES = "a text holds terminal escape codes (colours and the like)"
# Every token has one of these in it. The character in front is looked for first: `in` is 20 times as fast for one.
_HINTS = {
    "|": ("<|", "|>", "[|"),
    "｜": ("<｜",),
    "_": ("<extra_id_", "of_turn>", "<_user>", "<_bot>"),
    "]": ("INST]", "_PROMPT]", "_CALLS]", "_RESULTS]", "_TOOLS]", "MASK]"),
    "~": ("]~b]", "[e~["),
    ">": ("SYS>>", "</role>", "</s>", "</img>"),
}

PICTURE = "a text holds the path of a picture (<img>), and media are not carried"
END_TOKEN = "</s>"  # of llama2 and mistral, at the end of a text; elsewhere it is HTML
# C0 controls except tab, newline, vertical tab, form feed and carriage return; DEL. In UTF-8 none is part of
# another character.
_CONTROLS = [chr(code) for code in (*range(0x09), *range(0x0E, 0x20), 0x7F)]
_CONTROL_BYTES = "".join(_CONTROLS).encode()
_C1 = re.compile("[\x80-\x84\x86-\x9f]")  # UTF-8 read as Latin-1; U+0085 is a line end


def fault(texts: list[str]) -> str:
    """Why no model should learn from these texts: a chat-template token, encoding damage, absurd length; "" if fine."""
    joined = "\n".join(texts)
    if len(joined) > LONGEST_TEXT and any(len(text) > LONGEST_TEXT for text in texts):
        return f"a text is longer than {LONGEST_TEXT:,} characters"
    if joined.isascii():
        for control in _CONTROLS:
            if control in joined:
                return _control(joined)
    elif damage := _damage(joined):
        return damage
    for character, hints in _HINTS.items():
        if character in joined:
            for hint in hints:
                if hint in joined:
                    return _token(texts, joined)
    return ""


def _damage(text: str) -> str:
    try:
        data = text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return NO_UNICODE
    if b"\xef" in data and "\ufffd" in text:  # bytes are found faster than characters
        return "a text holds U+FFFD, the sign for lost characters (encoding damage)"
    if len(data.translate(None, _CONTROL_BYTES)) != len(data):  # half the time of looking for one after the other
        return _control(text)
    if b"\xc2" in data and _C1.search(text):
        return CONTROL
    if is_mojibake(text, data):
        return MOJIBAKE
    return ""


def _control(text: str) -> str:
    return ESCAPES if "\x1b[" in text else CONTROL


def _token(texts: list[str], joined: str) -> str:
    found = _TOKEN.search(joined)  # no token has a newline in it, so none lies across two texts
    if found:
        if found[0].startswith("<img>"):
            return PICTURE
        token = found[0] if found[0] in _NAMED else "<|...|>"  # few reasons, to be counted
        return f"a text holds the chat-template token {token}"
    if END_TOKEN in joined:
        for text in texts:
            if text.rstrip().endswith(END_TOKEN) and "<s>" not in text:
                return f"a text ends with the chat-template token {END_TOKEN}"
    return ""
