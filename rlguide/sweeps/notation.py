"""How a sweep is typed: `--grid KEY=VALUE,...` and `--search KEY=LOW:HIGH[:log]`, read strictly."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from rlguide.engine.config_file import parse_settings
from rlguide.errors import UsageError
from rlguide.sweeps.space import Axis, Choices, Range, check_axes, is_same

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
# What a Chinese keyboard writes in the place of the marks of this notation.
_WIDE = str.maketrans({"，": ",", "、": ",", "：": ":", "＝": "="})
_LOG = "log"


def parse_axes(kind: str, texts: Sequence[str]) -> tuple[Axis, ...]:
    """The keys that are swept, in the order in which they were given.

    Args:
        kind: "grid" (values only) or "search" (values or ranges).
        texts: each KEY=VALUE,VALUE or KEY=LOW:HIGH or KEY=LOW:HIGH:log.

    Raises:
        UsageError: one that is malformed, a key twice, or a grid of too many trials.
    """
    axes = tuple(_axis(kind, text) for text in texts)
    check_axes(kind, axes)
    return axes


def _axis(kind: str, text: str) -> Axis:
    key, equals, said = text.partition("=")
    key = key.strip()
    if any(ord(mark) in _WIDE for mark in _outside_quotes(text)):
        raise UsageError(
            f"--{kind} {text}: full-width marks do not separate values",
            f"write --{kind} {shlex.quote(text.translate(_WIDE))}",
        )
    if not equals or not _KEY.fullmatch(key) or not said.strip():
        example = "pref_beta=0.05,0.1" if kind == "grid" else "pref_beta=0.01:0.5:log"
        raise UsageError(f"--{kind} {text}: not KEY=VALUES", f"write it as --{kind} {example}")
    if ":" in _outside_quotes(said):
        if kind == "grid":
            raise UsageError(
                f"--grid {text}: a grid has single values, and no ranges",
                f"name them: {key}=A,B,C; or use --search with --trials",
            )
        return _range(text, key, said.strip())
    return _choices(kind, text, key, said)


def _choices(kind: str, text: str, key: str, said: str) -> Choices:
    parts = _parts(said)
    if not all(part.strip() for part in parts):
        raise UsageError(f"--{kind} {text}: a value is missing between two commas", f'write --{kind} {key}=A,B; or ""')
    values: list[Any] = []
    for part in parts:
        value = parse_settings([f"{key}={part}"])[key]
        if not isinstance(value, str | int | float | None) or (isinstance(value, float) and not math.isfinite(value)):
            raise UsageError(f"--{kind} {text}: {part.strip()} is no single value", "give text, numbers, true or false")
        if any(is_same(value, other) for other in values):
            raise UsageError(f"--{kind} {text}: {part.strip()} is given twice", "give each value once")
        values.append(value)
    return Choices(key, tuple(values))


def _range(text: str, key: str, said: str) -> Range:
    low, high, *more = said.split(":")
    ends = [_number(part) for part in (low, high)]
    if None in ends or more not in ([], [_LOG]):
        raise UsageError(
            f"--search {text}: not a range", f"write {key}=LOW:HIGH or {key}=LOW:HIGH:log; text with a colon in quotes"
        )
    first, last = (end for end in ends if end is not None)
    if not first < last:
        raise UsageError(f"--search {text}: the lower end is not below the upper one", f"write {key}=LOW:HIGH")
    if more and first <= 0:
        raise UsageError(f"--search {text}: a logarithm needs a lower end above 0", "raise it, or leave :log out")
    is_whole = isinstance(first, int) and isinstance(last, int)
    return (
        Range(key, first, last, bool(more), is_whole) if is_whole else Range(key, float(first), float(last), bool(more))
    )


def _number(text: str) -> int | float | None:
    """A number as it is written; None for anything else, and for what is not finite."""
    if _WHOLE.fullmatch(text):
        return int(text)
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    return value if math.isfinite(value) else None


def _parts(said: str) -> list[str]:
    """The values between commas; commas in quotes are part of a value."""
    marks = _outside_quotes(said)
    cuts = [-1, *(place for place, mark in enumerate(marks) if mark == ","), len(said)]
    return [said[start + 1 : end] for start, end in pairwise(cuts)]


def _outside_quotes(text: str) -> str:
    """The text with what stands in quotes blanked, so that places stay the same."""
    found, quote = "", ""
    for mark in text:
        if quote:
            found, quote = found + " ", "" if mark == quote else quote
        elif mark in "\"'":
            found, quote = found + " ", mark
        else:
            found += mark
    return found
