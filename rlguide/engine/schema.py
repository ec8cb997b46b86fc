"""The engine's own argument table: which keys a config may hold, their types, and the chat templates.

It is read from LLaMA-Factory's argument classes once (about 10 s of imports) and cached, so that every later
check is instant and follows the engine that is really installed.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlguide import __version__
from rlguide.console import console
from rlguide.engine.find import Engine
from rlguide.engine.job import NO_GPU, ask_worker
from rlguide.errors import DataError, EngineError, RlguideError, did_you_mean
from rlguide.workspace import read_json, user_cache, write_json

_KIND_NAMES = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "list": "a list",
    "dict": "a mapping",
}


@dataclass(frozen=True)
class Field:
    """One key of a config. `kinds` are JSON kinds (bool int float str list dict none); empty: anything."""

    name: str
    kinds: tuple[str, ...]
    choices: tuple[Any, ...]
    default: Any
    help: str

    def problem(self, value: Any) -> str | None:
        """What is wrong with `value` for this key, or None. Nothing is converted: the engine converts nothing."""
        if not self.kinds or _fits(value, self.kinds):
            if self.choices and value is not None and value not in self.choices:
                near = did_you_mean(str(value), [str(choice) for choice in self.choices])
                return f"{self.name} is {value!r}, but must be one of {', '.join(map(str, self.choices))}{near}"
            return None
        wanted = " or ".join(_KIND_NAMES[kind] for kind in self.kinds if kind in _KIND_NAMES)
        quotes = " (yes, no, on and off are true or false in YAML unless in quotes)" if isinstance(value, bool) else ""
        return f"{self.name} is {value!r}, but must be {wanted}{quotes}"


def _fits(value: Any, kinds: tuple[str, ...]) -> bool:
    if value is None:
        return "none" in kinds
    if isinstance(value, bool):
        return "bool" in kinds
    if isinstance(value, int):
        return "int" in kinds or "float" in kinds
    if isinstance(value, float):
        return "float" in kinds or ("int" in kinds and value.is_integer() and "str" in kinds)
    names: dict[type, str] = {str: "str", list: "list", dict: "dict"}
    return names.get(type(value), "") in kinds


@dataclass(frozen=True)
class Schema:
    """Keys, chat templates, and the table from model name to template of one engine."""

    fields: dict[str, Field]
    templates: tuple[str, ...]
    model_templates: dict[str, str]

    def problems(self, config: dict[str, Any]) -> list[str]:
        """Every unknown key and ill-typed value in `config`, in its order; empty when all is well."""
        found = []
        for key, value in config.items():
            field = self.fields.get(key)
            if field is None:
                near = did_you_mean(key, list(self.fields))
                found.append(f"LLaMA-Factory has no key {key!r}{near}")
            elif problem := field.problem(value):
                found.append(problem)
        return found


def schema_cache(engine: Engine) -> Path:
    """Where the table of this engine is cached; the name changes with its path and versions."""
    identity = json.dumps([str(engine.python), sorted(engine.versions.items()), __version__])
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    return user_cache() / "engines" / f"{digest}.json"


def load_schema(engine: Engine) -> Schema:
    """The engine's table, from the cache or read now (about 10 s, said on stderr).

    Raises:
        EngineError: LLaMA-Factory does not import; the message holds the cause.
    """
    cache = schema_cache(engine)
    with suppress(DataError, *_NOT_A_TABLE):  # not there yet, or damaged: read it again
        return _schema(read_json(cache))
    with console(stderr=True).status("reading LLaMA-Factory's argument table (once for this engine, about 10 s)"):
        if not console(stderr=True).is_terminal:
            console(stderr=True).print("reading LLaMA-Factory's argument table (once for this engine, about 10 s)")
        document = ask_worker(engine, "dump_schema", NO_GPU)
    try:
        schema = _schema(document)
    except _NOT_A_TABLE as error:
        raise EngineError(
            f"the engine {engine.python} printed no argument table ({type(error).__name__}: {error})",
            "run `rlguide doctor`, or name another engine with --engine",
        ) from error
    with suppress(RlguideError):  # a read-only home: it is read again next time
        write_json(cache, document)
    return schema


# What reading something else as a table raises.
_NOT_A_TABLE = (ValueError, LookupError, TypeError, AttributeError)


def _schema(document: dict[str, Any]) -> Schema:
    fields = {
        name: Field(name, _texts(item["kinds"]), tuple(item["choices"]), item["default"], str(item["help"] or ""))
        for name, item in document["fields"].items()
    }
    table = dict(document["model_templates"])
    _texts([*table, *table.values()])
    return Schema(fields, _texts(document["templates"]), table)


def _texts(values: list[str]) -> tuple[str, ...]:
    """Raises TypeError unless it is a list of texts."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError("not a list of texts")
    return tuple(values)
