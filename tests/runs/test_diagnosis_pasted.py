"""What the diagnosis says to try is a training that rlguide begins: each command is pasted, as `train` reads it."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import yaml

from rlguide.catalog.diagnosis import diagnosis_rules
from rlguide.runs.diagnosis.advice import try_command, values_of
from rlguide.runs.diagnosis.diagnose import diagnose
from rlguide.workspace import Workspace
from tests.recipes.conftest import ws as ws
from tests.runs.test_replay import again, begun

# The methods of which a rule speaks; the others are of any.
METHOD = {"orpo_unbalanced": "orpo", "simpo_degrades": "simpo", "simpo_settings": "simpo", "rm_at_chance": "rm"}


def pasted(ws: Workspace, run: Any, command: str) -> dict[str, Any]:
    words = shlex.split(command)
    assert words[:4] == ["rlguide", "train", "--replay", run.name]
    assert set(words[4::2]) == {"--set"}
    pairs = [word.split("=", 1) for word in words[5::2]]
    changed = {key: yaml.safe_load(value) for key, value in pairs}
    prepared = again(ws, run, **changed)
    assert {key: prepared.config.get(key) for key in changed} == changed
    return prepared.config


@pytest.mark.parametrize(
    "name", [name for name, rule in diagnosis_rules().items() if rule.settings and name != "ppo_kl"]
)
def test_what_a_rule_says_to_try_can_be_trained(ws: Workspace, name: str) -> None:
    run = begun(ws, method=METHOD.get(name, "dpo"))
    settings = {**diagnosis_rules()[name].settings}
    values = values_of(run.config, settings)
    assert values or name in (
        "reference",
        "orpo_unbalanced",
        "simpo_settings",
    )  # which the guide's configs have already
    if values:
        pasted(ws, run, try_command(run.name, values))


def test_what_follows_from_the_figures_can_be_trained(ws: Workspace) -> None:
    run = begun(ws, method="dpo", settings={"pref_ftx": 0.2})
    rows: list[dict[str, Any]] = [{"step": step, "loss": 1.0 / step, "epoch": step / 10} for step in range(1, 31)]
    rows += [{"step": step, "epoch": step / 10, "eval_loss": abs(step - 12) / 10 + 1} for step in range(3, 31, 3)]
    (finding,) = [found for found in diagnose(run.config, rows) if found.rule == "overfitted"]
    assert pasted(ws, run, finding.command)["num_train_epochs"] == 1.2


def test_no_setting_is_said_that_the_run_had() -> None:
    assert values_of({"pref_ftx": 0.2}, {"pref_ftx": 0.2}) == {}
    assert values_of({"max_steps": 100}, {"num_train_epochs": {"times": 0.5}}) == {"max_steps": 50}
    assert values_of({"learning_rate": 0.0}, {"learning_rate": {"times": 10}}) == {}
    assert values_of({"learning_rate": "5e-6"}, {"learning_rate": {"times": 10}}) == {"learning_rate": 5e-5}
