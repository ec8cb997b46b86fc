"""The demo, whole: what it promises is measured, with the numbers read from what it leaves, not from what it says."""

from __future__ import annotations

import json
import math
import os
import subprocess
from pathlib import Path

import pytest

from rlguide.demo.score import read_held_out
from rlguide.demo.tasks import follows
from rlguide.engine.find import Engine
from tests.e2e.conftest import rlguide_executable

pytestmark = pytest.mark.engine


def followed(folder: Path, name: str) -> float:
    """Share of a model's saved answers that do as they were told, checked here once more."""
    answers = [
        json.loads(line)["response"] for line in (folder / f"responses/{name}.jsonl").read_text("utf-8").splitlines()
    ]
    tasks = [pair.task for pair in read_held_out()]
    assert len(answers) == len(tasks)
    hits = [follows(t.language, t.kind, t.argument, a) for t, a in zip(tasks, answers, strict=True)]
    return sum(hits) / len(hits)


def test_demo(engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "演示 demo"
    environment = {
        **os.environ,
        "RLGUIDE_ENGINE": str(engine.python),
        "HF_ENDPOINT": "http://127.0.0.1:9",
    }  # no network
    done = subprocess.run(
        [rlguide_executable(), "demo", "--dir", str(folder), "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=880,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout)
    before, after = followed(folder, "sft"), followed(folder, "dpo")
    assert after - before >= 0.20
    assert result["reward_accuracy"]["ci95_low"] > 0.5
    run = json.loads((folder / "saves/demo/lora/dpo/run.json").read_text(encoding="utf-8"))
    assert run["start_check"]["ok"] is True
    history = json.loads((folder / "saves/demo/lora/dpo/trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    assert history[0]["rewards/chosen"] == 0
    if not run["config"].get("pref_ftx"):
        assert history[0]["loss"] == pytest.approx(math.log(2), abs=1e-3)
