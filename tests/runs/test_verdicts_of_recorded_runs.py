"""The verdict on runs of the real engine of which it is known what is wrong with them (scripts/make_sick_runs.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlguide.catalog.methods import method_of
from rlguide.policy.run_record import RecordedReference, RunRecord
from rlguide.runs.record import Run
from rlguide.runs.verdict import Verdict, verdict_of

LOGS = Path(__file__).with_name("sick")
NAMES = sorted(path.stem for path in LOGS.glob("*.json"))


def verdict(folder: Path, name: str) -> Verdict:
    logs = json.loads((LOGS / f"{name}.json").read_text())
    rows: list[dict[str, Any]] = []
    for columns in (logs["train"], logs["eval"]):
        for at in range(len(columns.get("step", ()))):
            rows.append({key: values[at] for key, values in columns.items() if values[at] is not None})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    method = method_of(logs["config"])
    assert method is not None
    record = RunRecord(
        method=method.name,
        base="b",
        stack=("s", "a"),
        reference=RecordedReference("b", ("s",)),
        config=logs["config"],
        status="finished",
        held_out={"held_out": 120} if logs["eval"] else {},
        effective_batch=8,
    )
    return verdict_of(Run(folder, "a", record))


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("well-")])
def test_of_a_sound_run_nothing_bad_is_said(tmp_path: Path, name: str) -> None:
    # SimPO of the harder data: in so few steps its accuracy is one half
    assert verdict(tmp_path, name).level == ("unclear" if name == "well-simpo" else "good")


LEARNT_NOTHING = (
    "swapped",
    "noise",
    "tiny-rate",
    "zero-rate",
    "beta-zero",
    "nan",
    "clipped-away",
    "few-noisy",
    "long-warmup-dpo",
)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(LEARNT_NOTHING)])
def test_what_has_learnt_nothing_is_never_called_good(tmp_path: Path, name: str) -> None:
    found = verdict(tmp_path, name)
    assert found.level != "good", found
    if name.startswith("swapped"):
        assert found.level == "bad"


@pytest.mark.parametrize("name", NAMES)
def test_each_recorded_run_has_a_verdict(tmp_path: Path, name: str) -> None:
    found = verdict(tmp_path, name)
    assert found.level in ("good", "unclear", "bad", "unknown") and found.text and "\n" not in found.text
    assert "nothing was held out" not in found.text or not json.loads((LOGS / f"{name}.json").read_text())["eval"]
