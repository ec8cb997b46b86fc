"""What makes a text bad whatever format it came in: template tokens, encoding damage, absurd length.

A pair has several thousand characters and there may be a million pairs, so everything is looked for in all texts of
a row at once, single characters first (`in` runs at memory speed); expressions see only the few texts with a suspect.
"""

from __future__ import annotations

import re

# Characters in one text, about 50,000 tokens: more than any cutoff_len that fits on a card, and nearly always a
# file or a log that was pasted in by mistake.
LONGEST_TEXT = 200_000

# Tokens that the chat templates of LLaMA-Factory 0.9.5 put around turns (llamafactory/data/template.py). Tokenizers
# read them as control tokens also in the middle of a text, so an answer that holds one teaches to end early or to
# speak for the user. <think> is not among them: reasoning models write it. <s> neither: it is HTML, too.
TOKEN_FAMILIES = {
    "chatml, kimi": "<|im_start|> <|im_end|> <|im_sep|> <|im_middle|> <|im_user|> <|im_assistant|> <|im_system|>",
    "llama3": "<|begin_of_text|> <|start_header_id|> <|end_header_id|> <|eot_id|> <|eom_id|> <|end_of_text|>",
    "llama4": "<|header_start|> <|header_end|> <|eot|> <|eom|>",
    "glm4, phi, zephyr": "<|system|> <|user|> <|assistant|> <|observation|> <|end|> <|tool|>",
    "falcon, dbrx": "<|endoftext|> <|startoftext|> <|endofuser|> <|endofassistant|> <|eos|> <|role_end|>",
    "gpt": "<|start|> <|message|> <|channel|> <|return|> <|call|>",
    "granite": "<|start_of_role|> <|end_of_role|>",
    "cohere": "<|START_OF_TURN_TOKEN|> <|END_OF_TURN_TOKEN|> <|USER_TOKEN|> <|CHATBOT_TOKEN|> <|SYSTEM_TOKEN|>",
    "deepseek": "<｜User｜> <｜Assistant｜> <｜begin▁of▁sentence｜> <｜end▁of▁sentence｜> <|User|> <|Assistant|>",
    "hunyuan": "<｜hy_User｜> <｜hy_Assistant｜> <｜hy_eos｜>",
    "gemma": "<start_of_turn> <end_of_turn> <|turn> <turn|> <|channel> <channel|>",
    "ernie": "<|begin_of_sentence|> <|end_of_sentence|>",
    "llama2": "[INST] [/INST] <<SYS>> <</SYS>>",
    "mistral": "[SYSTEM_PROMPT] [/SYSTEM_PROMPT] [TOOL_CALLS] [TOOL_RESULTS] [/TOOL_RESULTS] [AVAILABLE_TOOLS]",
    "chatglm, exaone": "[gMASK] [|system|] [|user|] [|assistant|] [|endofturn|]",
    "minimax, bailing, yayi": "]~b] [e~[ <role>HUMAN</role> <role>ASSISTANT</role> <_user> <_bot>",
}
TOKENS = [token for family in TOKEN_FAMILIES.values() for token in family.split()]
_NAMED = frozenset(TOKENS)
_TOKEN = re.compile(
    "|".join(re.escape(token) for token in sorted(TOKENS, key=len, reverse=True))
    + r"|<\|[A-Za-z0-9_/]{2,40}\|>|<｜[^\s<>｜]{2,40}｜>"  # those of models to come
)
CONTROL = "a text holds control characters (encoding damage)"
# Every token has one of these in it. The character in front is looked for first: `in` is 20 times as fast for one.
_HINTS = {
    "|": ("<|", "|>", "[|"),
    "｜": ("<｜",),
    "_": ("of_turn>", "<_user>", "<_bot>"),
    "]": ("INST]", "_PROMPT]", "_CALLS]", "_RESULTS]", "_TOOLS]", "MASK]"),
    "~": ("]~b]", "[e~["),
    ">": ("SYS>>", "</role>", "</s>"),
}
END_TOKEN = "</s>"  # of llama2 and mistral, at the end of a text; elsewhere it is HTML

# C0 controls except tab, newline, vertical tab, form feed and carriage return; DEL. In UTF-8 none is part of
# another character.
_CONTROLS = [chr(code) for code in (*range(0x09), *range(0x0E, 0x20), 0x7F)]
_CONTROL_BYTES = [control.encode() for control in _CONTROLS]
_C1 = re.compile("[\x80-\x84\x86-\x9f]")  # UTF-8 read as Latin-1; U+0085 is a line end

# UTF-8 read as Windows-1252: the first byte of a character (C2 to F0) becomes one of these letters, the others (80 to
# BF) become signs. Signs that may follow the letter in good writing (quotes, dashes, ...) do not count.
# All of them begin with C3 in UTF-8.
_SUSPECTS = ("â", "Ã", "Â", "ð", "ï", "Ð", "Ñ", "ä", "å", "æ", "ç", "è", "é")
_SIGN = "¡¢£¤¥¦§¨©ª¬®¯°±²³´µ¶¸¹º¼½¾¿"
_LATER = _SIGN + "\xa0\xad€‚ƒ„†‡ˆ‰Š‹ŒŽ˜™š›œžŸ"
# The signs stand first and the letters behind them: signs are rare in good writing, so the search seldom stops.
_CYRILLIC = _LATER + "‘’“”•–—…·»«"
_MISREAD = re.compile(
    f"[{_CYRILLIC}œ¿¡·](?:"
    "(?<=â[€ˆ‰])|(?<=â‚)¬|(?<=â„)¢|(?<=âœ)[“”…–—˜]|(?<=â†)[’“‘”]"  # ’ “ … –, mathematics, €, ™, ticks, arrows
    f"|(?<=Ã[{_SIGN}\xa0\xadŸœ€ƒ])"  # é ü ß à
    "|(?<=Â[\xa0£§©®°±´µ·¿¡½¼¾²³])"  # no-break space, ° £ ©
    "|(?<=ðŸ)|(?<=ï¿)½|(?<=ï»)¿|(?<=ï¼)[\x8d\x81Œšˆ‰Ÿ]"  # emoji, U+FFFD, byte order mark, full-width punctuation
    f"|(?<=[ÐÑ][{_CYRILLIC}])[ÐÑ][{_CYRILLIC}]"
    f"|(?<=[äåæçèé][{_SIGN}])[{_LATER}]"  # Chinese, Japanese
    ")"
)


def fault(texts: list[str]) -> str:
    """Why no model should learn from these texts: a chat-template token, encoding damage, absurd length; "" if fine."""
    joined = "\n".join(texts)
    if len(joined) > LONGEST_TEXT and any(len(text) > LONGEST_TEXT for text in texts):
        return f"a text is longer than {LONGEST_TEXT:,} characters"
    if joined.isascii():
        for control in _CONTROLS:
            if control in joined:
                return CONTROL
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
        return "a text is not valid Unicode"
    if b"\xef" in data and "\ufffd" in text:  # bytes are found faster than characters
        return "a text holds U+FFFD, the sign for lost characters (encoding damage)"
    for control in _CONTROL_BYTES:
        if control in data:
            return CONTROL
    if b"\xc2" in data and _C1.search(text):
        return CONTROL
    if b"\xc3" in data and any(suspect in text for suspect in _SUSPECTS) and _MISREAD.search(text):
        return "a text is UTF-8 that was read as another encoding (encoding damage)"
    return ""


def _token(texts: list[str], joined: str) -> str:
    found = _TOKEN.search(joined)  # no token has a newline in it, so none lies across two texts
    if found:
        token = found[0] if found[0] in _NAMED else "<|...|>"  # few reasons, to be counted
        return f"a text holds the chat-template token {token}"
    if END_TOKEN in joined:
        for text in texts:
            if text.rstrip().endswith(END_TOKEN) and "<s>" not in text:
                return f"a text ends with the chat-template token {END_TOKEN}"
    return ""
