"""The words of the pages in other languages (`zh.yaml`): texts of templates, and sentences that the code makes."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

LANGUAGES = ("en", "zh")
_LONGEST = 2000  # characters of a sentence that is looked up: in a longer one the search for many values is slow
_BETWEEN = "; "  # two sentences
_FIELD = re.compile(r"\{(\w+)(?:[:!][^{}]*)?\}")


class Words:
    """The words of one language: of its file, the texts of templates and the sentences that the code makes.

    A key is the English text. `{name}` in it stands for a value, so that a sentence is also found that the code has
    made with values.
    """

    def __init__(self, language: str) -> None:
        self._is_english = language == "en"
        self._texts, self._sentences, self._patterns = ({}, {}, ()) if self._is_english else _read(language)

    def text(self, english: str, **values: object) -> str:
        """A text of a template, in which `{name}` is a value; in English where there is no other."""
        return _filled(self._texts.get(english, english), {name: str(value) for name, value in values.items()})

    def sentence(self, english: str) -> str | None:
        """A sentence that the code made, in this language; None where there is no text for it.

        Of several with "; " between them, each is looked up, as is a sentence that is a value in another.
        """
        return english if self._is_english else self._found(english, depth=2)

    def _found(self, english: str, depth: int) -> str | None:
        if english in self._sentences:
            return self._sentences[english]
        if depth < 0 or len(english) > _LONGEST:
            return None
        return (
            self._filled_in(english, depth, is_one=True)
            or self._joined(english, depth)
            or (self._filled_in(english, depth, is_one=False))
        )

    def _filled_in(self, english: str, depth: int, is_one: bool) -> str | None:
        """The first pattern that fits. `is_one`: of one sentence, so that no value has another in it."""
        for pattern, text in self._patterns:
            found = pattern.fullmatch(english)
            values = found.groupdict() if found else {}
            if found and not (is_one and any(_BETWEEN in value for value in values.values())):
                shown = {name: self._found(value, depth - 1) or value for name, value in values.items()}
                return _filled(text, shown)
        return None

    def _joined(self, english: str, depth: int) -> str | None:
        """Several sentences, if there is a text for each."""
        parts = [self._found(part, depth - 1) for part in english.split(_BETWEEN)]
        return "；".join(filter(None, parts)) if len(parts) > 1 and None not in parts else None


_Read = tuple[dict[str, str], dict[str, str], tuple[tuple[re.Pattern[str], str], ...]]


@cache
def _read(language: str) -> _Read:
    """Of the file of a language: texts of templates; sentences; those with values, as patterns, the longest first."""
    groups = texts_of(language)
    sentences = {key: text for name, group in groups.items() if name != "texts" for key, text in group.items()}
    patterns = sorted((key for key in sentences if _FIELD.search(key)), key=lambda key: -len(_FIELD.sub("", key)))
    return groups["texts"], sentences, tuple((_pattern(key), sentences[key]) for key in patterns)


def texts_of(language: str) -> dict[str, dict[str, str]]:
    """The file of a language: by group, its texts by their English."""
    import yaml

    found: dict[str, dict[str, str]] = yaml.safe_load(
        Path(__file__).with_name(f"{language}.yaml").read_text(encoding="utf-8")
    )
    return found


def _filled(text: str, values: dict[str, str]) -> str:
    return _FIELD.sub(lambda found: values[found[1]], text)


def _pattern(key: str) -> re.Pattern[str]:
    parts, seen = [], set()
    for index, part in enumerate(_FIELD.split(key)):
        if index % 2 == 0:
            parts.append(re.escape(part))
        elif part in seen:
            parts.append(f"(?P={part})")
        else:
            seen.add(part)
            parts.append(f"(?P<{part}>.+?)")
    return re.compile("".join(parts), re.DOTALL)
