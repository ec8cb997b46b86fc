"""IFEval's instruction ids (google/IFEval, `instruction_id_list` and `kwargs`) as instructions of ours.

Where the verifiers differ from those of lm-eval's task `ifeval`, docs/instructions.md says so, with the figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rlguide.evaluation.instructions.prompts import Instruction

# The responses that `constrained_response` accepts; they are in its definition, not in the data.
ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")

Arguments = Mapping[str, Any]


def from_ifeval(instruction_id: str, kwargs: Arguments) -> Instruction:
    """The instruction of ours that is the same.

    Raises:
        KeyError: there is no such id, or an argument is missing.
    """
    kind, arguments = _KINDS[instruction_id]
    return Instruction(kind, arguments(kwargs))


def _nothing(kwargs: Arguments) -> dict[str, Any]:
    return {}


def _limits(number: str, relation: str) -> Callable[[Arguments], dict[str, Any]]:
    """Of a relation: "at least" or "less than" a number."""

    def limits(kwargs: Arguments) -> dict[str, Any]:
        value = int(kwargs[number])
        return {"at_least": value} if kwargs[relation] == "at least" else {"at_most": value - 1}

    return limits


def _exactly(number: str) -> Callable[[Arguments], dict[str, Any]]:
    return lambda kwargs: {"at_least": int(kwargs[number]), "at_most": int(kwargs[number])}


def _least(number: str) -> Callable[[Arguments], dict[str, Any]]:
    return lambda kwargs: {"at_least": int(kwargs[number])}


def _same(**names: str) -> Callable[[Arguments], dict[str, Any]]:
    return lambda kwargs: {ours: kwargs[theirs] for ours, theirs in names.items()}


def _both(*parts: Callable[[Arguments], dict[str, Any]]) -> Callable[[Arguments], dict[str, Any]]:
    return lambda kwargs: {name: value for part in parts for name, value in part(kwargs).items()}


_KINDS: dict[str, tuple[str, Callable[[Arguments], dict[str, Any]]]] = {
    "change_case:capital_word_frequency": ("capital_words", _limits("capital_frequency", "capital_relation")),
    "change_case:english_capital": ("capitals", _nothing),
    "change_case:english_lowercase": ("lowercase", _nothing),
    "combination:repeat_prompt": ("repeat_prompt", _same(text="prompt_to_repeat")),
    "combination:two_responses": ("two_responses", _nothing),
    "detectable_content:number_placeholders": ("placeholders", _least("num_placeholders")),
    "detectable_content:postscript": ("postscript", _same(marker="postscript_marker")),
    "detectable_format:constrained_response": ("options", lambda kwargs: {"options": list(ANSWERS)}),
    "detectable_format:json_format": ("json", _nothing),
    "detectable_format:multiple_sections": (
        "sections",
        _both(_same(marker="section_spliter"), _least("num_sections")),
    ),
    "detectable_format:number_bullet_lists": ("bullets", _exactly("num_bullets")),
    "detectable_format:number_highlighted_sections": ("highlights", _least("num_highlights")),
    "detectable_format:title": ("title", _nothing),
    "keywords:existence": ("keywords", _same(words="keywords")),
    "keywords:forbidden_words": ("forbidden", _same(words="forbidden_words")),
    "keywords:frequency": ("keyword_count", _both(_same(word="keyword"), _limits("frequency", "relation"))),
    "keywords:letter_frequency": (
        "letter_count",
        _both(_same(letter="letter"), _limits("let_frequency", "let_relation")),
    ),
    "language:response_language": ("language", _same(language="language")),
    "length_constraints:nth_paragraph_first_word": (
        "first_word",
        _same(paragraphs="num_paragraphs", nth="nth_paragraph", word="first_word"),
    ),
    "length_constraints:number_paragraphs": ("divided_paragraphs", _exactly("num_paragraphs")),
    "length_constraints:number_sentences": ("sentences", _limits("num_sentences", "relation")),
    "length_constraints:number_words": ("words", _limits("num_words", "relation")),
    "punctuation:no_comma": ("no_commas", _nothing),
    "startend:end_checker": ("ends_with", _same(phrase="end_phrase")),
    "startend:quotation": ("quoted", _nothing),
}
