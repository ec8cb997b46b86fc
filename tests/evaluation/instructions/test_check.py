"""Strict and loose, as IFEval defines them, and the accuracies."""

from __future__ import annotations

import pytest

from rlguide.evaluation.instructions.check import Result, check, instruction_accuracy, prompt_accuracy, variants
from rlguide.evaluation.instructions.prompts import Instruction, InstructionPrompt


def one(kind: str, **arguments: object) -> InstructionPrompt:
    return InstructionPrompt("x", "en", "Say it.", (Instruction(kind, dict(arguments)),))


def test_the_variants_are_those_of_the_paper() -> None:
    text = "Sure!\n*a*\nBye."
    assert sorted(variants(text)) == sorted(
        [text, "Sure!\na\nBye.", "*a*\nBye.", "a\nBye.", "Sure!\n*a*", "Sure!\na", "*a*", "a"]
    )


@pytest.mark.parametrize(
    ("prompt", "response"),
    [
        (one("json"), 'Here it is:\n{"a": 1}'),
        (one("json"), '{"a": 1}\nI hope this helps.'),
        (one("json"), 'Here it is:\n{"a": 1}\nI hope this helps.'),
        (one("starts_with", phrase="To be honest"), "**To be honest**, no."),
        (one("lowercase"), "Sure:\nit is fine."),
    ],
)
def test_loose_forgives_an_introduction_a_farewell_and_asterisks(prompt: InstructionPrompt, response: str) -> None:
    assert check(prompt, response) == Result((False,), (True,))


@pytest.mark.parametrize("response", ['Well.\nHere it is:\n{"a": 1}', "Here it is:", "*", "\n\n"])
def test_and_no_more(response: str) -> None:
    assert check(one("json"), response) == Result((False,), (False,))


def test_each_instruction_may_be_followed_by_another_variant() -> None:
    prompt = InstructionPrompt(
        "x", "en", "", (Instruction("lowercase", {}), Instruction("highlights", {"at_least": 1, "at_most": 1}))
    )
    assert check(prompt, "Yes:\n*it is*") == Result((False, True), (True, True))


def test_the_accuracies() -> None:
    results = [Result((True, True), (True, True)), Result((True, False), (True, True)), Result((False,), (False,))]
    strict, loose = prompt_accuracy(results), prompt_accuracy(results, loose=True)
    assert (strict.hits, strict.n, loose.hits, loose.n) == (1, 3, 2, 3)
    strict, loose = instruction_accuracy(results), instruction_accuracy(results, loose=True)
    assert (strict.hits, strict.n, loose.hits, loose.n) == (3, 5, 4, 5)
    with pytest.raises(ValueError, match="proportion"):
        prompt_accuracy([])
