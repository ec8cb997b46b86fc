from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlguide.errors import CheckpointError, UsageError
from rlguide.policy.checkpoint import read_checkpoint
from rlguide.policy.policy import Policy, check_policy, check_reference, missing_parts, policies_of, starting_point
from rlguide.workspace import Workspace
from tests.policy.checkpoint_files import write_lora, write_model, write_safetensors, write_state


@pytest.fixture
def base(ws: Workspace) -> Path:
    return write_model(ws.root / "models" / "tiny-base")


def test_a_lora_checkpoint_is_merged_below_a_new_adapter(ws: Workspace, base: Path) -> None:
    start = starting_point(ws, read_checkpoint(write_lora(ws.saves / "sft" / "checkpoint-20"), ws))
    assert start.config == {
        "model_name_or_path": "models/tiny-base",
        "adapter_name_or_path": "saves/sft/checkpoint-20",
        "create_new_adapter": True,
        "finetuning_type": "lora",
    }
    assert start.reference == Policy("models/tiny-base", ("saves/sft/checkpoint-20",))
    reference, trained = policies_of(start.config, "saves/dpo")
    assert reference == start.reference
    assert trained.adapters == ("saves/sft/checkpoint-20", "saves/dpo")
    assert trained.model_config()["adapter_name_or_path"] == "saves/sft/checkpoint-20,saves/dpo"
    check_reference(start.config)


def test_a_full_checkpoint_is_the_base(ws: Workspace) -> None:
    path = write_model(ws.saves / "full" / "checkpoint-20")
    start = starting_point(ws, read_checkpoint(path, ws))
    assert start.config == {"model_name_or_path": "saves/full/checkpoint-20", "finetuning_type": "lora"}
    assert policies_of(start.config, "saves/dpo")[1] == Policy("saves/full/checkpoint-20", ("saves/dpo",))
    starting_point(ws, read_checkpoint(path, ws), base="saves/full/checkpoint-20")
    with pytest.raises(UsageError, match="full model"):
        starting_point(ws, read_checkpoint(path, ws), base="Qwen/Qwen3-4B")


def test_a_run_brings_its_whole_stack(ws: Workspace, base: Path) -> None:
    """The last adapter alone would be another model: upstream #2323."""
    write_lora(ws.saves / "sft")
    run = write_lora(ws.saves / "dpo")
    step = write_lora(ws.saves / "dpo" / "checkpoint-20")
    manifest = {
        "method": "dpo",
        "base": "models/tiny-base",
        "template": "qwen3_nothink",
        "stack": ["saves/sft", "saves/dpo"],
    }
    (run / "run.json").write_text(json.dumps(manifest))
    start = starting_point(ws, read_checkpoint(run, ws))
    assert start.reference == Policy("models/tiny-base", ("saves/sft", "saves/dpo"), "qwen3_nothink")
    inner = starting_point(ws, read_checkpoint(step, ws))
    assert inner.reference.adapters == ("saves/sft", "saves/dpo/checkpoint-20")
    _, trained = policies_of(inner.config, "saves/round2")
    assert trained.adapters == (
        "saves/sft",
        "saves/dpo/checkpoint-20",
        "saves/round2",
    )
    (ws.saves / "sft" / "adapter_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no weights"):
        starting_point(ws, read_checkpoint(run, ws))


def test_a_preference_adapter_of_unknown_origin_is_warned_about(ws: Workspace, base: Path) -> None:
    path = write_lora(ws.saves / "dpo")
    write_state(path, [{"loss": 0.69, "rewards/accuracies": 0.5}])
    assert any("SFT adapter" in note for note in starting_point(ws, read_checkpoint(path, ws)).notes)


def test_a_reward_model_is_no_policy(ws: Workspace, base: Path) -> None:
    path = write_lora(ws.saves / "rm")
    write_safetensors(path / "value_head.safetensors", {"v": (1,)})
    with pytest.raises(CheckpointError, match="reward model"):
        starting_point(ws, read_checkpoint(path, ws))


def test_outside_the_workspace_paths_are_absolute(ws: Workspace, tmp_path: Path) -> None:
    outside = write_model(tmp_path / "models" / "tiny-base")
    checkpoint = read_checkpoint(write_lora(tmp_path / "other sft"), ws)
    start = starting_point(ws, checkpoint, base=str(outside))
    assert start.reference == Policy(str(outside), (str(tmp_path / "other sft"),))


@pytest.mark.parametrize("name", ["a,b", "sft "])
def test_a_path_that_the_list_cannot_hold_is_refused(ws: Workspace, base: Path, name: str) -> None:
    checkpoint = read_checkpoint(write_lora(ws.saves / name), ws)
    with pytest.raises(UsageError, match="comma"):
        starting_point(ws, checkpoint)
    with pytest.raises(UsageError, match="comma"):
        policies_of(starting_point(ws, read_checkpoint(write_lora(ws.saves / "sft"), ws)).config, f"saves/{name}")


def test_no_base_is_asked_for(ws: Workspace, base: Path) -> None:
    checkpoint = read_checkpoint(write_lora(ws.saves / "sft", base=None), ws)
    with pytest.raises(UsageError, match="does not say"):
        starting_point(ws, checkpoint)
    assert "make sure" in starting_point(ws, checkpoint, base="models/tiny-base").notes[0]


def test_settings_that_drop_the_new_adapter_silently_are_refused(tmp_path: Path) -> None:
    config = {"adapter_name_or_path": "saves/sft", "create_new_adapter": True}
    zero = tmp_path / "ds_z3.json"
    zero.write_text(json.dumps({"zero_optimization": {"stage": 3}}))
    for extra in ({"quantization_bit": 4}, {"use_unsloth": True}, {"use_kt": True}, {"deepspeed": str(zero)}):
        with pytest.raises(UsageError, match="base model"):
            check_reference({**config, **extra})
        check_reference({**config, **extra, "ref_model": "b", "ref_model_adapters": "saves/sft"})
        check_reference({**config, **extra, "pref_loss": "orpo"})
        check_reference({"model_name_or_path": "merged", **extra})
    with pytest.raises(UsageError, match="create_new_adapter"):
        check_reference({"adapter_name_or_path": "saves/sft"})
    zero.write_text(json.dumps({"zero_optimization": {"stage": 2}}))
    check_reference({**config, "deepspeed": str(zero)})


def test_a_policy_is_checked_before_it_is_loaded(ws: Workspace, base: Path) -> None:
    write_lora(ws.saves / "sft")
    policy = Policy("models/tiny-base", ("saves/sft", "saves/dpo"))
    assert missing_parts(ws, policy) == ["saves/dpo"]
    with pytest.raises(CheckpointError, match=r"saves/dpo does not exist, and it is part of the policy"):
        check_policy(ws, policy)
    write_lora(ws.saves / "dpo")
    assert check_policy(ws, policy) == []
