"""Keys that LLaMA-Factory takes and then ignores, or fails on after its imports (`engine_keys.yaml`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
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
    return value in wanted


@dataclass(frozen=True)
class EngineKeys:
    """The file: rules; the distribution that a key needs; by key and value, those of which the value needs one."""

    rules: tuple[Rule, ...]
    packages: dict[str, str]
    values: dict[str, dict[str, tuple[str, ...]]]


@cache
def engine_keys() -> EngineKeys:
    """All of `engine_keys.yaml`."""
    content = read_yaml(Path(__file__).with_name("engine_keys.yaml"))
    rules = tuple(_rule(item, content["true_by_default"]) for item in content["rules"])
    values = {
        key: {value: tuple(packages) for value, packages in table.items()} for key, table in content["values"].items()
    }
    return EngineKeys(rules, dict(content["packages"]), values)


def _rule(item: dict[str, Any], true_by_default: list[str]) -> Rule:
    keys, of_methods = tuple(item["keys"]), tuple(item.get("methods", ()))
    of_keys = tuple(key for key in keys if key in true_by_default)
    return Rule(**{**item, "keys": keys, "methods": of_methods, "true_by_default": of_keys})
