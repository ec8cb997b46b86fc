from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rlguide.errors import CheckpointError
from rlguide.policy.checkpoint import Checkpoint, find_checkpoints, latest_sft, read_checkpoint, resolve_checkpoint
from rlguide.workspace import Workspace
from tests.policy.checkpoint_files import write_lora, write_model, write_safetensors, write_state


def set_age(path: Path, seconds: int) -> None:
    """Make all files of a folder look written `seconds` ago."""
    for file in path.iterdir():
        stamp = 1_700_000_000 - seconds
        os.utime(file, (stamp, stamp))


def test_reads_a_lora_checkpoint(ws: Workspace) -> None:
    path = write_lora(ws.saves / "qwen 模型" / "sft" / "checkpoint-20", base="Qwen/Qwen3-4B-Base", rank=8)
    found = read_checkpoint(path)
    assert (found.kind, found.stage, found.step, found.base, found.rank) == ("lora", "sft", 20, "Qwen/Qwen3-4B-Base", 8)
    assert found.target_modules == ("down_proj", "q_proj")
    assert found.last_loss == 1.25  # the last logged loss, not the mean over the run
    assert found.is_complete and found.is_sft_candidate


def test_reads_full_models_whole_and_in_shards(ws: Workspace) -> None:
    for shards in (1, 3):
        path = write_model(ws.saves / f"full{shards}", shards=shards)
        write_state(path, [{"loss": 3.0}])
        found = read_checkpoint(path)
        assert (found.kind, found.stage, found.base, found.rank) == ("full", "sft", None, None)


def test_a_bin_file_is_accepted_unopened(ws: Workspace) -> None:
    path = write_lora(ws.saves / "sft")
    (path / "adapter_model.safetensors").unlink()
    (path / "adapter_model.bin").write_bytes(b"not even a pickle")
    assert read_checkpoint(path).is_complete
    assert read_checkpoint(path).shapes == {}


def breakages() -> dict[str, tuple[object, str]]:
    def cut(path: Path) -> None:
        file = path / "adapter_model.safetensors"
        file.write_bytes(file.read_bytes()[:-10])

    return {
        "truncated": (cut, "truncated"),
        "empty weights": (lambda p: (p / "adapter_model.safetensors").write_bytes(b""), "empty"),
        "no weights": (lambda p: (p / "adapter_model.safetensors").unlink(), "no weights"),
        "empty config": (lambda p: (p / "adapter_config.json").write_bytes(b""), "empty"),
        "broken config": (lambda p: (p / "adapter_config.json").write_text('{"r": 8,'), "not valid JSON"),
        "not an object": (lambda p: (p / "adapter_config.json").write_text("[]"), "JSON object"),
        "not UTF-8": (lambda p: (p / "adapter_config.json").write_bytes(b'{"r": "\xff"}'), "UTF-8"),
        "no config": (lambda p: (p / "adapter_config.json").unlink(), "not a checkpoint"),
        "broken state": (lambda p: (p / "trainer_state.json").write_text("{"), "not valid JSON"),
        "other adapter": (lambda p: (p / "adapter_config.json").write_text('{"peft_type": "OFT"}'), "OFT"),
        "no lora in it": (lambda p: write_safetensors(p / "adapter_model.safetensors", {"x": (1,)}), "no LoRA"),
    }


@pytest.mark.parametrize("name", breakages())
def test_broken_lora_is_refused_when_read_and_listed_when_found(ws: Workspace, name: str) -> None:
    path = write_lora(ws.saves / "sft" / "checkpoint-20")
    breaking, words = breakages()[name]
    breaking(path)  # type: ignore[operator]
    with pytest.raises(CheckpointError, match=words) as caught:
        read_checkpoint(path)
    assert caught.value.fix
    assert "\n" not in caught.value.what
    [listed] = find_checkpoints(ws)
    assert listed.problem == caught.value.what
    assert not listed.is_sft_candidate


def test_broken_full_models_are_refused(ws: Workspace) -> None:
    path = write_model(ws.saves / "full", shards=2)
    shard = path / "model-00002-of-00002.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    with pytest.raises(CheckpointError, match="truncated"):
        read_checkpoint(path)
    shard.unlink()
    with pytest.raises(CheckpointError, match=r"model-00002.*missing"):
        read_checkpoint(path)
    shard.write_bytes(whole)
    (path / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="no tokenizer"):
        read_checkpoint(path)
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../../secret"}}))
    with pytest.raises(CheckpointError, match="outside"):
        read_checkpoint(path)


def test_a_missing_folder_names_the_nearest(ws: Workspace) -> None:
    write_lora(ws.saves / "sft" / "checkpoint-2000")
    with pytest.raises(CheckpointError, match=r"does not exist \(did you mean .*checkpoint-2000\?\)"):
        resolve_checkpoint(ws, "saves/sft/checkpoint-200")
    with pytest.raises(CheckpointError, match="is a file"):
        resolve_checkpoint(ws, "saves/sft/checkpoint-2000/adapter_config.json")


def test_the_newest_comes_first_and_latest_is_sft_and_complete(ws: Workspace) -> None:
    old = write_lora(ws.saves / "sft" / "checkpoint-10")
    new = write_lora(ws.saves / "sft" / "checkpoint-20")
    final = write_lora(ws.saves / "sft")
    half = write_lora(ws.saves / "sft" / "checkpoint-30")
    (half / "adapter_model.safetensors").write_bytes(b"")
    preferred = write_lora(ws.saves / "elsewhere" / "dpo")
    write_state(preferred, [{"loss": 0.69, "rewards/chosen": 0.0}])
    managed = write_lora(ws.saves / "mine" / "checkpoint-5")
    (managed.parent / "run.json").write_text(json.dumps({"method": "dpo"}))
    base = write_model(ws.saves / "base")
    for age, path in enumerate([base, managed, preferred, half, final, new, old]):
        set_age(path, age)
    found = find_checkpoints(ws)
    assert [item.path for item in found] == [base, managed, preferred, half, final, new, old]
    assert [item.stage for item in found] == ["model", "preference", "preference", "sft", "sft", "sft", "sft"]
    newest = latest_sft(found)
    assert newest is not None and newest.path == final
    assert resolve_checkpoint(ws, "latest").path == final


def test_a_run_of_rlguide_that_did_sft_is_a_candidate(ws: Workspace) -> None:
    path = write_lora(ws.saves / "sft")
    (path / "run.json").write_text(json.dumps({"method": "sft", "template": "qwen3_nothink"}))
    assert read_checkpoint(path).is_sft_candidate
    assert read_checkpoint(path).template == "qwen3_nothink"


def test_a_reward_model_is_told_apart(ws: Workspace) -> None:
    path = write_lora(ws.saves / "rm")
    write_safetensors(path / "value_head.safetensors", {"v_head.summary.weight": (1, 16)})
    assert read_checkpoint(path).stage == "reward"


def test_a_template_that_the_board_wrote_is_found(ws: Workspace) -> None:
    path = write_lora(ws.saves / "sft" / "checkpoint-20")
    (path.parent / "training_args.yaml").write_text("template: llama3\nlora_rank: 8\n")
    assert read_checkpoint(path).template == "llama3"
    (path.parent / "training_args.yaml").write_text("!!python/object/apply:os.system ['false']\n")
    assert read_checkpoint(path).template is None


def test_links_that_go_round_end(ws: Workspace) -> None:
    write_lora(ws.saves / "sft")
    (ws.saves / "sft" / "loop").symlink_to(ws.saves, target_is_directory=True)
    assert len(find_checkpoints(ws)) == 1


def test_nothing_there(ws: Workspace) -> None:
    assert find_checkpoints(ws) == []
    with pytest.raises(CheckpointError, match="no complete SFT checkpoint"):
        resolve_checkpoint(ws, "latest")


def test_paths_count_from_the_workspace_as_the_engine_reads_them_and_else_from_here(ws: Workspace) -> None:
    here = write_lora(Path.cwd() / "saves" / "sft", rank=2)
    found: Checkpoint = resolve_checkpoint(ws, "saves/sft")
    assert found.path == here and found.rank == 2
    write_lora(ws.saves / "sft")
    assert resolve_checkpoint(ws, "saves/sft").path == ws.root / "saves/sft"
