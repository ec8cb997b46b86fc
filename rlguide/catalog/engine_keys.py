"""Keys that LLaMA-Factory takes and then ignores, or fails on after its imports (`engine_keys.yaml`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from rlguide.catalog.yaml_file import read_yaml


@dataclass(frozen=True)
class Rule:
    """What the engine does with some keys, for some methods and beside some other keys; the fields of the file."""

    keys: tuple[str, ...]
    does: str
    why: str
    source: str
    methods: tuple[str, ...] = ()
    when: Mapping[str, Any] = field(default_factory=dict)
    fix: str = "remove it"

    def met(self, config: Mapping[str, Any], method: str) -> list[str]:
        """The keys of a config that meet this rule."""
        if self.methods and method not in self.methods:
            return []
        for key, wanted in self.when.items():
            value = config.get(key)
            if not value if wanted == "set" else value not in wanted:
                return []
        return [key for key in self.keys if config.get(key)]


@dataclass(frozen=True)
class EngineKeys:
    """The file: rules; the distribution that a key needs; those of which a tracker (`report_to`) needs one."""

    rules: tuple[Rule, ...]
    packages: dict[str, str]
    trackers: dict[str, tuple[str, ...]]


@cache
def engine_keys() -> EngineKeys:
    """All of `engine_keys.yaml`."""
    values = read_yaml(Path(__file__).with_name("engine_keys.yaml"))
    rules = (
        Rule(**{**item, "keys": tuple(item["keys"]), "methods": tuple(item.get("methods", ()))})
        for item in values["rules"]
    )
    trackers = {name: tuple(packages) for name, packages in values["trackers"].items()}
    return EngineKeys(tuple(rules), dict(values["packages"]), trackers)
