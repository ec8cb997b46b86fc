"""The verifier of each kind of instruction: a function of the response and the arguments, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rlguide.evaluation.instructions import counts, forms, wording, writing

# What is counted and held against at_least and at_most.
COUNTED: dict[str, Callable[..., int]] = {
    "words": counts.words,
    "characters": counts.characters,
    "sentences": counts.sentences,
    "paragraphs": counts.paragraphs,
    "divided_paragraphs": counts.divided_paragraphs,
    "lines": counts.line_count,
    "letter_count": counts.letters,
    "capital_words": counts.capital_words,
    "bullets": counts.bullets,
    "numbered": counts.numbered,
    "headings": counts.headings,
    "sections": counts.sections,
    "highlights": counts.highlights,
    "placeholders": counts.placeholders,
    "keyword_count": counts.keyword,
}
# What is so or is not.
JUDGED: dict[str, Callable[..., bool]] = {
    "first_word": forms.first_word,
    "line_prefix": forms.line_prefix,
    "title": forms.title,
    "table": forms.table,
    "json": forms.as_json,
    "json_keys": forms.json_keys,
    "two_responses": forms.two_responses,
    "keywords": wording.keywords,
    "forbidden": wording.forbidden,
    "starts_with": wording.starts_with,
    "ends_with": wording.ends_with,
    "quoted": wording.quoted,
    "chinese_quoted": wording.chinese_quoted,
    "postscript": wording.postscript,
    "options": wording.options,
    "language": writing.in_language,
    "capitals": writing.capitals,
    "lowercase": writing.lowercase,
    "no_commas": writing.no_commas,
    "no_punctuation": writing.no_punctuation,
    "full_width": writing.full_width,
    "no_latin": writing.no_latin,
    "simplified": writing.simplified,
    "traditional": writing.traditional,
    "chinese_numerals": writing.chinese_numerals,
    "arabic_numerals": writing.arabic_numerals,
    "line_characters": writing.line_characters,
    "repeat_prompt": wording.repeats,
}


def follows(kind: str, arguments: Mapping[str, Any], response: str) -> bool:
    """Whether a response follows an instruction. A blank one follows none.

    Raises KeyError for a kind that does not exist; the arguments must be right (`kinds.wrong_arguments`).
    """
    if not response.strip():
        return False
    if kind in JUDGED:
        return JUDGED[kind](response, **arguments)
    given = dict(arguments)
    least, most = given.pop("at_least", 0), given.pop("at_most", None)
    count = COUNTED[kind](response, **given)
    return count >= least and (most is None or count <= most)
