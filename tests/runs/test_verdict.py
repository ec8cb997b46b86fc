"""What a training came to: of each method, with and without held-out data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.evaluation.pairs import Evaluation
from rlguide.policy.run_record import RecordedReference, RunRecord
from rlguide.runs.best import Best
from rlguide.runs.diagnosis.finding import Finding, finding_lines
from rlguide.runs.record import Run
from rlguide.runs.report import report, report_lines
from rlguide.runs.verdict import judge, verdict_of
from rlguide.statistics import Estimate, mean, proportion

CONFIGS: dict[str, dict[str, Any]] = {
    "dpo": {"stage": "dpo", "pref_loss": "sigmoid"},
    "kto": {"stage": "kto"},
    "orpo": {"stage": "dpo", "pref_loss": "orpo"},
    "simpo": {"stage": "dpo", "pref_loss": "simpo"},
    "rm": {"stage": "rm"},
    "sft": {"stage": "sft"},
    "ppo": {"stage": "ppo"},
}


def run_of(folder: Path, method: str, rows: list[dict[str, Any]], held_out: int = 200, **values: Any) -> Run:
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    record = RunRecord(
        method=method,
        base="b",
        stack=("s", "saves/a"),
        reference=RecordedReference("b", ("s",)),
        config={"per_device_eval_batch_size": 1, **CONFIGS[method]},
        status="finished",
        held_out={"pairs_test": held_out} if held_out else {},
        datasets={"pairs": 800},
        effective_batch=8,
        total_steps=100,
    )
    return Run(folder, "saves/a", RunRecord(**{**record.__dict__, **values}))


def pairs_row(accuracy: float, loss: float = 0.5, margin: float = 0.4, step: int = 100) -> dict[str, float]:
    return {
        "step": step,
        "eval_loss": loss,
        "eval_rewards/accuracies": accuracy,
        "eval_rewards/margins": margin,
        "eval_rewards/chosen": margin / 2,
        "eval_rewards/rejected": -margin / 2,
    }


@pytest.mark.parametrize(
    ("row", "level", "said"),
    [
        (pairs_row(0.75), "good", "the policy has learnt the preference"),
        (pairs_row(0.52), "unclear", "no clear preference"),
        (pairs_row(0.95, loss=0.6929, margin=0.0004), "unclear", "still near the reference's (0.6931)"),
        (pairs_row(0.30), "bad", "prefers the REJECTED"),
        (pairs_row(0.75, loss=0.9), "bad", "above the reference's (0.6931)"),
        (pairs_row(0.0, loss=0.6931, margin=0.0), "bad", "nothing was learnt"),
    ],
)
def test_of_dpo_the_interval_is_wilsons_of_the_pairs_that_were_held_out(
    tmp_path: Path, row: dict[str, float], level: str, said: str
) -> None:
    verdict = verdict_of(run_of(tmp_path, "dpo", [{"step": 1, "loss": 0.6931}, row]))
    assert (verdict.level, said in verdict.text) == (level, True), verdict
    if row["eval_rewards/margins"]:
        found = proportion(round(row["eval_rewards/accuracies"] * 200), 200)
        assert (
            f"{found.value:.3f} on 200 held-out pairs, {found.low:.3f} to {found.high:.3f}, at step 100" in verdict.text
        )


@pytest.mark.parametrize(("count", "level"), [(10, "unclear"), (1000, "good")])
def test_the_same_accuracy_of_more_pairs_is_surer(tmp_path: Path, count: int, level: str) -> None:
    assert verdict_of(run_of(tmp_path, "dpo", [pairs_row(0.7)], count)).level == level


def test_no_run_is_good_beside_an_error_of_the_diagnosis(tmp_path: Path) -> None:
    rows = [{"step": 1, "loss": 0.6931}, pairs_row(0.75), {"step": 100, "loss": "nan"}]
    verdict = verdict_of(run_of(tmp_path, "dpo", rows))
    assert (verdict.level, verdict.more) == (
        "unclear",
        ("the diagnosis has an error: loss is not a number at step 100",),
    )


def test_what_is_not_exact_says_so(tmp_path: Path) -> None:
    config = {**CONFIGS["dpo"], "per_device_eval_batch_size": 16}
    verdict = verdict_of(run_of(tmp_path, "dpo", [pairs_row(0.75)], 168, config=config))
    assert "accuracy about 0.750" in verdict.text
    assert verdict.more == (
        "about, because 8 pairs count twice to fill the last batch; `rlguide eval saves/a` is exact",
    )


def test_of_val_size_the_pairs_are_counted_as_the_engine_splits_them(tmp_path: Path) -> None:
    run = run_of(tmp_path, "dpo", [pairs_row(0.75)], 0, config={**CONFIGS["dpo"], "val_size": 0.1})
    assert "on 80 held-out pairs" in verdict_of(run).text


@pytest.mark.parametrize(
    ("accuracy", "losses", "level", "said"),
    [
        (0.8, (1.4, 1.2), "good", "MORE"),
        (0.8, (1.2, 1.4), "bad", "MORE"),
        (0.5, (1.4, 1.2), "unclear", "as likely"),
        (0.2, (1.4, 1.2), "bad", "LESS likely"),
    ],
)
@pytest.mark.parametrize("method", ["orpo", "simpo"])
def test_without_a_reference_the_accuracy_is_not_what_was_learnt(
    tmp_path: Path, method: str, accuracy: float, losses: tuple[float, float], level: str, said: str
) -> None:
    rows = [pairs_row(accuracy, loss, step=step) for step, loss in zip((50, 100), losses, strict=True)]
    verdict = verdict_of(run_of(tmp_path, method, rows))
    assert verdict.level == level and said.lower() in verdict.text.lower()
    assert "learnt" not in verdict.text and "`rlguide eval` compares" in verdict.text


@pytest.mark.parametrize(
    ("loss", "margin", "level"),
    [(0.45, 0.8, "good"), (0.499, 0.01, "unclear"), (0.55, 0.2, "bad"), (0.45, -0.2, "bad"), (0.5, 0.0, "bad")],
)
def test_of_kto_it_is_the_loss_and_the_margin_without_an_interval(
    tmp_path: Path, loss: float, margin: float, level: str
) -> None:
    rows = [{"step": 100, "eval_loss": loss, "eval_rewards/margins": margin}]
    verdict = verdict_of(run_of(tmp_path, "kto", rows))
    assert verdict.level == level and "200 held-out examples" in verdict.text
    assert "without an interval" in verdict.more[0]


@pytest.mark.parametrize(
    ("losses", "level", "said"),
    [
        ({20: 1.8, 60: 1.5, 100: 1.4}, "good", "fell from 1.8000 at step 20 to 1.4000 at step 100"),
        ({20: 1.8, 60: 1.4, 100: 1.7}, "bad", "rose again, from 1.4000 at step 60 to 1.7000 at step 100"),
        ({100: 1.4}, "unclear", "measured once"),
        ({20: 1.4, 100: 1.41}, "unclear", "did not fall"),
    ],
)
def test_of_sft_it_is_the_course_of_the_held_out_loss(
    tmp_path: Path, losses: dict[int, float], level: str, said: str
) -> None:
    verdict = verdict_of(run_of(tmp_path, "sft", [{"step": s, "eval_loss": loss} for s, loss in losses.items()]))
    assert verdict.level == level and said in verdict.text and "200 held-out examples" in verdict.text


def test_of_a_reward_model_the_accuracy_is_exact(tmp_path: Path) -> None:
    verdict = verdict_of(run_of(tmp_path, "rm", [{"step": 9, "eval_loss": 0.4, "eval_accuracy": 0.8}]))
    assert verdict.level == "good" and "the reward model prefers the chosen responses" in verdict.text


@pytest.mark.parametrize("method", list(CONFIGS))
def test_without_held_out_data_nothing_is_claimed(tmp_path: Path, method: str) -> None:
    rows: list[dict[str, float]] = [{"step": step, "loss": 1 / step, "rewards/accuracies": 1.0} for step in range(1, 9)]
    if method == "ppo":
        rows = [{"step": step, "loss": 0.1, "reward": float(step)} for step in range(1, 9)]
    verdict = verdict_of(run_of(tmp_path, method, rows, 0))
    assert verdict.level == "unknown" and verdict.text.startswith("nothing was held out")
    if method == "ppo":
        assert "rose (+1.500 to +7.500, means of 2 logs" in verdict.text
    assert verdict_of(run_of(tmp_path, method, [], 0)).level == "unknown"


def test_an_evaluation_afterwards_says_more_than_the_one_during_training(tmp_path: Path) -> None:
    """And the same: the words are those of `rlguide eval`."""
    found = Evaluation(
        run="saves/a",
        datasets=("pairs_test",),
        pairs=200,
        accuracy=proportion(150, 200),
        ties=0,
        margin=mean([0.4, 0.5]),
        loss=mean([0.4, 0.5]),
        loss_of_reference=0.6931,
        chosen_reward=mean([0.4, 0.5]),
        rejected_reward=mean([0.4, 0.5]),
        policy="",
        reference="",
        scores="",
    )
    run = run_of(tmp_path, "dpo", [pairs_row(0.52)])
    assert verdict_of(run).level == "unclear"
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "result.json").write_text(json.dumps(found.as_dict()))
    verdict = verdict_of(run)
    assert verdict.level == "good" and verdict.text.startswith(found.verdict) and "by `rlguide eval`" in verdict.text


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: st.dictionaries(
            st.sampled_from(["accuracy", "loss", "ties", "value", "ci95_low", "ci95_high", "count"]), inner
        ),
    )
)
def test_whatever_an_evaluation_left_there_is_a_verdict(tmp_path_factory: pytest.TempPathFactory, left: Any) -> None:
    folder = tmp_path_factory.mktemp("run")
    (folder / "eval").mkdir()
    (folder / "eval" / "result.json").write_text(json.dumps(left))
    assert verdict_of(run_of(folder, "dpo", [pairs_row(0.75)])).level in ("good", "bad", "unclear", "unknown")


def test_with_another_reference_no_figure_is_good(tmp_path: Path) -> None:
    check = {"ok": False, "message": "the reference is NOT the starting policy"}
    verdict = verdict_of(run_of(tmp_path, "dpo", [pairs_row(0.9)], start_check=check))
    assert verdict.level == "bad" and verdict.more[0].startswith("the reference is not the starting policy")
    sound = verdict_of(run_of(tmp_path, "dpo", [pairs_row(0.9)], start_check={"ok": True, "message": ""}))
    assert sound.level == "good" and not sound.more


def test_a_held_out_loss_that_is_no_number_is_not_passed_over(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"step": 1, "loss": 0.6931}, {"step": 100, "eval_loss": "nan"}]
    verdict = verdict_of(run_of(tmp_path, "dpo", rows))
    assert verdict.level == "bad" and "not a number" in verdict.text


def test_what_was_held_out_and_not_evaluated_is_told_apart(tmp_path: Path) -> None:
    verdict = verdict_of(run_of(tmp_path, "dpo", [{"step": 1, "loss": 0.6931}]))
    assert verdict.text.startswith("nothing was evaluated on the held-out data")


def test_the_levels_are_those_of_the_interval() -> None:
    for low, high, level in ((0.51, 0.7, "good"), (0.4, 0.6, "unclear"), (0.3, 0.49, "bad")):
        assert judge(Estimate((low + high) / 2, low, high, 100))[0] == level
        assert judge(Estimate((low + high) / 2, low, high, 100), harm="it harms")[0] == "bad"


@pytest.mark.parametrize(("folder", "step"), [("checkpoint-50", 50), (None, 100)])
def test_the_verdict_is_on_the_step_that_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str | None, step: int
) -> None:
    """The best one where its checkpoint was kept, else the last."""
    best = Best(50, "eval_loss", 0.4, tmp_path / folder if folder else None)
    for module in ("verdict", "report"):
        monkeypatch.setattr(f"rlguide.runs.{module}.best_step", lambda run: best)
    run = run_of(tmp_path, "dpo", [pairs_row(0.9, 0.4, step=50), pairs_row(0.6, 0.6)])
    assert f"at step {step})" in verdict_of(run).text
    values = report(run)
    kept = "kept in saves/a/checkpoint-50" if folder else "its checkpoint was not kept"
    assert f"best step: 50 of 100 (eval_loss 0.4000), {kept}" in report_lines(values)
    json.dumps(values)


def test_findings_stand_before_the_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finding = Finding("a", "warning", 7, "seen so", "means that", "do this", "rlguide train --set pref_beta=0.3", "s")
    monkeypatch.setattr("rlguide.runs.report.findings_of", lambda run: [finding])
    rows: list[dict[str, float]] = [{"step": 1, "loss": 0.5}, pairs_row(0.6)]
    lines = report_lines(report(run_of(tmp_path, "dpo", rows, summary={"first": rows[0], "held_out": rows[1]})))
    at = lines.index(finding_lines(finding)[0])
    assert lines[at : at + len(finding_lines(finding))] == finding_lines(finding)
    assert 0 < at < next(index for index, line in enumerate(lines) if "first step" in line)


def test_the_verdict_comes_first_and_each_figure_has_its_size(tmp_path: Path) -> None:
    rows: list[dict[str, float]] = [{"step": step, "loss": 0.5} for step in (1, 10, 20, 100)]
    rows.append(pairs_row(0.75))
    run = run_of(tmp_path, "dpo", rows, summary={"first": rows[0], "last": rows[3], "held_out": rows[4]})
    values = report(run)
    lines = report_lines(values)
    assert lines[0].startswith("saves/a: the policy has learnt the preference")
    names = next(at for at, line in enumerate(lines) if "first step" in line)
    assert lines[names].split("  ")[-1].strip() == "held out" and names > 0
    assert lines[names + 1].split() == ["8", "pairs", "640", "pairs", "200", "pairs"]
    assert lines[names + 2].split() == ["loss", "0.5000", "0.5000", "0.5000"]
    assert values["verdict"]["level"] == "good" and values["counts"] == {"first": 8, "last": 640, "held_out": 200}


def test_a_column_without_figures_is_left_out(tmp_path: Path) -> None:
    rows: list[dict[str, float]] = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.4}]
    run = run_of(tmp_path, "sft", rows, 0, summary={"first": rows[0], "last": rows[1], "held_out": None})
    lines = report_lines(report(run))
    assert not any("held out  " in line or line.endswith("held out") for line in lines[1:])
    assert any(line.split() == ["8", "examples", "8", "examples"] for line in lines)
