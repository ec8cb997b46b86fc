"""The numbers of a run."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest

from rlguide.runs.diagnosis.first_step import check_start
from rlguide.runs.metrics import MetricsLog, read_metrics, settle_metrics, summarize
from rlguide.runs.plots import plot_run

ZERO = {"rewards/chosen": 0.0, "rewards/rejected": 0.0}


@pytest.mark.parametrize(
    ("config", "loss"),
    [
        ({"pref_loss": "sigmoid", "pref_beta": 0.1}, math.log(2)),
        ({"pref_loss": "hinge", "pref_beta": 0.1}, 1.0),
        ({"pref_loss": "ipo", "pref_beta": 0.1}, 25.0),
        ({"pref_loss": "ipo", "pref_beta": 0.5}, 1.0),
    ],
)
def test_first_loss_identities(config: dict[str, object], loss: float) -> None:
    good = check_start(config, {"loss": round(loss, 4), **ZERO})
    assert good is not None
    assert good.ok
    bad = check_start(config, {"loss": loss * 0.95, **ZERO})
    assert bad is not None
    assert not bad.ok


def test_the_measured_trap_is_seen() -> None:
    """Figures of a run whose reference was the base model."""
    check = check_start({}, {"loss": 0.6248, "rewards/chosen": 0.87, "rewards/rejected": 0.5})
    assert check is not None
    assert not check.ok
    assert "NOT the starting policy" in check.message


@pytest.mark.parametrize("config", [{"pref_ftx": 0.2}, {"pref_bco_weight": 1}])
def test_with_another_loss_mixed_in_the_rewards_tell(config: dict[str, object]) -> None:
    good, bad = check_start(config, {"loss": 3.0, **ZERO}), check_start(config, {"loss": 3.0, "rewards/chosen": 0.9})
    assert good is not None
    assert good.ok
    assert bad is not None
    assert not bad.ok


def test_a_small_beta_hides_nothing() -> None:
    """Log-ratios of 9.5 nats are rewards of 0.0095 at beta 0.001."""
    check = check_start({"pref_beta": 0.001}, {"loss": 0.6931, "rewards/chosen": 0.0095, "rewards/rejected": 0.0})
    assert check is not None
    assert not check.ok
    assert "9.5 nats" in check.message
    exact = check_start({"pref_beta": 10.0}, {"loss": 0.6931, **ZERO})
    assert exact is not None
    assert exact.ok


@pytest.mark.parametrize(
    "config", [{"pref_loss": "orpo"}, {"ref_model": "m"}, {"ld_alpha": 0.5}, {"neftune_noise_alpha": 5}]
)
def test_no_identity_where_there_is_none(config: dict[str, object]) -> None:
    assert check_start(config, {"loss": 3.0, **ZERO}) is None


def test_what_was_logged_after_the_checkpoint_is_logged_anew(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path) as log:
        for step in (1, 10, 20):
            assert log.add(step, {"loss": 1.0}) == {"step": step, "loss": 1.0}
    with MetricsLog(path, start_step=10) as log:
        log.add(11, {"eval_loss": 0.5})
    assert [row["step"] for row in read_metrics(path)] == [1, 10, 11]


@pytest.mark.parametrize("step", ["1" + "0" * 400, "-1e3", "true", "null", '"1"'])
def test_a_row_without_a_step_that_a_run_can_have_is_left_out(tmp_path: Path, step: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": {step}, "loss": 1}}\n{{"step": 2, "loss": 1}}\n')
    assert read_metrics(path) == [{"step": 2, "loss": 1}]


def test_settled_from_the_trainers_record(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 99, "loss": 1}\n{"step": 1')
    assert [row["step"] for row in settle_metrics(tmp_path)] == [99]  # no record yet; the torn line is left out
    history = [
        {"loss": 0.69, "step": 1, "rewards/chosen": 0.0, "rewards/accuracies": 0.0},
        {"eval_loss": 0.6, "step": 2},
        {"loss": 0.5, "step": 2, "rewards/chosen": 0.1, "rewards/accuracies": 1.0},
        {"train_runtime": 3.0, "step": 2},
    ]
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    rows = settle_metrics(tmp_path)
    assert [row["step"] for row in rows] == [1, 2, 2]
    summary = summarize(rows)
    assert (summary["first"]["loss"], summary["last"]["loss"], summary["held_out"]["eval_loss"]) == (0.69, 0.5, 0.6)
    assert [path.name for path in plot_run(rows, tmp_path)] == ["loss.png", "rewards.png"]
    assert plot_run(rows[:1], tmp_path) == []


def test_without_matplotlib_a_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    assert plot_run([{"step": 1, "loss": 0.7}, {"step": 2, "loss": 0.6}], tmp_path) == []
    assert "pip install matplotlib" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
