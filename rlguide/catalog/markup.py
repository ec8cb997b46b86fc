"""The ways in which conversations are written as one text (`markup.yaml`)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rlguide.catalog.columns import vocabulary
from rlguide.catalog.yaml_file import read_yaml


@dataclass(frozen=True)
class Style:
    """One of them; the fields are explained in the file."""

    name: str
    headers: re.Pattern[str]
    begin: re.Pattern[str] | None
    ends: tuple[str, ...]
    speakers: dict[str, str]
    weak: frozenset[str]
    preface: bool
    sure: bool


@cache
def styles() -> tuple[Style, ...]:
    """All of `markup.yaml`, in the order in which they are tried."""
    return tuple(
        Style(
            name,
            re.compile(item["headers"]),
            re.compile(item["begin"]) if "begin" in item else None,
            tuple(item.get("ends", ())),
            {**vocabulary().speakers, **item.get("roles", {})},
            frozenset(item.get("weak", ())),
            item.get("preface", False),
            item.get("sure", False),
        )
        for name, item in read_yaml(Path(__file__).with_name("markup.yaml")).items()
    )
