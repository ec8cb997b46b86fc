"""Answers that are kept are read back as they were, and damaged ones are left out."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.conversation import Response
from rlguide.errors import DataError
from rlguide.evaluation.answers import ANSWERS, answered, keep_answers, read_answers
from rlguide.evaluation.comparison.record import HELD_OUT, INSTRUCTIONS, Compared, texts_of
from rlguide.evaluation.scoring import scored_pairs
from rlguide.reports.samples import picked
from tests.cli.test_damaged_files import hard_bytes

texts = st.text(max_size=8)
prompts = st.lists(st.fixed_dictionaries({"role": st.sampled_from(["user", "system"]), "content": texts}), min_size=1)
responses = st.builds(Response, texts, st.sampled_from(["stop", "length"]))
both = st.tuples(responses, responses).map(lambda pair: dict(zip(("parent", "tuned"), pair, strict=True)))
records = st.lists(st.builds(Compared, st.sampled_from([HELD_OUT, INSTRUCTIONS]), prompts, both), max_size=6)


@given(records, records)
def test_what_is_kept_is_read_back(first: list[Compared], second: list[Compared]) -> None:
    with tempfile.TemporaryDirectory() as name:
        run = Path(name)
        keep_answers(run, first)
        assert read_answers(run) == first
        keep_answers(run, second)
        again = {item.source for item in second}
        assert read_answers(run) == [*(item for item in first if item.source not in again), *second]


@given(hard_bytes, records)
def test_a_damaged_line_costs_no_other(damaged: bytes, kept: list[Compared]) -> None:
    with tempfile.TemporaryDirectory() as name:
        run = Path(name)
        keep_answers(run, kept)
        path = run / "eval" / ANSWERS
        path.write_bytes(path.read_bytes() + damaged.replace(b"\xff\xfe", b"") + b"\n")
        found = read_answers(run)
        assert found == kept or found == []  # not UTF-8: the file as a whole cannot be read


def test_what_an_earlier_version_kept_is_read(tmp_path: Path) -> None:
    row = {"part": "length", "prompt": [{"role": "user", "content": "p"}], "parent": "1", "tuned": "2"}
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / ANSWERS).write_text(json.dumps(row) + "\n" + json.dumps({**row, "tuned": None}) + "\n")
    said = {"parent": Response("1", "stop"), "tuned": Response("2", "stop")}
    assert read_answers(tmp_path) == [Compared(HELD_OUT, row["prompt"], said)]  # type: ignore[arg-type]


def test_texts_stand_beside_their_prompt() -> None:
    asked = [[{"role": "user", "content": text}] for text in "ab"]
    one, two, three, four = (Response(text, "stop") for text in "1234")
    found = answered(HELD_OUT, asked, ([one, two], [three, four]))
    assert [(item.prompt[0]["content"], *texts_of(item)) for item in found] == [("a", "1", "3"), ("b", "2", "4")]
    with pytest.raises(ValueError):
        answered(HELD_OUT, asked, ([one], [three, four]))


@given(records)
def test_picked_answers_differ_if_any_do(kept: list[Compared]) -> None:
    found = picked(kept)
    assert len(found) <= 6 and all(item in kept for item in found)
    for source in {item.source for item in kept}:
        own = [item for item in kept if item.source == source]
        shown = [item for item in found if item.source == source]
        if any(len({*texts_of(item)}) > 1 for item in own):
            assert shown and all(len({*texts_of(item)}) > 1 for item in shown)
    sources = [item.source for item in found]
    assert sources == sorted(sources)  # those to held-out prompts first


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
