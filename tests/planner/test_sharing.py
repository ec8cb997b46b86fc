"""DDP wherever it fits; where it does not, the way that fits and exchanges least."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rlguide.catalog.gpus import GpuModel, Gpus
from rlguide.cli._training import share_by_plan
from rlguide.engine.find import Engine
from rlguide.planner.memory import gathered_at_once, memory_of, sharing_of
from rlguide.planner.plan import Plan, plan_all
from rlguide.planner.report import smallest_fix
from rlguide.planner.sharing import choose, why
from rlguide.planner.simulation import Case, Counted, Step
from rlguide.planner.training import Training
from rlguide.recipes.options import TrainingOptions
from rlguide.recipes.sharing.ways import FSDP, TITLES, ZERO2, ZERO3, candidates, is_said, sharing_keys
from rlguide.workspace import Workspace
from tests.planner.conftest import GIB

Make = Callable[..., Training]
PLAIN = Engine(Path("/nowhere/bin/python"), {"llamafactory": "0.9.5"})
WITH_DEEPSPEED = Engine(Path("/nowhere/bin/python"), {"llamafactory": "0.9.5", "deepspeed": "0.16.9"})


def planned(tmp_path: Path, training: Training, gigabytes: float, engine: Engine = PLAIN) -> Plan:
    """On four GPUs of so much memory, beside what CUDA takes (`planner.learnt`)."""
    memory = int((0.75 + gigabytes * 1.08) * GIB)
    shared = replace(training, schedule=replace(training.schedule, processes=4))
    (plan,) = plan_all(Workspace(tmp_path), engine, [shared], Gpus(GpuModel("g", "G", memory), 4))
    assert isinstance(plan, Plan)
    return plan


def test_ddp_where_it_fits(tmp_path: Path, training: Make, simulated: list[Case]) -> None:
    plan = planned(tmp_path, training(disable_gradient_checkpointing=False), 100)
    assert plan.fits and plan.sharing.name == "DDP"
    assert choose(Workspace(tmp_path), WITH_DEEPSPEED, plan) is None
    assert why(plan) == "it fits, and only gradients are exchanged"


def least(tmp_path: Path, training: Training, name: str) -> float:
    """GiB of tensors that a way needs on each of four GPUs."""
    config = {**training.config, **sharing_keys(name)}
    return planned(tmp_path, replace(training, config=config), 100).memory.tensors / GIB


@pytest.mark.parametrize(
    ("engine", "keys", "name"),
    [
        (PLAIN, {}, FSDP),
        (WITH_DEEPSPEED, {}, FSDP),
        (WITH_DEEPSPEED, {"finetuning_type": "full"}, ZERO2),
        (PLAIN, {"finetuning_type": "full"}, FSDP),
    ],
)
def test_what_fits_where_ddp_does_not(
    tmp_path: Path, training: Make, simulated: list[Case], engine: Engine, keys: dict[str, Any], name: str
) -> None:
    asked = training(is_plain=True, **keys)
    most, few = least(tmp_path, asked, "ddp"), least(tmp_path, asked, name)
    assert few < most
    plan = planned(tmp_path, asked, (most + few) / 2)
    assert plan.fits is False
    found = choose(Workspace(tmp_path), engine, plan)
    assert found is not None and (found.name, found.plan.sharing.name) == (name, TITLES[name])
    assert found.plan.fits and f"DDP needs {plan.memory.peak / GIB:.1f}" in found.why
    # On GPUs with less than that nothing fits, and nothing is chosen.
    assert choose(Workspace(tmp_path), engine, planned(tmp_path, asked, least(tmp_path, asked, ZERO3) / 2)) is None


def test_the_fix_is_the_command_that_was_typed(
    tmp_path: Path, training: Make, simulated: list[Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A config of one's own is left as it is, and so is `--sharing ddp`: there the fix says what fits."""
    asked = training(is_plain=True)
    middle = (least(tmp_path, asked, "ddp") + least(tmp_path, asked, FSDP)) / 2
    plan = planned(tmp_path, asked, middle)
    typed = ["rlguide", "train", "--config", "my x.yaml", "--sharing", "ddp", "--template", "fsdp"]
    for again in (typed, [*typed[:4], "--sharing=ddp", *typed[6:]], [*typed[:4], *typed[6:]]):
        monkeypatch.setattr("sys.argv", again)
        fix = smallest_fix(Workspace(tmp_path), PLAIN, plan)
        assert shlex.split(fix, comments=True) == [*typed[:4], *typed[6:], "--sharing", "fsdp"]
        assert "FSDP2: all weights are shared among 4 GPUs" in fix


def test_train_takes_what_the_plan_chooses(
    tmp_path: Path,
    training: Make,
    simulated: list[Case],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Unless a person said how, or the config is their own."""
    asked = training(is_plain=True)
    middle = (least(tmp_path, asked, "ddp") + least(tmp_path, asked, FSDP)) / 2
    plan = planned(tmp_path, asked, middle)
    monkeypatch.setattr("rlguide.runs.planned.plan_of", lambda *_: plan)
    prepared: Any = SimpleNamespace(schedule=plan.training.schedule, engine=PLAIN)

    def shared(**options: Any) -> str | None:
        return share_by_plan(Workspace(tmp_path), prepared, TrainingOptions(**options), None).sharing

    assert (shared(), shared(sharing="auto")) == (FSDP, FSDP)
    assert "sharing    FSDP2: all weights are shared among 4 GPUs" in " ".join(capsys.readouterr().err.split("\n"))
    assert (shared(sharing="ddp"), shared(config=Path("my.yaml"))) == ("ddp", None)
    plan = planned(tmp_path, asked, 100)
    assert shared() is None


def test_a_reward_model_is_shared_by_zero_alone(training: Make) -> None:
    asked = training(method="rm", stage="rm").config
    assert (candidates(asked, "rm", False), candidates(asked, "rm", True)) == ([], [ZERO3])
    assert candidates({}, "ppo", True) == []


@pytest.mark.parametrize(
    "keys", [{"fsdp": "no_shard"}, {"deepspeed": "z.json"}, {"quantization_bit": 4}, {"use_cpu": True}]
)
def test_what_a_person_said_stays(tmp_path: Path, training: Make, simulated: list[Case], keys: dict[str, Any]) -> None:
    assert candidates(keys, "dpo", True) == []
    plan = planned(tmp_path, training(**keys), 0.01)
    assert choose(Workspace(tmp_path), WITH_DEEPSPEED, plan) is None
    others = "nothing that shares more fits either, or can be used here"
    assert plan.fits is False and why(plan) == ("as the config says" if is_said(keys) else others)
    is_sharded = bool(keys.get("fsdp") or keys.get("deepspeed"))
    assert ("all is done as in LLaMA-Factory" in plan.why) == is_sharded  # of gradient checkpointing


# Shapes of Qwen3-8B (its config.json): 8.19 billion weights, of which 1.24 billion are embeddings and head.
SHAPES = {"hidden_size": 4096, "num_hidden_layers": 36, "vocab_size": 151936, "intermediate_size": 12288,
          "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}  # fmt: skip


def test_fsdp_holds_the_root_and_two_layers_whole(tmp_path: Path) -> None:
    root, layer = 2 * 151936 * 4096, 4096 * 128 * 2 * (32 + 8) + 3 * 4096 * 12288
    assert root + 36 * layer == pytest.approx(8.19e9, rel=1e-3)  # but for norms
    assert gathered_at_once(SHAPES) == pytest.approx((root + 2 * layer) / (root + 36 * layer))
    assert gathered_at_once({**SHAPES, "num_hidden_layers": 2}) == 1
    weights = 16 * GIB
    step = Step({"weights": weights, "gradients": GIB}, Counted(), Counted(), Counted(), 8 * 10**9, 10**7, 0, 1, 1)
    found = memory_of(step, sharing_of({**sharing_keys(FSDP), "bf16": True}, 4, tmp_path, SHAPES), None).parts
    assert found["weights"] == weights / 4
    assert found["exchange"] == int(gathered_at_once(SHAPES) * (weights + GIB))


@pytest.mark.parametrize(
    "shapes", [{}, {**SHAPES, "num_attention_heads": 0, "head_dim": 0}, {**SHAPES, "vocab_size": "x"}]
)
def test_unknown_shapes_are_no_traceback(shapes: dict[str, Any]) -> None:
    assert 0 <= gathered_at_once(shapes) <= 1
