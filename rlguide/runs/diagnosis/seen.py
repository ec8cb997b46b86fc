"""What a rule saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Seen:
    """What a rule saw in the figures of a run.

    Attributes:
        step: where; None of the whole run or its data.
        values: for the words of the rule.
        settings: keys to change, instead of those that the catalog names; None: those of the catalog.
        level: instead of that of the catalog; None: that of the catalog.
    """

    step: int | None
    values: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] | None = None
    level: str | None = None
