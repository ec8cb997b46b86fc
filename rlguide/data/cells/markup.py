"""Conversations written as one text, with markers or rendered with a chat template, back to turns.

A text is taken apart where its style's headers stand. Whoever writes such markers inside a response makes turns that do
not alternate, or conversations that part early; such a row is refused, so no part of a response becomes a prompt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from rlguide.catalog.markup import Style, styles
from rlguide.data.example import GPT, HUMAN, TOOL, BadRow, Turn

MOST = 0.5  # share of the texts of a column that hold both speakers, from which on the column is of that style
NEARLY_ALL = 0.9  # the same for texts of one turn, which an ordinary text may be
_LLAMA2_SYSTEM = re.compile(r"\s*<<SYS>>\n?(.*?)\n?<</SYS>>\s*", re.DOTALL)


def style_of(texts: Iterable[str]) -> Style | None:
    """The style that most of these texts are written in, None if they are plain."""
    texts = [text for text in texts if text.strip()]
    lone_style = None
    for style in styles():
        speakers = [_speakers(style, text) for text in texts]
        whole = sum(said[:1] != [GPT] and GPT in said for said, _ in speakers)
        lone = sum(bool(said) and not weak for said, weak in speakers)
        if (style.sure and lone) or (whole and whole >= MOST * len(texts)):
            return style
        if lone and lone >= NEARLY_ALL * len(texts):
            lone_style = lone_style or style
    return lone_style


def turns_of(style: Style, text: str) -> tuple[Turn, ...] | str:
    """The turns of a text; a text without a header stays as it is.

    An assistant's turn that is empty and the last one, the place of the response, is left out.

    Raises:
        BadRow: something stands before the first header, a speaker is unknown, or a tool.
    """
    pieces = style.headers.split(_begun(style, text))
    if len(pieces) == 1:
        return text
    before, *pieces = pieces
    if before.strip() and not _is_preface(style, text):
        raise BadRow("a dialogue does not begin with one of its markers")
    found = [Turn("system", before.strip())] if before.strip() else []
    for said, value in zip(pieces[::2], pieces[1::2], strict=True):
        if said is None:  # an end that is written like a beginning
            continue
        role, value = style.speakers.get(said.lower()), stripped(style, value)
        if role == "input" and found:
            found[-1] = Turn(found[-1].role, f"{found[-1].value.rstrip()}\n{value}")
        elif role in (HUMAN, GPT, "system"):
            found += _turns(style, role, value)
        else:
            raise BadRow(
                "uses tools, which this version does not carry" if role == TOOL else "a message has an unknown role"
            )
    if found and found[-1].role == GPT and not found[-1].value.strip() and len(found) > 1:
        found.pop()
    return tuple(found)


def stripped(style: Style, value: str) -> str:
    """A turn's text without the space after its marker and without what ends it."""
    if not style.ends:
        return value.removeprefix(" ")
    value = value.rstrip()
    while end := next((end for end in style.ends if value.endswith(end)), ""):
        value = value[: -len(end)].rstrip()
    return value.removeprefix("\n").removeprefix(" ")


def response_of(style: Style, text: str) -> tuple[Turn, ...] | str:
    """A response to a prompt of this style: with a marker of its own, or without what ends a turn. Raises BadRow."""
    return turns_of(style, text) if _speakers(style, text)[0][:1] == [GPT] else stripped(style, text)


def _turns(style: Style, role: str, value: str) -> list[Turn]:
    inner = _LLAMA2_SYSTEM.match(value) if role == HUMAN and style.name == "llama2" else None
    if inner:
        return [Turn("system", inner[1]), Turn(role, value[inner.end() :])]
    if role == "system" and not value.strip():
        return []
    return [Turn(role, value)]


def _begun(style: Style, text: str) -> str:
    found = style.begin.match(text.lstrip()) if style.begin else None
    return text.lstrip()[found.end() :] if found else text


def _is_preface(style: Style, text: str) -> bool:
    """Whether what stands above the first header is the system prompt."""
    return style.preface and style.begin is not None and style.begin.match(text.lstrip()) is not None


def _speakers(style: Style, text: str) -> tuple[list[str], bool]:
    """Who speaks in a text that begins with a header, and whether an ordinary text may begin so; [] for others."""
    begun = _begun(style, text).lstrip()
    if not style.headers.match(begun) and not (_is_preface(style, text) and style.headers.search(begun)):
        return [], True
    said = [name.lower() for name in style.headers.findall(begun)]
    return [style.speakers[name] for name in said if name in style.speakers], said[0] in style.weak
