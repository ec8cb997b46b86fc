"""What the guide says of each key of a config (`hyperparameters.yaml`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rlguide.catalog.yaml_file import read_yaml


@dataclass(frozen=True)
class Hyperparameter:
    """One key: what it does, the range that makes sense, when to change it, why the default, and where that is from."""

    name: str
    what: str
    range: str | None = None
    when: str | None = None
    why: str | None = None
    source: str | None = None


@cache
def hyperparameters() -> dict[str, Hyperparameter]:
    """All keys of the catalog, by name."""
    return {
        name: Hyperparameter(name, **{key: str(value) for key, value in item.items()})
        for name, item in read_yaml(Path(__file__).with_name("hyperparameters.yaml")).items()
    }
