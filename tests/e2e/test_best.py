"""The best step of a run on the real engine: kept from rotation, taken by default, and the result is none the worse."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.e2e.conftest import SFT, WORKSPACE, Bench, settings

pytestmark = pytest.mark.engine

DPO = "saves/tiny/lora/dpo"
# By this rule the best step is the first one that is evaluated: the margin grows.
FIRST = ("metric_for_best_model=rewards/margins", "greater_is_better=false", "eval_steps=2", "save_total_limit=1")


def test_the_best_step_is_kept_and_taken_and_changes_nothing_else(trained: Bench, tmp_path: Path) -> None:
    bench = Bench(tmp_path / WORKSPACE, trained.engine)
    shutil.copytree(trained.root, bench.root)
    run = bench.root / "saves/best"
    bench.run("train", "--sft-ckpt", SFT, "--dataset", "polite", "-o", "saves/best", *settings(*FIRST, "save_steps=3"))
    margins = {row["step"]: row["eval_rewards/margins"] for row in bench.history("saves/best") if "eval_loss" in row}
    assert list(margins) == [2, 4, 6] and margins[2] < margins[6]
    assert [path.name for path in run.glob("checkpoint-*")] == ["checkpoint-2"]
    # The other run was evaluated and saved at other steps, and kept no best one.
    adapters = [(bench.root / name / "adapter_model.safetensors").read_bytes() for name in ("saves/best", DPO)]
    assert adapters[0] == adapters[1]
    done = bench.run("eval", "saves/best", "--suite", "pairs", "--json")
    assert "step       2 of 6, the best by held-out margin" in done.stderr
    result = json.loads(done.stdout)
    assert result["step"] == 2
    assert result["margin"]["value"] == pytest.approx(margins[2], abs=1e-3)
    listed = {row["name"]: row for row in json.loads(bench.run("runs", "--json").stdout)}
    assert (listed["saves/best"]["best_step"], listed["saves/best"]["accuracy"]["count"]) == (2, 12)
    for last, adapter in (([], "saves/best/checkpoint-2"), (["--last"], "saves/best")):
        words = ("--from", "saves/best", *last, "--dataset", "polite", "--dry-run")
        assert f"adapter_name_or_path: {SFT},{adapter}\n" in bench.run("train", *words).stdout
