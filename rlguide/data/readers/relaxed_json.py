"""JSON as people write it (comments, a comma too many, Python's quotes and names) to JSON, where one can mean only one.

Only what stands outside of strings is changed, and strings in single quotes, which are Python's. The result is parsed
as strictly as any other, so what is not JSON after that was damaged, and stays an error.
"""

from __future__ import annotations

import ast
import io
import json
import re
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import IO, Any

COMMENTS = "comments"
COMMAS = "commas before a closing bracket"
PYTHON = "Python's quotes and names (True, None)"
INNER = "control characters in texts"
CONTROLS = "zero bytes or record separators between the records"

# Possessive, and an open string goes on to the end: linear in the length of any text.
_TOKEN = re.compile(
    r"""(?P<double>"(?:[^"\\]|\\.)*+"?)
    |(?P<single>'(?:[^'\\]|\\.)*+'?)
    |(?P<comment>//[^\n]*+|\#[^\n]*+|/\*(?:[^*]|\*(?!/))*+(?:\*/)?)
    |(?P<name>\b(?:True|False|None)\b)
    |(?P<comma>,)
    |(?P<control>[\x00\x1e\ufeff]++)""",
    re.VERBOSE | re.DOTALL,
)
_CONTROL = re.compile(r"[\x00-\x09\x0b\x0c\x0e-\x1f]")  # not line ends: those mean that a quote is missing
_NAMES = {"True": "true", "False": "false", "None": "null"}


def strict_json(text: str) -> tuple[str, frozenset[str]]:
    """The text as JSON with the same lines, and what was not JSON in it. Raises ValueError for a broken string."""
    parts, found, end = list[str](), set[str](), 0
    is_python = any(match["single"] or match["name"] for match in _TOKEN.finditer(text))
    pending = -1  # the comma that nothing but blanks and comments follows so far
    for match in _TOKEN.finditer(text):
        between = text[end : match.start()]
        if between.strip():
            if pending >= 0 and between.lstrip()[0] in "]}":
                parts[pending] = ""
                found.add(COMMAS)
            pending = -1
        parts.append(between)
        end = match.end()
        kind, token = match.lastgroup, match[0]
        if kind == "comma":
            pending = len(parts)
            parts.append(token)
        elif kind == "comment":
            found.add(COMMENTS)
            parts.append("\n" * token.count("\n"))
        elif kind == "control":
            found.add(CONTROLS)
            parts.append(" ")
        else:
            pending = -1
            if kind == "double" and not is_python:
                repaired = _CONTROL.sub(lambda one: f"\\u{ord(one[0]):04x}", token)
                found.update([INNER] if repaired != token else [])
                parts.append(repaired)
            else:
                parts.append(_NAMES.get(token) or _quoted(token))
    rest = text[end:]
    if pending >= 0 and rest.lstrip()[:1] in ("]", "}"):
        parts[pending] = ""
        found.add(COMMAS)
    if is_python:
        found.add(PYTHON)
    return "".join([*parts, rest]), frozenset(found)


def _quoted(token: str) -> str:
    """A string of Python as one of JSON. Only this one literal is ever evaluated. Raises ValueError if it is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a backslash before any other letter
            value = ast.literal_eval(token)
    except (SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(f"a string is broken: {error}") from None
    return json.dumps(value)


def loads(text: str) -> tuple[Any, frozenset[str]]:
    """The value of a text in relaxed JSON, and what was not JSON in it. Raises ValueError, RecursionError."""
    repaired, found = strict_json(text)
    return json.loads(repaired), found


def opener(text: str) -> AbstractContextManager[IO[bytes]]:
    """A stream of a repaired text."""
    return nullcontext(io.BytesIO(text.encode("utf-8", "surrogateescape")))


def said(found: frozenset[str]) -> Iterator[str]:
    """The line that tells a person what was not JSON."""
    if found:
        yield f"read although it is not strictly JSON: it has {' and '.join(sorted(found))}"
