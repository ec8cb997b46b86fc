"""A renderer of the part of Go's text/template that `policy.modelfile` writes, and a parser of Modelfiles.

No ollama is needed: what the two do is taken from ollama's docs (modelfile.md, template.md) and from text/template's.
"""

from __future__ import annotations

import re
from typing import Any

ACTION = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
Node = tuple[Any, ...]


def parse_modelfile(text: str) -> list[tuple[str, str]]:
    """(command, value) of each instruction; values in triple quotation marks may have many lines."""
    found: list[tuple[str, str]] = []
    rest = text
    while rest:
        line, _, after = rest.partition("\n")
        if not line.strip() or line.startswith("#"):
            rest = after
            continue
        command, _, value = line.partition(" ")
        if command == "PARAMETER":
            name, _, value = value.partition(" ")
            command = f"PARAMETER {name}"
        if value.startswith('"""'):
            start = rest.index('"""') + 3
            end = re.compile(r'"""[ \t]*(?:\n|\Z)').search(rest, start)  # at the end of a line only
            assert end is not None, "a text without an end"
            value, after = rest[start : end.start()], rest[end.end() :]
        found.append((command, value))
        rest = after
    return found


def render(template: str, system: str, messages: list[dict[str, str]]) -> str:
    """What ollama makes of a conversation: `.System` is all system messages, which stand in `.Messages`, too."""
    pieces = ACTION.split(template)
    tree, rest = _block([("action" if at % 2 else "text", piece) for at, piece in enumerate(pieces)])
    assert not rest
    return _run(tree, {".System": system, ".Messages": messages, "$.Messages": messages})


def _block(pieces: list[tuple[str, str]]) -> tuple[list[Node], list[tuple[str, str]]]:
    nodes: list[Node] = []
    while pieces:
        (kind, text), *rest = pieces
        words = text.strip()
        if kind == "text":
            nodes.append(("text", text))
        elif words == "end" or words.startswith("else"):
            return nodes, pieces
        elif words.startswith("range "):
            body, (_, *rest) = _block(rest)
            names = re.fullmatch(r"range (\$\w+), (\$\w+) := (\S+)", words)
            assert names is not None, words
            nodes.append(("range", *names.groups(), body))
        elif words.startswith("if "):
            branches = []
            while True:
                body, (ending, *rest) = _block(rest)
                branches.append((words.partition("if ")[2], body))
                words = ending[1].strip()
                if words == "end":
                    break
            nodes.append(("if", branches))
        else:
            nodes.append(("value", words))
        pieces = rest
    return nodes, []


def _run(nodes: list[Node], scope: dict[str, Any]) -> str:
    out = ""
    for kind, *what in nodes:
        if kind == "text":
            out += what[0]
        elif kind == "range":
            index, item, over, body = what
            for place, value in enumerate(_value(over, scope)):
                scope |= {index: place, item: value}
                out += _run(body, scope)
        elif kind == "if":
            out += next((_run(body, scope) for condition, body in what[0] if _value(condition, scope)), "")
        elif set_to := re.fullmatch(r"(\$\w+) :?= (.+)", what[0]):
            scope[set_to[1]] = _value(set_to[2], scope)
        else:
            out += _value(what[0], scope)
    return out


def _value(words: str, scope: dict[str, Any]) -> Any:
    if words == "eq (len (slice $.Messages $i)) 1":
        return len(scope["$.Messages"][scope["$i"] :]) == 1
    if compared := re.fullmatch(r'eq (\S+) "(\w*)"', words):
        return _value(compared[1], scope) == compared[2]
    if words == '""':
        return ""
    if field := re.fullmatch(r"(\$\w+)\.(Role|Content)", words):
        return scope[field[1]][field[2].lower()]
    return scope[words]
