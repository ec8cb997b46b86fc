"""The best step of a run, and which step the commands take."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.catalog.best_by import BEST_BY, best_keys, rule_of
from rlguide.catalog.methods import find_method, methods
from rlguide.cli._training import at_steps
from rlguide.errors import UsageError
from rlguide.recipes.options import TrainingOptions
from rlguide.recipes.prepare import prepare
from rlguide.runs.best import at_step, best_step, step_meant
from rlguide.runs.choose import ModelRequest, choose_partner
from rlguide.runs.metrics import settle_metrics
from rlguide.runs.record import Run, open_run
from rlguide.workspace import Workspace
from tests.policy.checkpoint_files import write_lora, write_state
from tests.recipes.conftest import ENGINE, SFT, ws

__all__ = ["ws"]
RUN = "saves/tiny/lora/dpo"
HELD_OUT = {4: (0.60, 0.70), 8: (0.50, 0.80), 12: (0.55, 0.90)}  # by step: loss and accuracy


@pytest.fixture
def run(ws: Workspace) -> Run:
    """A finished run of 12 steps, best at step 8 by its loss and at the end by its accuracy."""
    folder = write_lora(ws.root / RUN)
    for step in (4, 8):
        write_lora(folder / f"checkpoint-{step}")
        write_state(folder / f"checkpoint-{step}", [], step)
    write_state(folder, [], 12)
    rows = [
        {"step": step, "eval_loss": loss, "eval_rewards/accuracies": share} for step, (loss, share) in HELD_OUT.items()
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    record = {
        "method": "dpo",
        "status": "finished",
        "created": "2026-02-02",
        "base": "models/tiny-base",
        "template": "qwen3_nothink",
        "stack": [SFT, RUN],
        "reference": {"base": "models/tiny-base", "adapters": [SFT]},
        "total_steps": 12,
        "config": {"stage": "dpo", "dataset": "polite", "eval_dataset": "polite_test", "default_system": "Be brief."},
    }
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "config.yaml").write_text("stage: dpo\ndefault_system: Be brief.\n")
    return open_run(ws, RUN)


def with_config(run: Run, **keys: object) -> Run:
    return replace(run, record=replace(run.record, config={**run.config, **keys}))


def test_the_best_step_is_that_of_the_lowest_held_out_loss(run: Run) -> None:
    best = best_step(run)
    assert best is not None
    assert (best.step, best.metric, best.value) == (8, "eval_loss", 0.5)
    assert best.folder == run.path / "checkpoint-8"


@pytest.mark.parametrize("metric", ["rewards/accuracies", "eval_rewards/accuracies"])
def test_the_config_says_another_rule(run: Run, metric: str) -> None:
    best = best_step(with_config(run, metric_for_best_model=metric))
    assert best is not None
    assert (best.step, best.value, best.folder) == (12, 0.9, run.path)
    worst = best_step(with_config(run, metric_for_best_model=metric, greater_is_better=False))
    assert worst is not None and worst.step == 4


def test_the_rules_of_the_option_are_those_of_the_config() -> None:
    method = find_method("dpo")
    assert [rule_of(best_keys(method, by)).words for by in BEST_BY] == [f"held-out {by}" for by in BEST_BY]
    assert [rule_of(best_keys(method, by)).is_greater for by in BEST_BY] == [False, True, True]
    assert rule_of(best_keys(find_method("rm"), "accuracy")).metric == "eval_accuracy"
    assert {by for item in methods().values() for by in item.best_by} <= set(BEST_BY)


def test_where_it_was_not_kept_the_last_is_taken_and_that_is_said(run: Run) -> None:
    (run.path / "checkpoint-8/adapter_model.safetensors").write_bytes(b"")
    meant = step_meant(run)
    assert meant.folder == run.path
    assert meant.words == "12, the last; the best by held-out loss, step 8 (0.5000), was not kept"


def test_the_first_of_equals_and_no_step_before_the_first(run: Run) -> None:
    rows = [{"step": step, "eval_loss": loss} for step, loss in ((0, 0.1), (4, 0.5), (8, 0.5), (12, math.nan))]
    (run.path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    best = best_step(run)
    assert best is not None and best.step == 4


def test_nothing_is_best_where_nothing_was_held_out(run: Run) -> None:
    (run.path / "metrics.jsonl").unlink()
    assert best_step(run) is None
    assert (step_meant(run).folder, step_meant(run).words) == (run.path, "12, the last")


@given(st.lists(st.tuples(st.integers(1, 12), st.floats(width=32) | st.none() | st.text(max_size=3)), max_size=8))
def test_whatever_the_metrics_hold(tmp_path_factory: pytest.TempPathFactory, found: list[tuple[int, object]]) -> None:
    folder = tmp_path_factory.mktemp("run")
    rows = [{"step": step, "eval_loss": value} for step, value in found]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{\n")
    record = {"base": "b", "stack": [], "reference": {"base": "b", "adapters": []}, "config": {}, "status": "failed"}
    (folder / "run.json").write_text(json.dumps(record))
    best = best_step(open_run(Workspace(folder.parent), folder.name))
    numbers = [(value, step) for step, value in found if isinstance(value, float) and math.isfinite(value)]
    assert (best is None) == (not numbers)
    if best is not None:
        assert (best.value, best.step) == min(numbers)


def test_the_last_step_counts_where_the_engine_evaluates_it_after_its_own_record(tmp_path: Path) -> None:
    write_state(tmp_path, [{"step": 8, "eval_loss": 0.5}, {"step": 10, "loss": 0.4}], step=11)
    (tmp_path / "eval_results.json").write_text('{"epoch": 2.0, "eval_loss": 0.3, "eval_runtime": 0.7}')
    assert settle_metrics(tmp_path)[-1] == {"step": 11, "epoch": 2.0, "eval_loss": 0.3, "eval_runtime": 0.7}
    assert settle_metrics(tmp_path)[-1]["step"] == 11
    write_state(tmp_path, [{"step": 8, "eval_loss": 0.5}, {"step": 11, "eval_loss": 0.3}], step=11)
    assert [row["step"] for row in settle_metrics(tmp_path)] == [8, 11]


def test_the_best_that_was_loaded_is_no_evaluation_of_the_last_step(tmp_path: Path) -> None:
    write_state(tmp_path, [{"step": 8, "eval_loss": 0.3}], step=11)
    (tmp_path / "eval_results.json").write_text('{"eval_loss": 0.3}')
    (tmp_path / "config.yaml").write_text("load_best_model_at_end: true\n")
    assert settle_metrics(tmp_path) == [{"step": 8, "eval_loss": 0.3}]


@pytest.mark.parametrize(
    ("wanted", "top", "said"),
    [
        (
            {},
            f"{RUN}/checkpoint-8",
            "8 of 12, the best by held-out loss (0.5000; 0.5500 at step 12); the last one: --last",
        ),
        ({"last": True}, RUN, "12, the last"),
        ({"step": 12}, RUN, "12 of 12"),
        ({"step": 4}, f"{RUN}/checkpoint-4", "4 of 12"),
    ],
)
def test_chat_and_export_say_which_step_they_take(
    ws: Workspace, run: Run, capsys: pytest.CaptureFixture[str], wanted: dict[str, int], top: str, said: str
) -> None:
    partner = choose_partner(ws, ModelRequest(RUN, **wanted), dict)
    assert partner.policy.adapters == (SFT, top)
    assert partner.args["default_system"] == "Be brief."
    assert f"step       {said}" in " ".join(capsys.readouterr().err.split(" "))


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        (ModelRequest(RUN, step=5), "no checkpoint of step 5"),
        (ModelRequest(RUN, step=4, last=True), "two steps"),
        (ModelRequest(RUN, step=4, sft=True), "before the first step"),
        (ModelRequest(SFT, step=4), "--step belongs to a run"),
        (ModelRequest(base="models/tiny-base", last=True), "--last belongs to a run"),
    ],
)
def test_a_step_that_cannot_be_meant_is_refused(ws: Workspace, run: Run, wanted: ModelRequest, error: str) -> None:
    with pytest.raises(UsageError, match=error):
        choose_partner(ws, wanted, dict)


def test_of_an_unfinished_run_the_best_checkpoint_serves(ws: Workspace, run: Run) -> None:
    record = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))
    rows = [{"step": 4, "eval_loss": 0.4}, {"step": 8, "eval_loss": 0.5}]
    (run.path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for wanted, step in ((ModelRequest(RUN), 4), (ModelRequest(RUN, last=True), 8)):
        assert choose_partner(ws, wanted, dict).policy.adapters[-1] == f"{RUN}/checkpoint-{step}"


def test_a_run_trained_in_full_is_its_checkpoint_at_a_step(run: Run) -> None:
    record = replace(run.record, base=RUN, stack=())
    full = at_step(replace(run, record=record), step_meant(run))
    assert (full.policy.base, full.policy.adapters) == (f"{RUN}/checkpoint-8", ())


def test_what_the_engine_loaded_at_the_end_is_the_best(run: Run) -> None:
    meant = step_meant(with_config(run, load_best_model_at_end=True))
    assert (meant.step, meant.folder) == (8, run.path)
    assert meant.words == "8 of 12, the best by held-out loss (0.5000)"


@pytest.mark.parametrize(
    ("options", "top"),
    [({}, f"{RUN}/checkpoint-8"), ({"last": True}, RUN), ({"step": 4}, f"{RUN}/checkpoint-4")],
)
def test_another_round_starts_at_the_step_and_says_which(
    ws: Workspace, run: Run, options: dict[str, int], top: str
) -> None:
    asked = TrainingOptions(from_run=RUN, datasets=("polite",), output_dir="saves/next", **options)
    resolved, [line] = at_steps(ws, asked)
    prepared = prepare(ws, ENGINE, resolved, dry_run=True)
    assert prepared.reference.adapters == (SFT, top)
    assert prepared.config["adapter_name_or_path"] == f"{SFT},{top}"
    assert line.startswith(f"step       {RUN}: ")
    assert any("default_system: Be brief." in note for note in prepared.notes)  # as of the run itself


def test_a_reward_model_is_taken_at_its_best_step_too(ws: Workspace, run: Run) -> None:
    assert at_steps(ws, TrainingOptions(reward_model=RUN))[0].reward_model == f"{RUN}/checkpoint-8"
    shutil.rmtree(run.path / "checkpoint-8")
    assert at_steps(ws, TrainingOptions(reward_model=RUN))[0].reward_model == RUN


def test_the_option_becomes_keys_of_the_config(ws: Workspace) -> None:
    options = TrainingOptions(sft_ckpt=SFT, datasets=("polite",), best_by="margin")
    config = prepare(ws, ENGINE, options, dry_run=True).config
    assert (config["metric_for_best_model"], config["greater_is_better"]) == ("rewards/margins", True)
    assert rule_of(config).metric == "eval_rewards/margins"
