"""What the name of a column says: its role, and of a response which one it is."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from rlguide.catalog.columns import plain, vocabulary

_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^\W\d_a-zA-Z]+")
LOOSE = 50  # the place of a meaning that another one goes before


class Meaning(NamedTuple):
    """One thing that a column may be.

    key: of a response, its score, rank or flag: "chosen", "rejected", or what it is numbered by ("a", "1", "left"); ""
    for the only one. base: the rest of the name, which columns of one group share. order: the lowest is the likeliest.
    """

    role: str
    key: str = ""
    base: str = ""
    order: int = 0


@lru_cache(10_000)  # names of columns come from files
def meanings(name: str) -> tuple[Meaning, ...]:
    """All that a column of this name may be; () if the name says nothing."""
    words = vocabulary()
    whole = plain(name)
    found = [Meaning(role, order=names[whole]) for role, names in words.names.items() if whole in names]
    parts, flags = name_parts(name), words.parts["flag"]
    many = words.parts["response"] | words.parts["numbered"]
    side = {side_of(part) for part in parts} - {""}
    if len(side) == 1:
        found += _of_side(side.pop(), [part for part in parts if not side_of(part)])
    numbers = [part for part in parts if numbering(part)]
    if not side and len(numbers) == 1:
        found += _numbered(numbers[0], [part for part in parts if part != numbers[0]])
    if len(numbers) == 1 and _all_in([part for part in parts if part != numbers[0]], flags, many):
        found.append(Meaning("flag", numbers[0], order=LOOSE))
    if parts and _all_in(parts, words.parts["media"], words.parts["media_also"]):
        found.append(Meaning("media"))
    return tuple(found)


def numbering(word: str) -> tuple[str, ...]:
    """The sequence that numbers responses and has this word, () if none has."""
    return next((row for row in vocabulary().numbering if word in row), ())


def name_parts(name: str) -> list[str]:
    """The parts of a name in small letters; Chinese cut into known words, and a negation joined to what it negates."""
    known = vocabulary().parts
    if plain(name) in known["chosen"] | known["rejected"]:
        return [plain(name)]
    parts: list[str] = []
    for word in (found.lower() for found in _WORDS.findall(name)):
        parts += [word] if word.isascii() else _cut(word)
    for at in range(len(parts) - 1, 0, -1):
        if parts[at - 1] in known["not"] and parts[at] in known["chosen"]:
            parts[at - 1 : at + 1] = ["rejected"]
    return parts


def _cut(word: str) -> list[str]:
    known = frozenset().union(*vocabulary().parts.values(), *vocabulary().numbering)
    parts = []
    while word:
        size = next((size for size in range(len(word), 1, -1) if word[:size] in known), 1)
        parts.append(word[:size])
        word = word[size:]
    return parts


def side_of(part: str) -> str:
    """Which side a word of a name says, "" if none."""
    words = vocabulary().parts
    return "chosen" if part in words["chosen"] else "rejected" if part in words["rejected"] else ""


def _of_side(side: str, rest: list[str]) -> list[Meaning]:
    """What a name is that says better or worse, by its other parts."""
    parts = vocabulary().parts
    base = " ".join(rest)
    if all(part in parts["response"] or part in parts["side_also"] for part in rest):
        found = [Meaning("response", side, base, len(rest))]
        return [*found, Meaning("verdict", order=LOOSE)] if side == "chosen" else found
    if _all_in(rest, parts["score"], parts["score_also"] | parts["response"]):
        return [Meaning("score", side, base, len(rest))]
    if side == "chosen" and _all_in(rest, parts["index"], parts["response"]):
        return [Meaning("best", order=LOOSE)]
    return []


def _numbered(number: str, rest: list[str]) -> list[Meaning]:
    """What a name is that has a letter or number in it, by its other parts."""
    parts = vocabulary().parts
    many, base = parts["response"] | parts["numbered"], " ".join(rest)
    if all(part in many for part in rest):
        first = not rest or not parts["response"].isdisjoint(rest)
        return [Meaning("response", number, base, len(rest) if first else LOOSE)]
    if _all_in(rest, parts["score"], many | parts["score_also"]):
        return [Meaning("score", number, base, len(rest))]
    if _all_in(rest, parts["rank"], many):
        return [Meaning("rank", number, base, len(rest))]
    return []


def _all_in(rest: list[str], some: frozenset[str], others: frozenset[str]) -> bool:
    """Whether at least one of these is in `some`, and all are in either."""
    return not some.isdisjoint(rest) and all(part in some or part in others for part in rest)
