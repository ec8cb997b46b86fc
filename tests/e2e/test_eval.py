"""Evaluation on the real engine."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from markupsafe import escape

from rlguide.engine.find import Engine
from rlguide.evaluation import divergence
from rlguide.evaluation.answers import read_answers
from rlguide.evaluation.comparison.record import read_compared
from rlguide.policy.policy import Policy
from rlguide.workspace import Workspace
from tests.e2e.conftest import SFT, Bench, settings

pytestmark = pytest.mark.engine

DPO = "saves/tiny/lora/dpo"


def _compare_asks_nothing_again(trained: Bench, env: dict[str, str], evaluated: dict[str, dict[str, float]]) -> None:
    """`rlguide compare` loads no model for what `rlguide eval` has asked, and counts the same."""
    done = trained.run("compare", "sft", DPO, "--max-new-tokens", "128", "--name", "x", "--json", env=env)
    assert "loading" not in done.stderr
    found = json.loads(done.stdout)
    figures = {line["name"]: line for line in found["against_first"][0]["figures"]}
    for language in ("English", "Chinese"):
        line, expected = figures[f"{language} instructions followed"], evaluated[f"{language} instructions"]
        assert (line["first"], line["value"]) == (expected["parent"], expected["tuned"])
    sources = [record.source for record in read_compared(trained.root / "comparisons/x")]
    assert sources.count("instructions") == 100 and sources.count("held out") == found["prompts"] - 100 > 0
    # Only the base is loaded, and only for what it has not been asked.
    few = ("--max-new-tokens", "128", "-n", "3", "--show", "all", "--name", "y")
    done = trained.run("compare", "base", "sft", DPO, *few, env=env)
    assert done.stdout.count("prompt (") == 3 and done.stdout.count("the same response to") == 2
    assert done.stdout.rstrip().endswith("comparisons/y/comparison.html")


@pytest.fixture(scope="module")
def result(trained: Bench) -> dict:  # type: ignore[type-arg]
    return json.loads(trained.run("eval", DPO, "--suite", "pairs", "--json").stdout)  # type: ignore[no-any-return]


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
    result = json.loads(bench.run("eval", "--suite", "pairs", "--json").stdout)
    during = json.loads((bench.root / DPO / "eval_results.json").read_text())
    assert result["margin"]["value"] == pytest.approx(during["eval_rewards/margins"], abs=1e-3)
    assert result["loss"]["value"] == pytest.approx(during["eval_loss"], abs=1e-4)


def test_agrees_in_bfloat16(bench: Bench) -> None:
    """Policy and reference are computed in the same precision, and the adapter is not merged into rounded weights.

    After steps so small, the margin is 0.0017; with a policy in float32 beside a reference in bfloat16 it was 0.0040.
    """
    half = settings("bf16=true", "learning_rate=1e-5")
    bench.run("train", "--sft-ckpt", SFT, "--dataset", "polite", *half)
    result = json.loads(bench.run("eval", "--suite", "pairs", "--json", "--set", "bf16=true").stdout)
    during = json.loads((bench.root / DPO / "eval_results.json").read_text())
    assert result["margin"]["value"] == pytest.approx(during["eval_rewards/margins"], rel=1e-3)
    assert result["loss"]["value"] == pytest.approx(during["eval_loss"], abs=1e-6)


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


def test_texts_stand_beside_the_scores_and_the_worst_pairs_are_shown(trained: Bench, result: dict) -> None:  # type: ignore[type-arg]
    rows = [json.loads(line) for line in (trained.root / result["scores"]).read_text().split("\n") if line]
    for row in rows:
        number = int(row["prompt"][-1]["content"].split()[1].rstrip(":"))
        assert row["chosen"] == f"Of course! It is {2 * number}."
        assert row["rejected"] == f"{2 * number + 1} i guess"
    lowest = min(row["chosen_reward"] - row["rejected_reward"] for row in rows)
    shown = trained.run("eval", DPO, "--suite", "pairs", "--worst", "2").stdout
    assert f"1. margin {lowest:+.4f}" in shown
    assert "3. margin" not in shown


def test_a_suite_measures_parent_and_tuned_and_remembers_their_answers(trained: Bench, tmp_path: Path) -> None:
    env = {"XDG_CACHE_HOME": str(tmp_path)}

    def kept() -> dict[Path, int]:
        folders = (tmp_path / "rlguide/responses", tmp_path / "rlguide/divergence")
        return {path: path.stat().st_mtime_ns for folder in folders for path in folder.iterdir()}

    first = json.loads(trained.run("eval", DPO, "--suite", "quick", "--json", env=env).stdout)
    lines = {line["name"]: line for line in first["table"]}
    assert list(lines)[:2] == ["reward accuracy", "margin"]
    for name in ("English instructions", "Chinese instructions"):
        assert 0 <= lines[name]["parent"] <= 1
        assert lines[name]["difference"]["count"] == 50
        assert lines[f"{name} (loose)"]["tuned"] >= lines[name]["tuned"]
    kl, ratio = first["kl"]["response"], first["kl"]["log_ratio"]
    assert kl["value"] > 0
    assert kl["count"] == 12
    # An unbiased estimate of the same, of more variance.
    assert ratio["value"] == pytest.approx(kl["value"], abs=2 * (ratio["ci95_high"] - ratio["ci95_low"]))
    before = kept()
    again = json.loads(trained.run("eval", DPO, "--suite", "instructions,kl,length,quick", "--json", env=env).stdout)
    assert again["table"] == first["table"][5:]
    assert kept() == before
    assert json.loads((trained.root / DPO / "eval/suite.json").read_text(encoding="utf-8")) == again
    _compare_asks_nothing_again(trained, env, lines)
    assert before.items() <= kept().items()
    answers = read_answers(trained.root / DPO)
    lengths = {line["name"]: line for line in again["table"]}["length of responses"]
    asked = [item for item in answers if item.source == "held out"]
    for side in ("parent", "tuned"):  # the answers are those that were measured
        assert sum(len(item.responses[side].text) for item in asked) / len(asked) == pytest.approx(lengths[side])
    page = Path(trained.run("report", DPO).stdout.removesuffix("\n"))
    assert page == trained.root / DPO / "report.html"
    text = page.read_text(encoding="utf-8")
    assert text.count("<figure") > 3 and "This run was not evaluated" not in text
    assert escape(asked[0].prompt[-1]["content"][:20]) in text


def test_every_checkpoint_is_measured_and_the_last_is_the_run(trained: Bench, tmp_path: Path) -> None:
    env = {"XDG_CACHE_HOME": str(tmp_path)}
    done = trained.run("eval", DPO, "--suite", "kl,quick", "--over-checkpoints", "--json", env=env)
    found = json.loads(done.stdout)
    points = found["checkpoints"]
    assert [point["step"] for point in points] == [2, 4, 6]
    assert points[0]["kl"] < points[2]["kl"]
    assert points[2]["kl"] == pytest.approx(found["kl"]["response"]["value"], rel=1e-6)  # the same weights
    during = json.loads((trained.root / DPO / "eval_results.json").read_text())
    assert points[2]["margin"] == pytest.approx(during["eval_rewards/margins"])
    assert (trained.root / DPO / "eval/checkpoints.png").read_bytes().startswith(b"\x89PNG")
    assert "best: checkpoint-" in found["summary"]


def test_own_prompts_and_one_language(trained: Bench, tmp_path: Path) -> None:
    file = tmp_path / "own.jsonl"
    asked = "Question {n}: 你好, what is {n} plus {n}?"
    rows = [
        {"id": f"{code}-{number}", "language": code, "prompt": asked.format(n=number),
         "instructions": [{"kind": "letter_count", "arguments": {"letter": "e", "at_least": words}}]}
        for code, number, words in (("en", 1, 0), ("en", 2, 9999), ("zh", 3, 0))
    ]  # fmt: skip
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    env = {"XDG_CACHE_HOME": str(tmp_path)}
    own = ("eval", DPO, "--suite", "instructions", "--prompts", str(file), "--max-new-tokens", "16", "--json")
    lines = {line["name"]: line for line in json.loads(trained.run(*own, env=env).stdout)["table"]}
    assert lines["English instructions of own.jsonl"]["tuned"] == 0.5
    assert lines["Chinese instructions of own.jsonl"]["tuned"] == 1
    chinese = json.loads(trained.run(*own, "--language", "zh", env=env).stdout)
    assert [line["name"] for line in chinese["table"]] == [name for name in lines if name.startswith("Chinese")]
    assert "Chinese instructions of own.jsonl" in chinese["summary"]


def test_a_policy_does_not_diverge_from_itself(
    trained: Bench, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    ws = Workspace(trained.root)
    sft = Policy("models/tiny", (SFT,), "qwen3_nothink")
    asked = [[{"role": "user", "content": f"Question {number}: what is that?"}] for number in range(4)]
    same = divergence.measure(ws, engine, (sft, sft), {}, asked, 12)
    assert same.response.value < 1e-9
    assert same.log_ratio.value == pytest.approx(0, abs=1e-6)


def test_batches_change_nothing(trained: Bench, result: dict) -> None:  # type: ignore[type-arg]
    batched = json.loads(
        trained.run("eval", DPO, "--suite", "pairs", "--json", "--set", "per_device_eval_batch_size=5").stdout
    )
    assert batched["pairs"] == 12
    assert batched["margin"]["value"] == pytest.approx(result["margin"]["value"], abs=1e-3)


def test_config_runs_unchanged_without_rlguide(trained: Bench, result: dict) -> None:  # type: ignore[type-arg]
    trained.run("eval", DPO, "--suite", "pairs", "--set", "output_dir=saves/plain_eval")
    trained.llamafactory("train", "configs/eval_config.yaml")
    plain = json.loads((trained.root / "saves/plain_eval/eval_results.json").read_text())
    assert plain["eval_rewards/margins"] == pytest.approx(result["margin"]["value"], abs=1e-3)


def test_refuses_training_pairs(trained: Bench) -> None:
    assert "was trained on" in trained.run("eval", DPO, "--suite", "pairs", "--dataset", "polite", code=2).stderr
