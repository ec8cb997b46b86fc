"""IFEval's instructions as ours: what lm-eval's task `ifeval` says of the same responses.

`ifeval_verdicts.json` has its verdicts, one digit for each response, made with lm-evaluation-harness 4e7e0d4, nltk
3.10.4 with Punkt's English model, and langdetect 1.0.9 (seed 0). The responses are ours.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlguide.evaluation.instructions.check import check
from rlguide.evaluation.instructions.ifeval import from_ifeval
from rlguide.evaluation.instructions.kinds import wrong_arguments
from rlguide.evaluation.instructions.prompts import InstructionPrompt

RECORDED = json.loads(Path(__file__).with_name("ifeval_verdicts.json").read_text(encoding="utf-8"))
RESPONSES: list[str] = RECORDED["responses"]
# Where ours differ, and why: docs/instructions.md.
DIFFERENT = {
    ("length_constraints:number_sentences", "1. Wash the rice"),  # to Punkt, "1." is a sentence
    ("change_case:english_capital", "riverside supermarkets"),  # short or code: langdetect names another language,
    ("change_case:english_lowercase", "riverside supermarkets"),  # ours says that it cannot tell
    ("change_case:english_lowercase", "```json"),
    ("change_case:english_lowercase", '{"river": 1,}'),
    ("change_case:english_lowercase", "[[x]]"),
}


@pytest.mark.parametrize("row", RECORDED["verdicts"], ids=lambda row: f"{row['id']} {row['kwargs']}")
def test_agrees_with_lm_eval(row: dict[str, Any]) -> None:
    instruction = from_ifeval(row["id"], row["kwargs"])
    assert wrong_arguments(instruction.kind, instruction.arguments) == ""
    prompt = InstructionPrompt("x", "en", "Tell me about the river.", (instruction,))
    for response, strict, loose in zip(RESPONSES, row["strict"], row["loose"], strict=True):
        result = check(prompt, response)
        same = (result.strict[0], result.loose[0]) == (strict == "1", loose == "1")
        known = any(row["id"] == kind and response.startswith(start) for kind, start in DIFFERENT)
        assert same is not known, response


def test_all_25_ids_are_recorded_and_no_other_is_known() -> None:
    assert len({row["id"] for row in RECORDED["verdicts"]}) == 25
    with pytest.raises(KeyError):
        from_ifeval("detectable_format:rhyme", {})


def test_less_than_is_at_most_one_less() -> None:
    def arguments(relation: str) -> dict[str, Any]:
        kwargs = {"num_words": 100, "relation": relation}
        return from_ifeval("length_constraints:number_words", kwargs).arguments

    assert (arguments("less than"), arguments("at least")) == ({"at_most": 99}, {"at_least": 100})
