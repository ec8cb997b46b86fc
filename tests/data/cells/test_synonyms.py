"""A new synonym is one word in columns.yaml: with it rows are read that are not read without."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest

from rlguide.catalog import columns
from rlguide.data.cells import verdicts
from rlguide.data.cells.names import meanings
from rlguide.data.example import BadRow
from rlguide.data.formats.reading import choose_reading
from rlguide.errors import DataError

PROMPT, GOOD, BAD = "Name a tree.", "An oak.", "A stone."
PAIR = {"prompt": PROMPT, "chosen": GOOD, "rejected": BAD}
TWO = {"prompt": PROMPT, "response_a": BAD, "response_b": GOOD}
LIST = {"prompt": PROMPT, "responses": [BAD, GOOD]}
# Where the word is added, and a row that needs it.
WORDS: list[tuple[str, dict[str, Any]]] = [
    ("names.prompt", {"zebra": PROMPT, "chosen": GOOD, "rejected": BAD}),
    ("names.list", {"prompt": PROMPT, "zebra": [BAD, GOOD], "scores": [1, 2]}),
    ("names.scores", {**LIST, "zebra": [1, 2]}),
    ("names.ranks", {**LIST, "zebra": [2, 1]}),
    ("names.best", {**LIST, "zebra": 2}),
    ("names.verdict", {**TWO, "zebra": "b"}),
    ("parts.chosen", {"prompt": PROMPT, "zebra_text": GOOD, "rejected_text": BAD}),
    ("parts.rejected", {"prompt": PROMPT, "chosen": GOOD, "zebra": BAD}),
    ("parts.score", {**TWO, "zebra_a": 1, "zebra_b": 2}),
    ("verdict.nouns", {**TWO, "winner": "zebra b"}),
    ("verdict.wins", {**TWO, "winner": "response b zebra"}),
    ("roles.gpt", PAIR | {side: [{"role": "zebra", "content": PAIR[side]}] for side in ("chosen", "rejected")}),
    ("text_keys", PAIR | {side: [{"role": "assistant", "zebra": PAIR[side]}] for side in ("chosen", "rejected")}),
    ("score_keys", LIST | {"responses": [{"text": BAD, "zebra": 1}, {"text": GOOD, "zebra": 2}]}),
    ("nothing", {**PAIR, "images": "zebra"}),
]


def read(row: dict[str, Any]) -> list[tuple[str, ...]]:
    return [(one.messages[-1].value, *one.responses) for one in choose_reading([row], "file").to_examples(row)]


def forget() -> None:
    for cached in (columns.vocabulary, meanings, verdicts._patterns):
        cached.cache_clear()


@pytest.fixture
def fresh() -> Iterator[None]:
    yield
    forget()


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(("where", "row"), WORDS, ids=[where for where, _ in WORDS])
def test_one_word_more_is_understood(where: str, row: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises((DataError, BadRow)):
        read(row)
    file = deepcopy(columns.read_yaml(columns.Path(columns.__file__).with_name("columns.yaml")))
    words = file
    for key in where.split("."):
        words = words[key]
    words.append("zebra")
    monkeypatch.setattr(columns, "read_yaml", lambda _: file)
    forget()
    assert read(row) == [(PROMPT, GOOD, BAD)]
