"""The form of a response: tables, JSON, titles, two responses; how its lines and paragraphs begin."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from rlguide.evaluation.instructions.counts import lines

_RULE = re.compile(r"[ \t]*:?-+:?[ \t]*")
_FENCES = ("```json", "```Json", "```JSON", "```")


def title(response: str) -> bool:
    """Whether a line holds <<...>> around something."""
    for line in response.split("\n"):
        opens, closes = line.find("<<"), line.rfind(">>")
        if opens >= 0 and opens + 2 < closes and line[opens:closes].lstrip("<").rstrip(">").strip():
            return True
    return False


def table(response: str, columns: int) -> bool:
    """Whether a Markdown table of so many columns has a heading and a row."""
    rows = [_cells(line) for line in response.split("\n")]
    for heading, rule, row in zip(rows, rows[1:], rows[2:], strict=False):
        if len(heading) == len(rule) == len(row) == columns and all(map(_RULE.fullmatch, rule)):
            return True
    return False


def _cells(line: str) -> list[str]:
    """The cells of a line of a table; none if it is no such line."""
    line = line.strip()
    return line.removeprefix("|").removesuffix("|").split("|") if "|" in line else []


def as_json(response: str) -> bool:
    """Whether the whole response is JSON."""
    return _json(response) is not ...


def json_keys(response: str, keys: Sequence[str]) -> bool:
    """Whether it is an object with exactly these keys."""
    found = _json(response)
    return isinstance(found, dict) and set(found) == set(keys)


def _json(response: str) -> Any:
    """The JSON in a response, within a code fence or not; ... if it is none."""
    text = response.strip()
    for fence in _FENCES:
        text = text.removeprefix(fence)
    try:
        return json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return ...


def two_responses(response: str) -> bool:
    """Whether ****** divides two responses that differ."""
    parts = [part.strip() for part in response.split("******")]
    found = [part for part in parts if part]
    return all(parts[1:-1]) and len(found) == 2 and found[0] != found[1]


def line_prefix(response: str, prefix: str) -> bool:
    """Whether every line begins so."""
    return all(line.lstrip().startswith(prefix) for line in lines(response))


def first_word(response: str, paragraphs: int, nth: int, word: str) -> bool:
    """Whether there are so many paragraphs and the nth begins with the word.

    As in IFEval paragraphs stand between two newlines in a row, blank ones do not count for their number but do for
    the place, and a word ends at . , ? ! or a quotation mark.
    """
    parts = response.split("\n\n")
    if sum(bool(part.strip()) for part in parts) != paragraphs or not 0 < nth <= paragraphs:
        return False
    start = parts[nth - 1].split()
    return bool(start) and re.split(r"[.,?!'\"]", start[0].lstrip("'").lstrip('"'))[0].lower() == word.lower()
