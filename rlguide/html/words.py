"""The words of the pages in other languages (`zh.yaml`): texts of templates, and sentences that the code makes."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

LANGUAGES = ("en", "zh")
_LONGEST = (
    2000  # characters of a sentence that is looked up: the search for one with many values is slow in longer ones
)
_FIELD = re.compile(r"\{(\w+)(?:[:!][^{}]*)?\}")


class Words:
    """The words of one language.

    A key of its file is the English text. `{name}` in it stands for a value, so that it also finds the sentences that
    the code has made with values.
    """

    def __init__(self, language: str) -> None:
        self._texts = texts_of(language)

    def text(self, english: str, **values: object) -> str:
        """A text of a template, in which `{name}` is a value; in English where there is no other."""
        shown = {name: str(value) for name, value in values.items()}
        return _filled(self._texts.get(english, english) if self._texts else english, shown)

    def sentence(self, english: str) -> str | None:
        """A sentence that the code made, in this language; None where there is no text for it."""
        if self._texts is None:
            return english
        if english in self._texts and not _FIELD.search(english):
            return self._texts[english]
        for pattern, text in _patterns(self._texts) if len(english) <= _LONGEST else ():
            if found := pattern.fullmatch(english):
                return _filled(text, found.groupdict())
        return None


class _Texts(dict[str, str]):
    """A dictionary that `cache` takes: one object for each language."""

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)


@cache
def texts_of(language: str) -> _Texts | None:
    """The texts of a language by their English; None of English itself."""
    import yaml

    if language == "en":
        return None
    content = Path(__file__).with_name(f"{language}.yaml").read_text(encoding="utf-8")
    found = _Texts()
    for group in yaml.safe_load(content).values():
        found.update(group)
    return found


def _filled(text: str, values: dict[str, str]) -> str:
    return _FIELD.sub(lambda found: values[found[1]], text)


@cache
def _patterns(texts: _Texts) -> list[tuple[re.Pattern[str], str]]:
    """The texts with values as patterns, those with more words of their own first."""
    found = [key for key in texts if _FIELD.search(key)]
    found.sort(key=lambda key: -len(_FIELD.sub("", key)))
    return [(_pattern(key), texts[key]) for key in found]


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
