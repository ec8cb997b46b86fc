"""A plan on the real engine: what it says of a training is what that training does; its fixes are typed as they are."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import pytest

from rlguide.planner.learnt import FIXED_BYTES
from tests.e2e.conftest import SFT, Bench, settings

pytestmark = pytest.mark.engine

GIB = 1 << 30


def plan(bench: Bench, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bench.run("plan", *arguments, "--json").stdout)
    return found


def test_a_plan_says_what_the_training_then_does(trained: Bench) -> None:
    before = sorted(path.name for path in (trained.root / "saves").iterdir())
    record = json.loads((trained.root / "saves/tiny/lora/dpo/run.json").read_text(encoding="utf-8"))
    found = plan(trained, "--config", "saves/tiny/lora/dpo/config.yaml", "-o", "saves/again", "--gpus", "1x4090")
    assert (found["steps"], found["effective_batch"]) == (record["total_steps"], record["effective_batch"])
    assert found["examples"] == found["steps"] * found["effective_batch"]
    weights = trained.root / "saves/tiny/lora/dpo/adapter_model.safetensors"
    header = int.from_bytes(weights.read_bytes()[:8], "little")
    assert found["trained_parameters"] == (weights.stat().st_size - 8 - header) / 4  # an adapter is in float32
    assert found["fits"] and found["seconds"]["low"] <= found["seconds"]["mid"] <= found["seconds"]["high"]
    assert "tokens of models/tiny" in found["lengths"]["from"] and found["lengths"]["longest"] <= 64
    text = trained.run("plan", "--config", "saves/tiny/lora/dpo/config.yaml").stdout  # its folder holds that run
    assert "none here" in text and "GiB at the peak" in text  # without a GPU and without --gpus
    merged = plan(trained, "--sft-ckpt", SFT, "--dataset", "polite", "--quantization", "4", "--gpus", "1x4090")
    assert merged["memory"]["weights"] < found["memory"]["weights"]
    assert sorted(path.name for path in (trained.root / "saves").iterdir()) == before  # nothing is merged for a plan


def test_what_does_not_fit_is_refused_with_a_command_that_fits(bench: Bench) -> None:
    start = ["--sft-ckpt", SFT, "--dataset", "polite", *settings("per_device_train_batch_size=8")]
    peak = plan(bench, *start, "--plain", "--gpus", "1x4090")["peak"]
    small = f"{(FIXED_BYTES + 0.6 * (peak - FIXED_BYTES)) / GIB:.3f}GB"
    said = bench.run("plan", *start, "--plain", "--gpus", small).stdout
    assert "does not fit; the largest part" in said
    fix = re.search(r"^  fix: (rlguide plan .*?)    # ", said, re.MULTILINE)
    assert fix is not None and "gradient_accumulation_steps=" in fix[1]
    assert "at the peak: fits" in bench.run(*shlex.split(fix[1])[1:]).stdout

    config = bench.root / "configs/dpo_config.yaml"
    refused = bench.run("configure", *start, "--gpus", "0.6GB", code=2)
    assert "does not fit" in refused.stderr and "--force, to try all the same" in refused.stderr and not config.exists()
    bench.run("configure", *start, "--gpus", "0.6GB", "--force")
    assert config.exists()
    fast = bench.run("configure", *start, "--gpus", "4090", "--fast", "--force")
    assert "* learns the same" in fast.stderr
    (chosen,) = re.findall(r"learns the same(.*)", fast.stderr)
    for setting in re.findall(r"--set (\w+)=(\w+)", chosen):
        assert ": ".join(setting) in config.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "models/tiny", "--gpus", "2xA9999"], "no GPU"),
        (["--model", "nowhere/config.json"], "does not exist"),
        (["--model", "data/dataset_info.json"], "no model_type"),
        (["--model", "models/tiny", "--sft-ckpt", SFT], "--model plans for a model alone"),
        (["--model", "models/tiny", "--method", "ppo"], "cannot be planned"),
        (["--model", "models/tiny", "--set", "cutoff_len=1"], "cutoff_len 1 is too short"),
    ],
)
def test_wrong_wishes_get_two_lines(trained: Bench, arguments: list[str], said: str) -> None:
    done = trained.start("plan", *arguments)
    _, error = done.communicate(timeout=120)
    assert done.returncode in (1, 2) and said in error and error.count("\n") <= 3 and "Traceback" not in error
