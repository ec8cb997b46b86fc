"""The report at the end of a training."""

from __future__ import annotations

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


@pytest.mark.parametrize(("done", "said"), [(120, "after 120 steps"), (18, "after 18 of 120 planned steps")])
def test_the_steps_are_those_that_were_done(tmp_path: Path, done: int, said: str) -> None:
    (tmp_path / "trainer_state.json").write_text(f'{{"global_step": {done}, "max_steps": 120}}')
    record = RunRecord(base="b", stack=(), reference=RecordedReference("b", ()), config={}, total_steps=120)
    assert said in report_lines(report(Run(tmp_path, "run", record)))[0]
