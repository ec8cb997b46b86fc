"""What is said of each thing that can be wrong with a training (`diagnosis.yaml`): words, thresholds, sources.

How a rule looks at the figures of a run is a function in `runs/diagnosis`, one for each entry of that file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from rlguide.catalog.yaml_file import read_yaml

LEVELS = ("error", "warning", "note")  # the gravest first


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        level: "error" where the result is not what was asked for, "warning", or "note".
        title: what is wrong, in a few words.
        seen, means, fix: what was seen, what that most likely means, what to change; `{name}` stands for a value that
            the rule's function saw.
        source: of the thresholds.
        at: the thresholds by name.
        settings: keys of the config to change: a value, or {times: N} of the one that the run had.
        covers: rules that find what follows from this, and are not to be told beside it.
    """

    name: str
    level: Literal["error", "warning", "note"]
    title: str
    seen: str
    means: str
    fix: str
    source: str
    at: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    covers: tuple[str, ...] = ()


@cache
def diagnosis_rules() -> dict[str, Rule]:
    """All rules by name, in the order of the file."""
    found = {}
    for name, item in read_yaml(Path(__file__).with_name("diagnosis.yaml")).items():
        found[name] = Rule(name, **{**item, "covers": tuple(item.get("covers", ()))})
    return found
