"""Rules on the figures of a run: what each sees, what noise must not set off, and that no figures make them fail."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.catalog.diagnosis import LEVELS, diagnosis_rules
from rlguide.errors import UsageError
from rlguide.policy.run_record import RecordedReference, RunRecord
from rlguide.runs.diagnosis.advice import try_command
from rlguide.runs.diagnosis.diagnose import FUNCTIONS, diagnose, findings_of
from rlguide.runs.diagnosis.finding import finding_lines
from rlguide.runs.diagnosis.logs import Facts, Logs
from rlguide.runs.diagnosis.stopping import REQUEST, StopOn, parse_rules
from rlguide.runs.metrics import METRICS, MetricsLog, read_metrics, read_rows
from rlguide.runs.record import Run

DPO: dict[str, Any] = {
    "stage": "dpo",
    "pref_loss": "sigmoid",
    "pref_beta": 0.1,
    "learning_rate": 5e-6,
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 8,
    "num_train_epochs": 3.0,
    "output_dir": "saves/a/dpo",
}
Rows = list[dict[str, Any]]


def names(config: dict[str, Any], rows: Rows, facts: Facts | None = None) -> set[str]:
    return {finding.rule for finding in diagnose(config, rows, facts)}


def test_each_rule_has_words_and_a_function() -> None:
    rules = diagnosis_rules()
    assert list(rules) == sorted(rules, key=list(rules).index) and set(rules) == set(FUNCTIONS)
    assert len(rules) >= 15
    for rule in rules.values():
        assert rule.level in LEVELS and rule.source and rule.at
        assert rule.name not in rule.covers and set(rule.covers) <= set(rules)
        hide_each_other = [other for other in rule.covers if rule.name in rules[other].covers]
        assert not hide_each_other, f"{rule.name} and {hide_each_other} would both go untold"


# --- Nothing is found in noise -------------------------------------------------------------------------------


def sound_dpo(steps: int, every: int, evaluations: int, seed: int) -> Rows:
    """The logs of a DPO training that goes well, as noisy as batches of eight make it, with spikes of the gradient."""
    chance = random.Random(seed)
    held_out = 200
    rows: Rows = []
    for step in sorted({1, *range(every, steps + 1, every)}):
        done = step / steps
        pairs, margin = 8 * (every if step > 1 else 1), 1.4 * (1 - math.exp(-3 * done)) if step > 1 else 0.0
        accuracy = sum(chance.random() < 0.5 + 0.25 * min(1, 5 * done) for _ in range(pairs)) / pairs
        spread = 0.5 * min(1, 5 * done) / math.sqrt(pairs)
        loss = 0.6931 if step == 1 else 0.6931 - 0.2 * (1 - math.exp(-3 * done)) + chance.gauss(0, spread)
        chosen = -0.8 * margin + (chance.gauss(0, 2 * spread) if step > 1 else 0)
        rows.append(
            {
                "step": step,
                "loss": round(max(0.0, loss), 4),
                "grad_norm": 300.0 if chance.random() < 0.01 else math.exp(chance.gauss(1, 0.6)),
                "learning_rate": 5e-6,
                "rewards/chosen": chosen,
                "rewards/rejected": chosen - margin,
                "rewards/accuracies": accuracy if step > 1 else 0.0,
                "rewards/margins": margin,
                "logps/chosen": -260 + chosen / 0.1 + chance.gauss(0, 20),
                "epoch": 3 * done,
            }
        )
    for number in range(1, evaluations + 1):
        step = max(1, round(steps * number / evaluations))
        done = step / steps
        margin = 1.1 * (1 - math.exp(-3 * done))
        rows.append(
            {
                "step": step,
                "eval_loss": 0.6931 - 0.16 * (1 - math.exp(-3 * done)) + chance.gauss(0, 0.004),
                "eval_rewards/accuracies": 0.5 + 0.22 * min(1, 5 * done) + chance.gauss(0, 0.01),
                "eval_rewards/margins": margin,
                "eval_rewards/chosen": -0.8 * margin,
                "eval_rewards/rejected": -1.8 * margin,
                "eval_logps/chosen": -260 - 8 * margin,
                "eval_runtime": 10.0,
                "eval_samples_per_second": held_out / 10.0,
                "epoch": 3 * done,
            }
        )
    return sorted(rows, key=lambda row: row["step"])


@pytest.mark.parametrize(("steps", "every", "evaluations"), [(6000, 10, 500), (6000, 1, 10), (300, 5, 6), (20, 1, 2)])
def test_nothing_is_found_in_noise(steps: int, every: int, evaluations: int) -> None:
    """At the end, and at each tenth of the way."""
    for seed in range(10 if steps < 6000 else 3):
        rows = sound_dpo(steps, every, evaluations, seed)
        for tenth in range(1, 11):
            so_far = [row for row in rows if row["step"] <= steps * tenth / 10]
            facts = Facts(total_steps=steps, is_over=tenth == 10)
            assert diagnose(DPO, so_far, facts) == [], f"seed {seed}, {tenth}0 %"


def test_a_slow_rise_of_the_held_out_loss_is_found_among_five_hundred_evaluations() -> None:
    rows = sound_dpo(6000, 10, 500, 0)
    for row in rows:
        if "eval_loss" in row and row["step"] > 3000:
            row["eval_loss"] += 0.1 * (row["step"] - 3000) / 3000
    (finding,) = [found for found in diagnose(DPO, rows, Facts(is_over=True)) if found.rule == "overfitted"]
    best = int(finding.seen.split("step ")[1].split()[0])
    assert 2000 <= best <= 3700
    assert f"--set num_train_epochs={3 * best / 6000:.4}" in finding.command or "num_train_epochs=" in finding.command


# Held-out figures of published runs: steps, loss, chosen and rejected reward, accuracy, log-probability of
# the chosen responses (model cards on the hub).
PUBLISHED: list[tuple[str, dict[str, Any], list[tuple[float, ...]]]] = [
    (
        "zephyr-7b-dpo-qlora (chanchan7)",
        {"pref_beta": 0.01},
        [
            (100, 0.6868, 0.0390, 0.0284, 0.6146, -259.3),
            (200, 0.6657, 0.0334, -0.0194, 0.6399, -259.9),
            (5000, 0.4880, -2.8615, -3.9313, 0.7262, -549.4),
        ],
    ),
    (
        "zephyr-7b-dpo-full (ZHZisZZ)",
        {"pref_beta": 0.01},
        [(100, 0.5762, -0.5418, -1.0929, 0.7148, -316.8), (478, 0.5023, -1.0875, -2.0687, 0.7695, -371.3)],
    ),
    (
        "Llama-3-8b-instruct-SimPO (Syed-Hasan-8503)",
        {"pref_loss": "simpo", "pref_beta": 2.5, "simpo_gamma": 1.4},
        [
            (50, 1.2563, -2.7945, -3.7325, 0.7027, -1.1178),
            (100, 1.0619, -3.0769, -4.7343, 0.7320, -1.2308),
            (200, 0.9751, -3.4539, -5.6604, 0.7613, -1.3816),
        ],
    ),
]


@pytest.mark.parametrize(("name", "config", "evaluations"), PUBLISHED, ids=[item[0] for item in PUBLISHED])
def test_nothing_is_found_in_published_runs(
    name: str, config: dict[str, Any], evaluations: list[tuple[float, ...]]
) -> None:
    rows: Rows = []
    for step, loss, chosen, rejected, accuracy, logps in evaluations:
        held_out = {
            "loss": loss,
            "rewards/chosen": chosen,
            "rewards/rejected": rejected,
            "rewards/margins": chosen - rejected,
            "rewards/accuracies": accuracy,
            "logps/chosen": logps,
        }
        speed = {"eval_runtime": 100.0, "eval_samples_per_second": 20.0}
        rows.append({"step": int(step), **held_out})  # training figures are not published; in one epoch they are alike
        rows.append({"step": int(step), **speed, **{f"eval_{key}": value for key, value in held_out.items()}})
        facts = Facts(total_steps=int(evaluations[-1][0]), is_over=step == evaluations[-1][0])
        assert diagnose({**DPO, **config}, rows, facts) == [], f"{name}, step {step}"


# --- No figures make them fail -------------------------------------------------------------------------------

KEYS = st.sampled_from(
    [
        "step",
        "epoch",
        "loss",
        "grad_norm",
        "learning_rate",
        "kl",
        "reward",
        "accuracy",
        "sft_loss",
        "odds_ratio_loss",
        "rewards/chosen",
        "rewards/rejected",
        "rewards/margins",
        "rewards/accuracies",
        "logps/chosen",
        "logits/chosen",
        "eval_loss",
        "eval_accuracy",
        "eval_rewards/chosen",
        "eval_rewards/margins",
        "eval_rewards/accuracies",
        "eval_logps/chosen",
        "eval_runtime",
        "eval_samples_per_second",
    ]
)
ODD = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(-5, 5),
    st.integers(-(10**40), 10**40),
    st.sampled_from(["nan", "inf", "-inf", "", "0.5", None, True, [], {}, 1e308, -1e308, 5e-324]),
)
ROWS = st.lists(
    st.one_of(
        st.dictionaries(KEYS, ODD, max_size=12),
        st.builds(lambda row, step: {**row, "step": step, "loss": 0.5}, st.dictionaries(KEYS, ODD), st.integers(0, 99)),
        st.builds(
            lambda row, step: {**row, "step": step, "eval_loss": 0.5}, st.dictionaries(KEYS, ODD), st.integers(0, 99)
        ),
        st.just("no row"),
    ),
    max_size=25,
)
CONFIG_KEYS = st.sampled_from(
    [
        "pref_beta",
        "simpo_gamma",
        "learning_rate",
        "max_steps",
        "num_train_epochs",
        "warmup_steps",
        "warmup_ratio",
        "pref_ftx",
        "fp16",
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "kto_chosen_weight",
        "kto_rejected_weight",
        "ppo_target",
        "cutoff_len",
        "output_dir",
    ]
)
CONFIGS = st.builds(
    lambda method, odd: {**odd, **method},
    st.sampled_from(
        [
            {},
            *({"stage": "dpo", "pref_loss": loss} for loss in ("sigmoid", "hinge", "ipo", "orpo", "simpo", "new")),
            *({"stage": stage} for stage in ("kto", "rm", "sft", "ppo", "pt", 7)),
        ]
    ),
    st.dictionaries(CONFIG_KEYS, ODD),
)
FACTS = st.builds(
    Facts,
    processes=st.integers(1, 8),
    total_steps=st.integers(0, 100),
    is_over=st.booleans(),
    data=st.dictionaries(st.sampled_from(["good", "bad", "cut", "longer", "distance", "sampled"]), ODD),
)


@given(CONFIGS, ROWS, FACTS)
def test_it_raises_nothing_whatever_the_figures_are(config: dict[str, Any], rows: list[Any], facts: Facts) -> None:
    for finding in diagnose(config, rows, facts):
        assert finding.seen and finding.means and finding.fix and finding.source
        assert "{" not in finding.seen + finding.means + finding.fix
        assert finding.level in LEVELS


@given(ROWS)
def test_windows_hold_what_they_say(rows: list[Any]) -> None:
    logs = Logs(DPO, rows)
    tail = logs.tail(64, 3)
    assert len(tail) <= max(1, len(logs.train) // 2)
    assert tail == logs.train[len(logs.train) - len(tail) :]
    steps = [row["step"] for row in logs.held_out]
    assert len(steps) == len(set(steps))
    assert all(math.isfinite(value) for row in (*logs.train, *logs.held_out) for value in row.values())


# --- What single rules see -----------------------------------------------------------------------------------


def test_infinite_norms_are_how_fp16_finds_its_scale() -> None:
    rows: Rows = [{"step": step, "loss": 0.6, "grad_norm": 1.0} for step in range(1, 9)]
    rows[0]["grad_norm"] = rows[1]["grad_norm"] = "inf"
    assert "nan" not in names({**DPO, "fp16": True}, rows)
    assert "nan" in names({**DPO, "bf16": True}, rows)
    rows[2]["grad_norm"] = math.nan
    (finding,) = [found for found in diagnose({**DPO, "fp16": True}, rows) if found.rule == "nan"]
    assert finding.step == 1 and finding.command.endswith("--set fp16=false --set bf16=true")


def test_logits_that_are_no_number_are_no_matter() -> None:
    assert "nan" not in names(DPO, [{"step": 1, "loss": 0.6931, "logits/chosen": math.nan}])


def test_what_is_known_before_the_first_step_is_said_then() -> None:
    assert "warmup" in names({**DPO, "max_steps": 100, "warmup_steps": 200}, [])
    assert "warmup" not in names({**DPO, "max_steps": 100, "warmup_ratio": 0.1}, [])
    for batch, level in ((1, "warning"), (3, "note")):
        (finding,) = diagnose({"stage": "kto", "per_device_train_batch_size": batch}, [])
        assert (finding.rule, finding.level) == ("kto_batch", level)
    assert names({"stage": "kto", "per_device_train_batch_size": 2}, [], Facts(processes=2)) == set()
    assert names({"stage": "dpo", "pref_loss": "simpo"}, []) == {"simpo_settings"}  # LLaMA-Factory's beta of 0.1


def test_kto_s_logits_are_explained() -> None:
    row = {"step": 1, "loss": 0.5, "logits/chosen": -1.2e8, "rewards/chosen": 0.0, "rewards/rejected": 0.0}
    (finding,) = diagnose({"stage": "kto", "per_device_train_batch_size": 8}, [row])
    assert (finding.rule, finding.level) == ("kto_logits", "note")


# Of LLaMA-Factory 0.9.3 on the demo's model, with its learning rate and with 500 times that.
PPO_SOUND = [0.0, 0.0, 0.0, 0.01, 0.01, 0.01, -0.01, 0.01, 0.0, 0.0, -0.02, 0.02, -0.01, -0.04, 0.03, 0.01]
PPO_BROKEN = [0, 0, 1.15, 3.84, 4.78, 30.6, 19.1, 19.4, 12.8, 27.1, 35.2, 27.8, 25.0, 22.7, 41.5, 41.6]


@pytest.mark.parametrize(
    ("kl", "rises", "said"),
    [(PPO_BROKEN, False, "the updates are too large"), (PPO_BROKEN, True, "overrates"), (PPO_SOUND, True, "")],
)
def test_a_divergence_that_runs_away_is_found(kl: list[float], rises: bool, said: str) -> None:
    reward = 0.1 if rises else -0.1
    rows = [{"step": n, "loss": 0.05 * n, "reward": reward * n, "kl": nats} for n, nats in enumerate(kl, start=1)]
    found = diagnose({"stage": "ppo", "ppo_target": 6.0}, rows)
    assert [finding.rule for finding in found] == (["ppo_kl"] if said else [])
    assert all(said in finding.means for finding in found)


def test_a_reward_model_s_evaluation_says_more_than_its_data() -> None:
    config, data = {"stage": "rm"}, {"longer": 0.9, "sampled": 100}
    assert names(config, [], Facts(data=data)) == {"rm_length"}
    fine = {"longer": (0.8, 0.7, 0.9), "shorter": (0.7, 0.6, 0.8)}
    assert names(config, [], Facts(data=data, by_length=fine)) == set()
    worse = {**fine, "shorter": (0.4, 0.3, 0.5)}
    assert names(config, [], Facts(by_length=worse)) == {"rm_length"}


def test_the_cause_is_told_and_not_what_follows_from_it() -> None:
    rows: Rows = [{"step": n, "loss": 0.0 if n > 1 else 0.6931, "grad_norm": "nan"} for n in range(1, 31)]
    assert names(DPO, rows) == {"nan"}


def test_settings_follow_from_those_of_the_run() -> None:
    rows: Rows = [{"step": n, "loss": 3.0 if n > 1 else 0.6931, "grad_norm": 1.0} for n in range(1, 31)]
    (finding,) = diagnose({**DPO, "output_dir": "saves/my run"}, rows)
    assert finding.command == "rlguide train --replay 'saves/my run' --set learning_rate=5e-07"
    assert try_command(None, {"a": 1}) == try_command("saves/a", {}) == ""


# --- In the folder of a run ----------------------------------------------------------------------------------


def run_in(folder: Path, config: dict[str, Any]) -> Run:
    record = RunRecord(
        method="dpo", base="b", stack=("run",), reference=RecordedReference("b", ()), config=config, status="finished"
    )
    return Run(folder, "run", record)


def test_what_is_no_number_is_kept_in_the_file_and_drawn_by_nobody(tmp_path: Path) -> None:
    with MetricsLog(tmp_path / METRICS) as log:
        log.add(1, {"loss": 0.5, "grad_norm": math.nan, "kl": -math.inf})
    text = (tmp_path / METRICS).read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"step": 1, "loss": 0.5, "grad_norm": "nan", "kl": "-inf"}
    assert read_metrics(tmp_path / METRICS) == [{"step": 1, "loss": 0.5}]
    with MetricsLog(tmp_path / METRICS, start_step=1):  # as a resume does
        pass
    assert read_rows(tmp_path / METRICS) == [json.loads(text)]
    found = findings_of(run_in(tmp_path, DPO))
    assert [finding.rule for finding in found] == ["nan"]
    lines = finding_lines(found[0])
    assert lines[0] == "ERROR nan: grad_norm is not a number at step 1"
    assert lines[2].startswith("  fix: lower the learning rate: `rlguide train --replay ")


@given(st.binary(max_size=300))
def test_a_damaged_file_has_no_findings_that_fail(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("run")
    (folder / METRICS).write_bytes(content)
    findings_of(run_in(folder, DPO))


def test_rules_to_stop_on_are_those_of_the_catalog() -> None:
    assert parse_rules("nan, overfitted,nan") == ("nan", "overfitted")
    assert parse_rules("none") == ()
    with pytest.raises(UsageError, match=r"no rule overfited \(did you mean overfitted\?\)"):
        parse_rules("overfited")
    with pytest.raises(UsageError, match="none stands alone"):
        parse_rules("nan,none")


def test_a_finding_asks_the_worker_to_stop_once(tmp_path: Path) -> None:
    run = run_in(tmp_path, DPO)
    stop_on = StopOn(run, ("nan", "diverged"))
    sound = [{"step": step, "loss": 0.69, "grad_norm": 1.0} for step in range(1, 30)]
    assert [stop_on.see(row) for row in sound] == [None] * 29
    assert not (tmp_path / REQUEST).exists()
    finding = stop_on.see({"step": 30, "loss": 0.0, "grad_norm": math.nan})
    assert finding is not None and finding.rule == "nan"
    assert json.loads((tmp_path / REQUEST).read_text()) == {"save": False}
    assert stop_on.see({"step": 31, "loss": math.nan}) is None
    error = stop_on.settle()
    assert error is not None and error.exit_code == 3 and not (tmp_path / REQUEST).exists()


def test_what_was_known_before_a_resume_does_not_stop_it_again(tmp_path: Path) -> None:
    run = run_in(tmp_path, DPO)
    risen: Rows = [{"step": step, "loss": 0.6931 if step == 1 else 3.0, "grad_norm": 1.0} for step in range(1, 30)]
    assert StopOn(run, ("diverged",)).see(risen[0]) is None
    fresh = StopOn(run, ("diverged",))
    assert any(fresh.see(row) for row in risen)
    resumed = StopOn(run, ("diverged", "nan"), risen)
    assert [resumed.see({"step": step, "loss": 3.0}) for step in (30, 31)] == [None, None]
    assert resumed.see({"step": 32, "loss": math.inf}) is not None
