"""Keys that LLaMA-Factory takes and then ignores, or fails on after its imports (`engine_keys.yaml`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from rlguide.catalog.yaml_file import read_yaml
from rlguide.engine.capabilities import applies


@dataclass(frozen=True)
class Rule:
    """What the engine does with some keys, for some methods, versions and beside some other keys; as in the file.

    Attributes:
        true_by_default: those of its keys that false sets, not true.
    """

    keys: tuple[str, ...]
    does: str
    why: str
    source: str
    methods: tuple[str, ...] = ()
    when: Mapping[str, Any] = field(default_factory=dict)
    where: Mapping[str, str] = field(default_factory=dict)
    fix: str = "remove it"
    true_by_default: tuple[str, ...] = ()

    def met(
        self, config: Mapping[str, Any], method: str, versions: Mapping[str, str], later: Collection[str] = ()
    ) -> list[str]:
        """The keys of a config that meet this rule.

        Args:
            versions: what the engine has, by distribution.
            later: keys that get their values later, so that nothing can be said of them yet.
        """
        if (self.methods and method not in self.methods) or not applies(self.where, versions):
            return []
        for key, wanted in self.when.items():
            value = config.get(key)
            if key in later or not _fits(value, wanted):
                return []
        return [key for key in self.keys if self._sets(key, config.get(key))]

    def _sets(self, key: str, value: Any) -> bool:
        return value is False if key in self.true_by_default else bool(value)


def _fits(value: Any, wanted: Any) -> bool:
    if wanted == "set":
        return bool(value)
    if wanted == "not set":
        return not value
    if isinstance(wanted, Mapping):
        return value not in wanted["not"]
    return any(item in wanted for item in (value if isinstance(value, list) else [value]))


@dataclass(frozen=True)
class Guarded:
    """Keys that no record decides, because they send something away or write beside the run's folder.

    Attributes:
        sends, writes: their names; a `*` stands for any text.
        harmless: values that send nothing, by key.
        inside: by key, the names of settings in its value that send or write.
        fixed: keys whose value is part of what is trained.
    """

    sends: tuple[str, ...]
    writes: tuple[str, ...]
    harmless: dict[str, list[Any]]
    inside: dict[str, list[str]]
    fixed: tuple[str, ...]

    def holds(self, key: str) -> bool:
        """Whether it is one of these keys."""
        return key in self.inside or self.is_path(key) or self._is_sending(key)

    def is_path(self, key: str) -> bool:
        """Whether the engine writes to the path that this key holds."""
        return key in self.writes

    def is_sent(self, key: str, value: Any) -> bool:
        """Whether this value of a key sends something away."""
        if not value or not self._is_sending(key):
            return False
        values = value if isinstance(value, list) else [value]
        return not all(item in self.harmless.get(key, ()) for item in values)

    def settings_inside(self, key: str, value: Any) -> list[str]:
        """The settings in the value of a key, at any depth, that send or write; those that are switched off are not."""
        found: list[str] = []
        waiting = [value] if key in self.inside else []
        while waiting:
            item = waiting.pop()
            for name, inner in item.items() if isinstance(item, Mapping) else ():
                is_off = isinstance(inner, Mapping) and not inner.get("enabled", True)
                if name in self.inside[key] and inner and not is_off:
                    found.append(str(name))
                waiting.append(inner)
        return found

    def _is_sending(self, key: str) -> bool:
        return not self.is_path(key) and any(fnmatchcase(key, pattern) for pattern in self.sends)


@dataclass(frozen=True)
class EngineKeys:
    """The file: rules; the distribution that a key needs; by key and value, those of which it needs one; guards."""

    rules: tuple[Rule, ...]
    packages: dict[str, str]
    values: dict[str, dict[str, tuple[str, ...]]]
    guarded: Guarded


@cache
def engine_keys() -> EngineKeys:
    """All of `engine_keys.yaml`."""
    content = read_yaml(Path(__file__).with_name("engine_keys.yaml"))
    rules = tuple(_rule(item, content["true_by_default"]) for item in content["rules"])
    values = {
        key: {value: tuple(packages) for value, packages in table.items()} for key, table in content["values"].items()
    }
    lists = {name: tuple(content["guarded"][name]) for name in ("sends", "writes", "fixed")}
    guarded = Guarded(**{**content["guarded"], **lists})
    return EngineKeys(rules, dict(content["packages"]), values, guarded)


def _rule(item: dict[str, Any], true_by_default: list[str]) -> Rule:
    keys, of_methods = tuple(item["keys"]), tuple(item.get("methods", ()))
    of_keys = tuple(key for key in keys if key in true_by_default)
    return Rule(**{**item, "keys": keys, "methods": of_methods, "true_by_default": of_keys})
