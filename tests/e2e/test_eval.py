"""Evaluation on the real engine."""

from __future__ import annotations

import json
import math

import pytest

from tests.e2e.conftest import SFT, Bench, settings

pytestmark = pytest.mark.engine

DPO = "saves/tiny/lora/dpo"


@pytest.fixture(scope="module")
def result(trained: Bench) -> dict:  # type: ignore[type-arg]
    return json.loads(trained.run("eval", "--json").stdout)  # type: ignore[no-any-return]


def test_agrees_with_the_evaluation_during_training(trained: Bench, result: dict) -> None:  # type: ignore[type-arg]
    """Training measures against the disabled adapter, rlguide eval against a second model: the same reference."""
    during = json.loads((trained.root / DPO / "eval_results.json").read_text())
    assert result["pairs"] == 12
    assert result["loss"]["value"] == pytest.approx(during["eval_loss"], abs=1e-4)
    assert result["margin"]["value"] == pytest.approx(during["eval_rewards/margins"], abs=1e-3)
    assert result["accuracy"]["value"] == pytest.approx(during["eval_rewards/accuracies"], abs=1e-6)


def test_agrees_under_the_system_prompt_of_the_training(bench: Bench) -> None:
    """Prompts that are written in another way than in training would be scored as if the policy had never seen them."""
    bench.run("train", "--sft-ckpt", SFT, "--dataset", "polite", *settings("default_system=You are a pirate."))
    result = json.loads(bench.run("eval", "--json").stdout)
    during = json.loads((bench.root / DPO / "eval_results.json").read_text())
    assert result["margin"]["value"] == pytest.approx(during["eval_rewards/margins"], abs=1e-3)
    assert result["loss"]["value"] == pytest.approx(during["eval_loss"], abs=1e-4)


def test_says_something(result: dict) -> None:  # type: ignore[type-arg]
    """The plain recipe always says 0.6931 and drops the rewards."""
    assert abs(result["loss"]["value"] - math.log(2)) > 0.01
    assert result["margin"]["value"] > 0
    low, value, high = (result["accuracy"][key] for key in ("ci95_low", "value", "ci95_high"))
    assert 0 <= low < high <= 1
    assert low <= value <= high
    assert result["policy"] == f"models/tiny + saves/tiny/lora/sft + {DPO}"
    assert result["reference"] == "models/tiny + saves/tiny/lora/sft"


def test_scores_of_every_pair(trained: Bench, result: dict) -> None:  # type: ignore[type-arg]
    """reward = beta x (log policy - log reference), and the loss is -log sigmoid of the margin."""
    rows = [json.loads(line) for line in (trained.root / result["scores"]).read_text().splitlines()]
    assert len(rows) == 12
    for row in rows:
        assert row["chosen_reward"] == pytest.approx(0.1 * (row["chosen_logp"] - row["ref_chosen_logp"]), abs=1e-4)
        margin = row["chosen_reward"] - row["rejected_reward"]
        assert row["loss"] == pytest.approx(math.log1p(math.exp(-margin)), abs=1e-4)


def test_batches_change_nothing(trained: Bench, result: dict) -> None:  # type: ignore[type-arg]
    batched = json.loads(trained.run("eval", DPO, "--json", "--set", "per_device_eval_batch_size=5").stdout)
    assert batched["pairs"] == 12
    assert batched["margin"]["value"] == pytest.approx(result["margin"]["value"], abs=1e-3)


def test_config_runs_unchanged_without_rlguide(trained: Bench, result: dict) -> None:  # type: ignore[type-arg]
    trained.run("eval", "--set", "output_dir=saves/plain_eval")
    trained.llamafactory("train", "configs/eval_config.yaml")
    plain = json.loads((trained.root / "saves/plain_eval/eval_results.json").read_text())
    assert plain["eval_rewards/margins"] == pytest.approx(result["margin"]["value"], abs=1e-3)


def test_refuses_training_pairs(trained: Bench) -> None:
    assert "was trained on" in trained.run("eval", "--dataset", "polite", code=2).stderr
