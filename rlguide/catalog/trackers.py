"""Where a training can show its metrics (`trackers.yaml`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from rlguide.catalog.yaml_file import read_yaml


@dataclass(frozen=True)
class Tracker:
    """One of them; the fields are the keys of the file."""

    name: str
    where: str
    then: str
    source: str
    offline: Mapping[str, list[str]] = field(default_factory=dict)
    key: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    login: str = ""
    remote: Mapping[str, Any] = field(default_factory=dict)


def stays_here(name: str, config: Mapping[str, Any]) -> bool:
    """Whether the config keeps this tracker, which would send its metrics away by default, on this machine."""
    remote = trackers()[name].remote if name in trackers() else {}
    return bool(remote) and remote["key"] in config and config[remote["key"]] == remote["value"]


def keeps_null(key: str) -> bool:
    """Whether null is a value of this key of a config, and not the same as leaving the key out."""
    return any(item.remote.get("key") == key for item in trackers().values())


@cache
def trackers() -> dict[str, Tracker]:
    """All of them, by the value of report_to."""
    content = read_yaml(Path(__file__).with_name("trackers.yaml"))
    return {name: Tracker(name, **item) for name, item in content.items()}
