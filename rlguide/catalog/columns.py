"""What columns, parts of their names, labels and speakers are called (`columns.yaml`)."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rlguide.catalog.yaml_file import read_yaml


def plain(name: Any) -> str:
    """A name in small letters, without signs: `Chosen-Response` -> `chosenresponse`."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", str(name)).lower()))


@dataclass(frozen=True)
class Vocabulary:
    """The file, ready to be looked up; the fields are explained there."""

    names: dict[str, dict[str, int]]  # role -> plain name -> place among its synonyms
    not_pieces: frozenset[str]
    parts: dict[str, frozenset[str]]
    sure_names: frozenset[str]
    header_words: frozenset[str]
    chinese_header_words: tuple[str, ...]
    numbering: tuple[tuple[str, ...], ...]
    labels: dict[str, bool]
    ties: frozenset[str]
    verdict: dict[str, tuple[str, ...]]
    strengths: frozenset[str]
    first_is_one: frozenset[str]
    nothing: frozenset[str]
    role_keys: tuple[str, ...]
    signature_keys: tuple[str, ...]
    text_keys: tuple[str, ...]
    messages_keys: tuple[str, ...]
    speakers: dict[str, str]  # what a speaker is called -> human, gpt, system or tool
    score_keys: tuple[str, ...]
    rank_keys: tuple[str, ...]


@cache
def vocabulary() -> Vocabulary:
    """All of `columns.yaml`."""
    file = read_yaml(Path(__file__).with_name("columns.yaml"))

    def some(key: str) -> tuple[str, ...]:
        return tuple(file[key])

    def names(key: str) -> frozenset[str]:
        return frozenset(map(plain, file[key]))

    return Vocabulary(
        names={
            role: {plain(name): place for place, name in reversed(list(enumerate(found)))}
            for role, found in file["names"].items()
        },
        not_pieces=names("not_pieces"),
        parts={part: frozenset(words) for part, words in file["parts"].items()},
        sure_names=frozenset(file["sure_names"]),
        header_words=frozenset(file["header_words"]),
        chinese_header_words=some("chinese_header_words"),
        numbering=tuple(map(tuple, file["numbering"])),
        labels={**dict.fromkeys(file["good"], True), **dict.fromkeys(file["bad"], False)},
        ties=frozenset(file["ties"]),
        verdict={part: tuple(words) for part, words in file["verdict"].items()},
        strengths=names("strengths"),
        first_is_one=names("first_is_one"),
        nothing=frozenset(file["nothing"]),
        role_keys=some("role_keys"),
        signature_keys=some("signature_keys"),
        text_keys=some("text_keys"),
        messages_keys=some("messages_keys"),
        speakers={name: role for role, found in file["roles"].items() for name in found},
        score_keys=some("score_keys"),
        rank_keys=some("rank_keys"),
    )
