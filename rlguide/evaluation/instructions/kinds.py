"""The kinds of instructions (`kinds.yaml`), and whether an instruction's arguments are right for its kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rlguide.catalog.yaml_file import read_yaml
from rlguide.data.curate.language import LANGUAGES

LIMITS = ("at_least", "at_most")


@dataclass(frozen=True)
class Kind:
    """One kind; the fields are explained in the file."""

    name: str
    languages: tuple[str, ...]
    arguments: tuple[str, ...]
    description: str


@cache
def kinds() -> dict[str, Kind]:
    """All kinds, by name."""
    return {
        name: Kind(name, tuple(item["languages"]), tuple(item["arguments"]), item["description"])
        for name, item in _file()["kinds"].items()
    }


def wrong_arguments(kind: str, arguments: Mapping[str, Any]) -> str:
    """What is wrong with the arguments of an instruction of this kind; "" if nothing is.

    All arguments of the kind must be there, but for `at_least` and `at_most`, of which one is enough.
    """
    if kind not in kinds():
        return f"there is no kind {kind!r}"
    known = kinds()[kind].arguments
    if unknown := sorted(set(arguments) - set(known)):
        return f"{kind} has no argument {unknown[0]!r}"
    if missing := [name for name in known if name not in arguments and name not in LIMITS]:
        return f"{kind} needs the argument {missing[0]!r}"
    limits = [arguments[name] for name in LIMITS if name in arguments]
    if LIMITS[0] in known and not limits:
        return f"{kind} needs at_least, at_most or both"
    for name, value in arguments.items():
        what = _file()["arguments"][name]
        if not _is(what, value):
            return f"{name} of {kind} is no {what}: {value!r}"
    return f"{kind} has at_least above at_most" if len(limits) == 2 and limits[0] > limits[1] else ""


@cache
def _file() -> dict[str, Any]:
    found: dict[str, Any] = read_yaml(Path(__file__).with_name("kinds.yaml"))
    return found


def _is(what: str, value: Any) -> bool:
    match what:
        case "count":
            return isinstance(value, int) and not isinstance(value, bool) and value >= 0
        case "character":
            return isinstance(value, str) and len(value) == 1
        case "language":
            return value in LANGUAGES
        case "texts":
            return isinstance(value, list | tuple) and bool(value) and all(_is("text", item) for item in value)
        case _:
            return isinstance(value, str) and bool(value.strip())
