"""What a sweep trains and by what its trials are compared is settled and checked before the first one starts."""

# ruff: noqa: F401, F811  (fixtures of another folder)

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rlguide.catalog.best_by import LOSS_KEYS
from rlguide.catalog.methods import find_method
from rlguide.cli._training import arguments_of
from rlguide.errors import RlguideError, UsageError
from rlguide.recipes.options import TrainingOptions
from rlguide.sweeps import begin, planned
from rlguide.sweeps.begin import Asked, Begun, make_sweep
from rlguide.sweeps.notation import parse_axes
from rlguide.sweeps.objective import Objective, choose_objective
from rlguide.sweeps.planned import check_disk, disk_of
from rlguide.workspace import Workspace
from tests.cli.test_training_options import TYPED
from tests.recipes.conftest import ENGINE, SFT, ws

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def schema(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from rlguide.recipes import checks

    monkeypatch.setattr(begin, "load_schema", lambda engine: checks.load_schema(engine))


def made(ws: Workspace, kind: str, *axes: str, trials: int | None = None, **options: Any) -> Begun:
    asked = Asked(kind, parse_axes(kind, axes), trials)
    return make_sweep(ws, ENGINE, TrainingOptions(**options), asked, dry_run=True)


def test_every_point_of_a_grid_is_prepared(ws: Workspace) -> None:
    found = made(ws, "grid", "learning_rate=1e-6,5e-6", "lora_rank=8,16")
    assert found.sweep.trials == 4 and found.sweep.name == "dpo-learning_rate-lora_rank"
    configs = [(item.config["learning_rate"], item.config["lora_rank"]) for item in found.prepared]
    assert configs == [(1e-6, 8), (1e-6, 16), (5e-6, 8), (5e-6, 16)]
    assert found.sweep.objective == Objective("loss", "eval_loss", False)
    # What would change while it runs is settled: the newest checkpoint, the only dataset.
    assert found.sweep.train.sft_ckpt == SFT and found.sweep.train.datasets == ("polite",)
    assert {item.config["save_total_limit"] for item in found.prepared} == {1}


def test_a_fault_of_the_last_point_is_found_before_the_first_trial(ws: Workspace) -> None:
    with pytest.raises(UsageError, match="pref_beta"):
        made(ws, "grid", "pref_beta=0.1,-1")
    with pytest.raises(UsageError, match="did you mean learning_rate"):
        made(ws, "grid", "learning_rat=1,2")
    with pytest.raises(UsageError, match="both set and swept"):
        made(ws, "grid", "seed=1,2", settings={"seed": 3})


def test_with_another_loss_trials_are_compared_by_accuracy(ws: Workspace) -> None:
    found = made(ws, "search", "pref_beta=0.01:0.5:log", "learning_rate=1e-7:1e-5:log", trials=20)
    assert found.sweep.objective == Objective("accuracy", "eval_rewards/accuracies", True)
    assert found.sweep.train.best_by == "accuracy" and found.sweep.trials == 20
    # The best step of each trial is known by the same figure.
    assert {item.config["metric_for_best_model"] for item in found.prepared} == {"rewards/accuracies"}
    assert {item.config["pref_beta"] for item in found.prepared} == {0.01, 0.5}
    for by in ("loss", "margin"):
        with pytest.raises(UsageError, match=f"--best-by {by}: trials with another pref_beta"):
            made(ws, "grid", "pref_beta=0.1,0.3", best_by=by)


@pytest.mark.parametrize("key", LOSS_KEYS)
def test_every_key_of_a_loss_changes_the_objective(key: str) -> None:
    assert choose_objective(find_method("dpo"), None, ["seed", key]).by == "accuracy"
    with pytest.raises(UsageError, match="minimise another loss"):
        choose_objective(find_method("kto"), None, [key])
    assert choose_objective(find_method("dpo"), "margin", ["seed"]) == Objective("margin", "eval_rewards/margins", True)


def test_trials_on_other_held_out_data_are_refused(ws: Workspace) -> None:
    with pytest.raises(UsageError, match="different held-out data"):
        made(ws, "grid", "cutoff_len=256,512")
    with pytest.raises(UsageError, match="nothing is evaluated"):
        made(ws, "grid", "seed=1,2", settings={"eval_strategy": "no", "eval_dataset": None})


def test_a_config_of_ones_own_is_swept_by_its_own_rule(ws: Workspace) -> None:
    from rlguide.recipes.prepare import prepare

    config = ws.root / "我的 own.yaml"
    own = prepare(ws, ENGINE, TrainingOptions(settings={"metric_for_best_model": "rewards/margins"}), dry_run=True)
    config.write_text(own.text, encoding="utf-8")
    found = made(ws, "grid", "learning_rate=1e-6,5e-6", config=config)
    assert found.sweep.objective.by == "margin" and found.sweep.train.config == config
    by_loss = made(ws, "grid", "learning_rate=1e-6,5e-6", config=config, best_by="loss")
    assert {item.config["metric_for_best_model"] for item in by_loss.prepared} == {"loss"}
    assert by_loss.sweep.train.best_by is None  # train --config takes no --best-by


@pytest.mark.parametrize("name", TYPED)
def test_a_trial_is_asked_for_as_it_was_typed(name: str) -> None:
    """The words of each option, read by the command line again, make the same record."""
    import typer

    from rlguide.cli import build_app
    from rlguide.cli._training import _build

    words, value = TYPED[name]
    options = TrainingOptions(**{name: value})  # type: ignore[arg-type]
    again = arguments_of(options)
    command = typer.main.get_command(build_app(("train",))).commands["train"]  # type: ignore[attr-defined]
    given = [{key: item for key, item in command.make_context("train", list(said)).params.items() if item is not None}
             for said in (words, again)]  # fmt: skip
    assert given[0] == given[1] or name in ("datasets", "settings")
    known = {key: item for key, item in given[1].items() if key in TrainingOptions.__dataclass_fields__}
    if "config" in known:
        known["config"] = Path(known["config"])  # as the command gets it
    assert _build(known) == options


def test_the_disk_of_all_trials_is_asked_for(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made(ws, "grid", "lora_rank=8,64")
    needs = [item.disk_bytes for item in found.prepared]
    assert disk_of(found.prepared, 2) == 2 * max(needs) and needs[0] < needs[1]
    monkeypatch.setattr(planned, "free_bytes", lambda path: 2 * max(needs) - 1)
    with pytest.raises(RlguideError, match="2 trials need about"):
        check_disk(ws, disk_of(found.prepared, 2), 2)
    assert replace(found.sweep).same_as(found.sweep)
