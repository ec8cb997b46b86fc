"""Every method on the real engine, each checked by a fact that would be false if another one had been trained."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tests.e2e.conftest import SFT, Bench, settings

pytestmark = pytest.mark.engine

ONE_PAIR = ("max_steps=1", "gradient_accumulation_steps=1", "eval_strategy=no")


def train(
    bench: Bench, *options: str, extra: tuple[str, ...] = ONE_PAIR, output: str = "saves/run"
) -> dict[str, float]:
    """Train one step; returns the first log."""
    bench.run("train", "--sft-ckpt", SFT, "--dataset", "polite", "-o", output, *options, *settings(*extra))
    return next(row for row in bench.history(output) if "loss" in row)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


@pytest.mark.parametrize(
    ("options", "loss"),
    [
        (["--loss", "hinge"], 1.0),
        (["--loss", "ipo"], 25.0),
        (["--loss", "ipo", "--set", "pref_beta=0.5"], 1.0),
        (["--method", "kto"], 0.5),
    ],
    ids=["hinge", "ipo", "ipo beta 0.5", "kto from pairs"],
)
def test_first_loss_with_a_reference(bench: Bench, options: list[str], loss: float) -> None:
    """Policy = reference: hinge relu(1 - 0), ipo (0 - 1 / (2 beta))^2, kto 1 - sigmoid(0)."""
    first = train(bench, *options)
    assert first["loss"] == pytest.approx(loss, rel=1e-3)
    assert all(abs(first[key]) < 1e-6 for key in ("rewards/chosen", "rewards/rejected") if key in first)
    record = json.loads((bench.root / "saves/run/run.json").read_text(encoding="utf-8"))
    assert record["start_check"]["ok"] is True


def test_simpo_is_simpo(bench: Bench) -> None:
    """One pair: loss = softplus(gamma - margin), the margin of beta x mean log-probabilities."""
    first = train(bench, "--method", "simpo", "--set", "simpo_gamma=1.5")
    assert first["loss"] == pytest.approx(softplus(1.5 - first["rewards/margins"]), abs=2e-3)
    assert first["rewards/chosen"] == pytest.approx(2.0 * first["logps/chosen"], rel=1e-3)


def test_orpo_is_orpo(bench: Bench) -> None:
    """loss = SFT loss + beta x odds-ratio loss, both of which the engine logs for ORPO only."""
    first = train(bench, "--method", "orpo", "--set", "pref_beta=0.3")
    assert first["loss"] == pytest.approx(first["sft_loss"] + 0.3 * first["odds_ratio_loss"], abs=2e-3)
    assert first["sft_loss"] == pytest.approx(-first["logps/chosen"], abs=2e-3)


def test_sft_loss_is_mixed_in_proportion(bench: Bench) -> None:
    """loss(ftx) = ln 2 + ftx x SFT loss on the same pair."""
    mixed = [
        train(bench, "--set", f"pref_ftx={share}", output=f"saves/ftx{share}")["loss"] - math.log(2)
        for share in (0.2, 0.6)
    ]
    assert mixed[0] > 0.1
    assert mixed[1] == pytest.approx(3 * mixed[0], rel=1e-2)


def test_bco_weight_reaches_the_engine(bench: Bench) -> None:
    """At rewards of 0 the BCO loss is 2 ln 2, so that with weight 1 the first loss is (ln 2 + 2 ln 2) / 2."""
    assert train(bench, "--set", "pref_bco_weight=1.0")["loss"] == pytest.approx(1.5 * math.log(2), abs=1e-3)


def test_label_smoothing_reaches_the_engine(bench: Bench) -> None:
    """One pair a step: loss = (1 - e) softplus(-margin) + e softplus(margin), on a step whose margin is not 0."""
    few = ("max_steps=3", "gradient_accumulation_steps=1", "eval_strategy=no")
    train(bench, "--set", "dpo_label_smoothing=0.3", extra=few)
    last = [row for row in bench.history("saves/run") if "loss" in row][-1]
    margin = last["rewards/margins"]
    assert abs(margin) > 0.05
    assert last["loss"] == pytest.approx(0.7 * softplus(-margin) + 0.3 * softplus(margin), abs=1e-3)


def test_ld_alpha_reaches_the_engine(bench: Bench) -> None:
    """The policy's surplus tokens weigh less, the reference's do not: the loss is not ln 2 and no check claims so."""
    first = train(bench, "--set", "ld_alpha=0.1")
    assert abs(first["loss"] - math.log(2)) > 0.01
    assert json.loads((bench.root / "saves/run/run.json").read_text(encoding="utf-8"))["start_check"] is None


def test_reward_model(bench: Bench) -> None:
    """A random value head: loss about ln 2; it is no policy, so nothing is trained on top of it."""
    many = ("max_steps=6", "eval_steps=6", "learning_rate=1e-3")
    first = train(bench, "--method", "rm", extra=many)
    assert first["loss"] == pytest.approx(math.log(2), abs=0.4)
    record = json.loads((bench.root / "saves/run/run.json").read_text(encoding="utf-8"))
    assert record["method"] == "rm"
    assert 0 <= record["summary"]["held_out"]["eval_accuracy"] <= 1
    assert (
        "reward model" in bench.run("train", "--from", "saves/run", "--dataset", "polite", "--dry-run", code=1).stderr
    )


def test_kto_from_labels(bench: Bench) -> None:
    """Twice as many good as bad answers: the bad ones weigh more, and the run starts at its reference."""
    rows = [{"prompt": f"Question {i}: 你好?", "completion": f"Answer {i}", "label": i % 3 != 0} for i in range(60)]
    (bench.root / "thumbs.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    told = bench.run("register", "thumbs.jsonl")
    assert "--method kto" in told.stderr
    assert "--method kto" in bench.run("train", "--sft-ckpt", SFT, "--dataset", "thumbs", code=1).stderr
    bench.run("train", "--sft-ckpt", SFT, "--method", "kto", "--dataset", "thumbs", "-o", "saves/run", *settings())
    config = json.loads((bench.root / "saves/run/run.json").read_text(encoding="utf-8"))["config"]
    assert config["kto_chosen_weight"] == 1.0
    assert config["kto_rejected_weight"] > 1.0
    first = next(row for row in bench.history("saves/run") if "loss" in row)
    assert all(abs(first[key]) < 1e-6 for key in ("rewards/chosen", "rewards/rejected", "kl") if key in first)


def test_another_round(trained: Bench, tmp_path: Path) -> None:
    """The reference of the second round is the policy of the first: ln 2 again, and the stack grows."""
    trained.run("train", "--from", "saves/tiny/lora/dpo", "--dataset", "polite", "-o", "saves/round2", *settings())
    record = json.loads((trained.root / "saves/round2/run.json").read_text(encoding="utf-8"))
    assert record["stack"] == [SFT, "saves/tiny/lora/dpo", "saves/round2"]
    assert record["reference"]["adapters"] == [SFT, "saves/tiny/lora/dpo"]
    first = next(row for row in trained.history("saves/round2") if "loss" in row)
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-3)
    assert first["rewards/chosen"] == 0
    result = json.loads(trained.run("eval", "--suite", "pairs", "saves/round2", "--json").stdout)
    assert result["reference"] == f"models/tiny + {SFT} + saves/tiny/lora/dpo"
    assert result["policy"].endswith("saves/round2")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--method", "simpoo"], "did you mean simpo?"),
        (["--loss", "hing"], "did you mean hinge?"),
        (["--method", "kto", "--loss", "hinge"], "no choice of losses"),
        (["--set", "simpo_gamma=1.0"], "simpo_gamma has no effect with dpo"),
        (["--method", "simpo", "--set", "dpo_label_smoothing=0.1"], "no effect with simpo"),
        (["--loss", "hinge", "--set", "dpo_label_smoothing=0.1"], "no effect with pref_loss hinge"),
        (["--method", "rm", "--set", "pref_beta=0.1"], "no effect with rm"),
        (["--method", "kto", "--set", "ld_alpha=0.5"], "no effect with kto"),
        (["--from", "saves/tiny/lora/dpo"], "both say where to start"),
    ],
)
def test_refused(bench: Bench, options: list[str], words: str) -> None:
    done = bench.run("train", "--sft-ckpt", SFT, "--dataset", "polite", *options, code=2)
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 2


def test_missing_packages_are_named(bench: Bench) -> None:
    done = bench.run("train", "--sft-ckpt", SFT, "--dataset", "polite", "--set", "use_unsloth=true", code=1)
    assert "needs unsloth, which the engine does not have" in done.stderr


def test_quantized_base(bench: Bench) -> None:
    """A 4-bit base cannot carry the SFT adapter: it is merged first, once, and the first loss is ln 2 all the same."""
    first = train(bench, "--quantization", "4")
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-3)
    assert first["rewards/chosen"] == 0
    record = json.loads((bench.root / "saves/run/run.json").read_text(encoding="utf-8"))
    assert record["base"].startswith("saves/tiny/merged/sft")
    assert record["stack"] == ["saves/run"]
    assert record["config"]["quantization_bit"] == 4
    again = bench.run(
        "train", "--sft-ckpt", SFT, "--dataset", "polite", "--quantization", "4", "-o", "saves/b", "--dry-run"
    )
    assert "merged already" in again.stderr
    result = json.loads(bench.run("eval", "--suite", "pairs", "saves/run", "--json", "--set", "max_samples=3").stdout)
    assert result["pairs"] == 3
    # Its adapter is merged into the full base: the engine refuses to merge into a quantized one.
    said = json.loads(bench.run("export", "saves/run", "--json").stdout)
    assert said["stack"] == ["saves/run"]
    assert said["compared"]["difference"] < 1e-5
