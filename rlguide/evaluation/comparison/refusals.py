"""Whether a response declines what was asked, by how it begins (`catalog/refusals.yaml`)."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from rlguide import catalog
from rlguide.catalog.yaml_file import read_yaml

REFUSALS = Path(catalog.__file__).with_name("refusals.yaml")


def is_refusal(text: str) -> bool:
    """Whether a response, in English or Chinese, begins as a refusal does.

    No judgement of what follows: a response that declines first and helps then counts as a refusal. How often that is
    right is in `tests/evaluation/comparison/refusals.yaml`.
    """
    pattern, within = _pattern()
    return pattern.search(text.lstrip()[:within].lower().replace("\u2019", "'")) is not None


@cache
def _pattern() -> tuple[re.Pattern[str], int]:
    file = read_yaml(REFUSALS)
    return re.compile("|".join(f"(?:{part})" for part in (*file["english"], *file["chinese"]))), int(file["within"])
