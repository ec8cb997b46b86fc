"""A training that its figures stop: after the step that is being done, saved, resumable, exit code 3."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from tests.e2e.conftest import SFT, Bench, settings

pytestmark = pytest.mark.engine

RUN = "saves/tiny/lora/dpo"
START = ("train", "--sft-ckpt", SFT, "--dataset", "polite")
SLOW = settings("max_steps=60", "eval_steps=60", "save_steps=50", "learning_rate=1e-9")


def record(bench: Bench) -> dict[str, object]:
    found: dict[str, object] = json.loads((bench.root / RUN / "run.json").read_text(encoding="utf-8"))
    return found


def checkpoints(bench: Bench) -> list[str]:
    return sorted(path.name for path in Path(bench.root / RUN).glob("checkpoint-*"))


def test_a_rule_stops_a_run_which_then_goes_on(bench: Bench) -> None:
    done = bench.run(*START, "--stop-on", "nothing_learnt,nan", *SLOW, code=3)
    what, fix = done.stderr.strip().splitlines()[-2:]
    assert "was stopped by rule nothing_learnt: after" in what
    assert f"rlguide train --replay {RUN} --set learning_rate=1e-08" in fix
    assert f"rlguide train --resume {RUN}" in fix
    (pasted, *_) = re.findall(r"`rlguide (train --replay [^`]+)`", fix)
    config = yaml.safe_load(bench.run(*shlex.split(pasted), "--dry-run").stdout)
    assert float(config["learning_rate"]) == 1e-8
    assert record(bench)["status"] == "interrupted"
    (saved,) = checkpoints(bench)
    step = int(saved.removeprefix("checkpoint-"))
    logged = [json.loads(line)["step"] for line in (bench.root / RUN / "metrics.jsonl").read_text().splitlines()]
    assert 15 <= step < 60 and max(logged) == step
    # What its user knows does not stop it again, also where it is asked for again.
    again = bench.run("train", "--resume", RUN, "--stop-on", "nothing_learnt,nan")
    assert "WARNING" not in again.stdout and "ERROR nothing_learnt" in again.stdout
    assert record(bench)["status"] == "finished" and record(bench)["failure"] is None


def test_what_is_no_number_stops_a_run_and_is_not_saved(bench: Bench) -> None:
    broken = settings("max_steps=200", "eval_steps=200", "save_steps=2", "learning_rate=1e30", "max_grad_norm=0")
    done = bench.run(*START, *broken, "--set", "warmup_steps=4", code=3)
    assert "was stopped by rule nan" in done.stderr
    assert f"rlguide train --resume {RUN} --stop-on none" in done.stderr
    rows = [json.loads(line) for line in (bench.root / RUN / "metrics.jsonl").read_text().splitlines()]
    first = min(row["step"] for row in rows if {"nan", "inf"} & {str(value) for value in row.values()})
    kept = [name for name in checkpoints(bench) if name.rpartition("-")[2].isdecimal()]
    assert all(int(name.rpartition("-")[2]) < first for name in kept)
    assert record(bench)["status"] == "interrupted"
