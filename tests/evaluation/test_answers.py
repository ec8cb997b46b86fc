"""Answers that are kept are read back as they were, and damaged ones are left out."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.errors import DataError
from rlguide.evaluation.answers import ANSWERS, Answered, answered, keep_answers, read_answers
from rlguide.evaluation.scoring import scored_pairs
from rlguide.reports.samples import picked
from tests.cli.test_damaged_files import hard_bytes

texts = st.text(max_size=8)
prompts = st.lists(st.fixed_dictionaries({"role": st.sampled_from(["user", "system"]), "content": texts}), min_size=1)
records = st.lists(st.builds(Answered, st.sampled_from(["length", "instructions"]), prompts, texts, texts), max_size=6)


@given(records, records)
def test_what_is_kept_is_read_back(first: list[Answered], second: list[Answered]) -> None:
    with tempfile.TemporaryDirectory() as name:
        run = Path(name)
        keep_answers(run, first)
        assert read_answers(run) == first
        keep_answers(run, second)
        again = {item.part for item in second}
        assert read_answers(run) == [*(item for item in first if item.part not in again), *second]


@given(hard_bytes, records)
def test_a_damaged_line_costs_no_other(damaged: bytes, kept: list[Answered]) -> None:
    with tempfile.TemporaryDirectory() as name:
        run = Path(name)
        keep_answers(run, kept)
        path = run / "eval" / ANSWERS
        path.write_bytes(path.read_bytes() + damaged.replace(b"\xff\xfe", b"") + b"\n")
        found = read_answers(run)
        assert found == kept or found == []  # not UTF-8: the file as a whole cannot be read


def test_texts_stand_beside_their_prompt() -> None:
    asked = [[{"role": "user", "content": text}] for text in "ab"]
    found = answered("length", asked, (["1", "2"], ["3", "4"]))
    assert [(item.prompt[0]["content"], item.parent, item.tuned) for item in found] == [
        ("a", "1", "3"),
        ("b", "2", "4"),
    ]
    with pytest.raises(ValueError):
        answered("length", asked, (["1"], ["3", "4"]))


@given(records)
def test_picked_answers_differ_if_any_do(kept: list[Answered]) -> None:
    found = picked(kept)
    assert len(found) <= 6 and all(item in kept for item in found)
    for part in {item.part for item in kept}:
        own = [item for item in kept if item.part == part]
        shown = [item for item in found if item.part == part]
        if any(item.parent != item.tuned for item in own):
            assert shown and all(item.parent != item.tuned for item in shown)
    parts = [item.part for item in found]
    assert parts == sorted(parts, reverse=True)  # those to held-out prompts first


def test_damaged_scores_are_told(tmp_path: Path) -> None:
    from rlguide.policy.run_record import RunRecord
    from rlguide.runs.record import Run

    run = Run(tmp_path, "run", RunRecord())
    (tmp_path / "eval").mkdir()
    path = tmp_path / "eval/pairs.jsonl"
    good = {"loss": 1, "chosen_reward": 0, "rejected_reward": 2, "chosen": "c", "rejected": "r"}
    prompt = [{"role": "user", "content": "p"}]
    rows = [{**good, "prompt": prompt}, {**good, "prompt": [{}]}, {**good, "prompt": prompt, "chosen_reward": "x"}]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert [pair.margin for pair in scored_pairs(run)] == [-2]
    for content in ("[" * 100_000, "1" * 5000, "{}", ""):
        path.write_text(content)
        with pytest.raises(DataError):
            scored_pairs(run)
