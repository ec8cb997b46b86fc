"""The report at the end of a training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rlguide.policy.run_record import RecordedReference, RunRecord
from rlguide.runs.record import Run
from rlguide.runs.report import report, report_lines


@pytest.mark.parametrize(
    ("rows", "processes", "batch", "repeated"),
    [(15, 2, 1, 1), (16, 2, 1, 0), (15, 1, 1, 0), (15, 2, 4, 1), (9, 4, 1, 3)],
)
def test_held_out_pairs_that_count_twice_are_said(rows: int, processes: int, batch: int, repeated: int) -> None:
    record = RunRecord(
        base="b",
        stack=("run",),
        reference=RecordedReference("b", ()),
        config={"per_device_eval_batch_size": batch},
        status="finished",
        held_out={"a_test": rows},
        processes=processes,
        summary={"first": None, "last": None, "held_out": {"step": 1, "eval_loss": 0.5}},
    )
    values = report(Run(Path("run"), "run", record))
    assert values["held_out_repeated"] == repeated
    said = [line for line in report_lines(values) if "count twice" in line]
    assert len(said) == (repeated > 0)


@pytest.mark.parametrize("steps", [(1,), (1, 8)])
def test_the_figures_are_aligned_and_one_log_is_not_the_last_too(tmp_path: Path, steps: tuple[int, ...]) -> None:
    rows = [{"step": step, "loss": 0.5 + step, "rewards/margins": 0.25} for step in steps]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = {"first": rows[0], "last": rows[-1], "held_out": {"step": 8, "eval_loss": 0.25}}
    record = RunRecord(
        base="b",
        stack=(),
        reference=RecordedReference("b", ()),
        config={},
        effective_batch=8,
        held_out={"t": 2000},
        summary=summary,
    )
    lines = report_lines(report(Run(tmp_path, "run", record)))
    table = lines[lines.index(next(line for line in lines if "first step" in line)) :][:4]
    assert ("last log" in table[0]) == (len(steps) > 1) and max(map(len, table)) < 60
    assert table[1].split() == ["8", "pairs", *["56", "pairs"] * (len(steps) > 1), "2,000", "pairs"]
    assert table[2].split() == ["loss", "1.5000", *["8.5000"] * (len(steps) > 1), "0.2500"]
    assert len({len(line) for line in table[:3]}) == 1


@pytest.mark.parametrize(("done", "said"), [(120, "after 120 steps"), (18, "after 18 of 120 planned steps")])
def test_the_steps_are_those_that_were_done(tmp_path: Path, done: int, said: str) -> None:
    (tmp_path / "trainer_state.json").write_text(f'{{"global_step": {done}, "max_steps": 120}}')
    record = RunRecord(base="b", stack=(), reference=RecordedReference("b", ()), config={}, total_steps=120)
    assert any(said in line for line in report_lines(report(Run(tmp_path, "run", record))))


@pytest.mark.parametrize(
    ("losses", "held_out", "ok", "said"),
    [
        (
            [2.0, 1.5, 1.2],
            {1: 1.8, 3: 1.4},
            True,
            "the training loss fell from 2.0000 to 1.2000, and the held-out loss did not rise again",
        ),
        ([2.0, 1.5, 1.2], {}, True, "fell from 2.0000 to 1.2000"),
        ([2.0, 1.9, 2.0], {1: 1.8, 2: 1.8, 3: 1.8}, False, "the held-out loss was 1.8000 and is 1.8000 at step 3"),
        ([2.0, 1.0, 0.5, 0.2], {1: 1.8, 2: 1.4, 3: 1.5, 4: 1.6}, False, "was lowest at step 2 (1.4000) and is 1.6000"),
        ([2.0, 1.0, 0.9], {1: 1.4, 3: 1.41}, True, "did not rise again"),
        ([3.0, 1.0, 1.5, 1.5, 1.4, 1.6, 1.5, 1.6], {}, True, "fell from 2.0000 to 1.5500"),  # means of a quarter
    ],
)
def test_of_sft_it_is_said_how_the_losses_went(
    tmp_path: Path, losses: list[float], held_out: dict[int, float], ok: bool, said: str
) -> None:
    """Its first loss proves nothing, so that the course has to; what is wrong is said once, as a finding."""
    rows = [{"step": at + 1, "loss": loss} for at, loss in enumerate(losses)]
    rows += [{"step": step, "eval_loss": loss} for step, loss in held_out.items()]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    record = RunRecord(
        method="sft",
        base="b",
        stack=("run",),
        reference=RecordedReference("b", ()),
        config={"stage": "sft"},
        status="finished",
    )
    values = report(Run(tmp_path, "run", record))
    assert values["course"]["ok"] is ok
    (line,) = [line for line in report_lines(values) if said in line]
    assert line.startswith("WARNING ") is not ok
    assert bool(values["findings"]) is not ok
    of_dpo = report(Run(tmp_path, "run", replace(record, method="dpo")))
    assert of_dpo["course"] is None


@pytest.mark.parametrize(
    ("method", "unit", "exact"), [("dpo", "pairs", True), ("rm", "pairs", True), ("sft", "examples", False)]
)
def test_the_evaluation_that_is_exact_is_named_where_there_is_one(method: str, unit: str, exact: bool) -> None:
    record = RunRecord(
        method=method,
        base="b",
        stack=("run",),
        reference=RecordedReference("b", ()),
        config={"per_device_eval_batch_size": 2},
        status="finished",
        held_out={"a_test": 15},
        summary={"held_out": {"step": 1, "eval_loss": 0.5}},
    )
    (said,) = [line for line in report_lines(report(Run(Path("run"), "run", record))) if "count twice" in line]
    assert f"1 {unit} count twice" in said and ("rlguide eval" in said) is exact
