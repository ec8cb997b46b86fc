"""PPO, from nothing: its engine is installed, a reward model trained, and PPO runs against the SFT policy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlguide.engine.find import installed_versions
from tests.e2e.conftest import SFT, Bench, settings

pytestmark = pytest.mark.engine

START = ("--sft-ckpt", SFT, "--dataset", "polite")
NO_EVAL = [item for item in settings("max_new_tokens=8") if not item.startswith("eval_steps")]


def without_dangling(options: list[str]) -> list[str]:
    """Drop a `--set` that lost its value."""
    return [item for item, after in zip(options, [*options[1:], ""], strict=True) if item != "--set" or "=" in after]


def test_ppo(bench: Bench, tmp_path: Path) -> None:
    home = {"XDG_DATA_HOME": str(tmp_path / "data home")}
    before = installed_versions(bench.engine.python)
    missing = bench.run("train", "--method", "ppo", *START, code=1, env=home)
    assert "rlguide engine install ppo" in missing.stderr

    bench.run("engine", "install", "ppo", "--yes", env=home)
    assert installed_versions(bench.engine.python) == before
    assert "reward model" in bench.run("train", "--method", "ppo", *START, code=2, env=home).stderr

    bench.run("train", "--method", "rm", *START, "-o", "saves/rm", *settings("max_steps=3", "eval_steps=3"), env=home)
    options = without_dangling(NO_EVAL)
    command = ["train", "--method", "ppo", "--reward-model", "saves/rm", *START, "-o", "saves/ppo", *options]
    bench.run(*command, env=home)
    record = json.loads((bench.root / "saves/ppo/run.json").read_text(encoding="utf-8"))
    assert record["engine"]["trl"] == "0.9.6"
    assert record["stack"] == [SFT, "saves/ppo"]
    assert record["template"] == "qwen3_nothink"
    rows = [json.loads(line) for line in (bench.root / "saves/ppo/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert all("reward" in row for row in rows)
    # A reward model of another policy would score nonsense: it is refused.
    other = bench.run(*command[:5], "--sft-ckpt", "saves/tiny/full/sft", "--dataset", "polite", code=2, env=home)
    assert "was trained on" in other.stderr
    # The main engine evaluates the stack that the other engine trained.
    result = json.loads(bench.run("eval", "--suite", "pairs", "saves/ppo", "--dataset", "polite_test", "--json").stdout)
    assert result["pairs"] == 12
