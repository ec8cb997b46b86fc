"""Text that holds a list or an object: JSON, or what Python and numpy print."""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from typing import Any

LONGEST = 1 << 20  # characters of a text that is read as Python
_NO_COMMA = re.compile(r"\}\s*\n\s*\{")  # between the messages of a numpy array that was printed


def unpacked(text: str) -> Any:
    """The list or object that a text holds as JSON or as Python's repr; None if it holds neither."""
    stripped = text.strip()
    if not is_packed(stripped):
        return None
    for candidate in (stripped, _NO_COMMA.sub("}, {", stripped)):
        for read in (json.loads, _printed, _python):
            try:
                value = read(candidate)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            return value if isinstance(value, list | dict) else None
    return None


def is_packed(text: str) -> bool:
    """Whether a text may be a list or an object as JSON, or as Python or numpy print it."""
    return text.lstrip().startswith(("[", "{", "array(["))


def _python(text: str) -> Any:
    if len(text) > LONGEST:
        raise ValueError
    if "array(" not in text:
        return ast.literal_eval(text)
    return ast.literal_eval(_Arrays().visit(ast.parse(text, mode="eval")))


class _Arrays(ast.NodeTransformer):
    """`array([...], dtype=object)`, as numpy prints itself inside of something, to the list."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        is_array = isinstance(node.func, ast.Name) and node.func.id == "array" and len(node.args) == 1
        inner: ast.AST = self.visit(node.args[0]) if is_array else node
        return inner


def _printed(text: str) -> list[Any]:
    """A numpy array of texts or numbers, printed: no commas, which Python would read as one text. Raises ValueError."""
    if len(text) > LONGEST or not (text.startswith("[") and text.endswith("]")):
        raise ValueError
    found: list[Any] = []
    sign = 1
    try:
        for token in tokenize.generate_tokens(io.StringIO(text[1:-1].replace("\n", " ").strip()).readline):
            if token.type in (tokenize.STRING, tokenize.NUMBER):
                value = ast.literal_eval(token.string)
                found.append(-value if sign < 0 else value)
            elif token.string not in ("", "-"):
                raise ValueError
            sign = -1 if token.string == "-" else 1
    except (tokenize.TokenError, SyntaxError, TypeError) as error:
        raise ValueError from error
    if not found or sign < 0:
        raise ValueError
    return found
