"""What the guide says of each key of a config (`hyperparameters.yaml`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rlguide.catalog.yaml_file import read_yaml


@dataclass(frozen=True)
class Hyperparameter:
    """One key: what it does, its range or choices, when to change it, why the default, and where that is from."""

    name: str
    what: str
    range: str | None = None
    when: str | None = None
    why: str | None = None
    source: str | None = None

    @property
    def choices(self) -> tuple[str, ...]:
        """The values to choose from, where `range` lists such."""
        text = self.range or ""
        return tuple(part.strip(' "') for part in text.split(",")) if text and " to " not in text else ()

    def holds(self, value: Any) -> bool:
        """Whether a value lies in the range; True where its ends are not numbers."""
        try:
            low, high = (float(end) for end in (self.range or "").split(" to "))
        except ValueError:
            return True
        return isinstance(value, (int, float)) and low <= value <= high


@cache
def hyperparameters() -> dict[str, Hyperparameter]:
    """All keys of the catalog, by name."""
    return {
        name: Hyperparameter(name, **{key: str(value) for key, value in item.items()})
        for name, item in read_yaml(Path(__file__).with_name("hyperparameters.yaml")).items()
    }
