from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rlguide.errors import CheckpointError
from rlguide.policy.base import check_base, find_base, model_name, same_model
from rlguide.policy.checkpoint import read_checkpoint
from rlguide.workspace import Workspace
from tests.policy.checkpoint_files import write_lora, write_model, write_safetensors


def cache_on_disk(name: str, source: Path) -> None:
    """Put a model into the hub cache, laid out as huggingface_hub does."""
    top = Path(os.environ["HF_HUB_CACHE"]) / f"models--{name.replace('/', '--')}"
    snapshot = top / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (top / "refs").mkdir()
    (top / "refs" / "main").write_text("a" * 40)
    for file in source.iterdir():
        (snapshot / file.name).write_bytes(file.read_bytes())


@pytest.fixture(autouse=True)
def own_hub_cache(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # huggingface_hub reads the variable once, at import
    from huggingface_hub import constants, file_download

    monkeypatch.setattr(constants, "HF_HUB_CACHE", os.environ["HF_HUB_CACHE"])
    assert file_download.constants is constants


def test_a_base_that_fits(ws: Workspace) -> None:
    write_model(ws.root / "models" / "tiny-base")
    checkpoint = read_checkpoint(write_lora(ws.saves / "sft"))
    assert check_base(checkpoint, find_base(ws, "models/tiny-base")) == []


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ({"hidden": 32}, "q_proj has 16 inputs, the base model's has 32"),
        ({"layers": 3}, "it has 2 layers, the base model has 3"),
        ({"layers": 1}, "it has 2 layers, the base model has 1"),
        ({"middle": 48}, "down_proj has 32 inputs, the base model's has 48"),
        ({"head_dim": 16}, "q_proj has 16 outputs, the base model's has 32"),
    ],
)
@pytest.mark.parametrize("trust", [False, True])
def test_other_shapes_are_refused_whatever_is_trusted(
    ws: Workspace, size: dict[str, int], words: str, trust: bool
) -> None:
    write_model(ws.root / "models" / "tiny-base", **size)
    checkpoint = read_checkpoint(write_lora(ws.saves / "sft"))
    with pytest.raises(CheckpointError, match=words):
        check_base(checkpoint, find_base(ws, "models/tiny-base"), trust_base=trust)


def test_the_same_shape_under_another_name_is_refused_unless_trusted(ws: Workspace) -> None:
    cache_on_disk("Qwen/Qwen3-4B", write_model(ws.root / "m"))
    checkpoint = read_checkpoint(write_lora(ws.saves / "sft", base="Qwen/Qwen3-4B-Base"))
    with pytest.raises(CheckpointError, match="trained on Qwen/Qwen3-4B-Base, not on Qwen/Qwen3-4B"):
        check_base(checkpoint, find_base(ws, "Qwen/Qwen3-4B"))
    assert check_base(checkpoint, find_base(ws, "Qwen/Qwen3-4B"), trust_base=True) == []


def test_a_hub_model_in_the_cache_is_compared_too(ws: Workspace) -> None:
    cache_on_disk("Qwen/Qwen3-4B-Base", write_model(ws.root / "m", hidden=64))
    checkpoint = read_checkpoint(write_lora(ws.saves / "sft", base="Qwen/Qwen3-4B-Base"))
    with pytest.raises(CheckpointError, match="16 inputs, the base model's has 64"):
        check_base(checkpoint, find_base(ws, "Qwen/Qwen3-4B-Base"))


def test_a_hub_model_that_is_not_cached_is_noted_or_refused_offline(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = read_checkpoint(write_lora(ws.saves / "sft", base="Qwen/Qwen3-4B-Base"))
    [note] = check_base(checkpoint, find_base(ws, "Qwen/Qwen3-4B-Base"))
    assert "download" in note
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="HF_HUB_OFFLINE"):
        check_base(checkpoint, find_base(ws, "Qwen/Qwen3-4B-Base"))


def test_missing_and_damaged_local_bases_are_refused(ws: Workspace) -> None:
    checkpoint = read_checkpoint(write_lora(ws.saves / "sft"))
    for name in ("./nowhere", "/nowhere/at all", "saves/nowhere"):
        with pytest.raises(CheckpointError, match="does not exist"):
            check_base(checkpoint, find_base(ws, name))
    base = write_model(ws.root / "models" / "tiny-base")
    (base / "model.safetensors").write_bytes((base / "model.safetensors").read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="truncated"):
        check_base(checkpoint, find_base(ws, "models/tiny-base"))


def test_only_the_size_that_is_known_is_compared_for_other_families(ws: Workspace) -> None:
    base = write_model(ws.root / "models" / "tiny-base", model_type="qwen3_next")
    checkpoint = read_checkpoint(write_lora(ws.saves / "sft", middle=99))
    assert check_base(checkpoint, find_base(ws, str(base))) == []


def test_an_adapter_on_some_layers_is_no_mismatch(ws: Workspace) -> None:
    write_model(ws.root / "models" / "tiny-base", layers=9)
    path = write_lora(ws.saves / "sft")
    config = json.loads((path / "adapter_config.json").read_text())
    config["target_modules"] = ["layers.1.self_attn.q_proj"]
    (path / "adapter_config.json").write_text(json.dumps(config))
    assert check_base(read_checkpoint(path), find_base(ws, "models/tiny-base")) == []


def test_odd_tensors_do_not_matter(ws: Workspace) -> None:
    write_model(ws.root / "models" / "tiny-base")
    path = write_lora(ws.saves / "sft")
    shapes = {
        "base_model.model.visual.layers.40.q_proj.lora_A.weight": (4, 3),
        "base_model.model.model.layers.1.self_attn.q_proj.lora_magnitude_vector": (16,),
        "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight": (4, 16),
    }
    write_safetensors(path / "adapter_model.safetensors", shapes)
    assert check_base(read_checkpoint(path), find_base(ws, "models/tiny-base")) == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Qwen/Qwen3-4B-Base", "Qwen3-4B-Base"),
        ("/home/me/models/Qwen3-4B-Base/", "Qwen3-4B-Base"),
        ("C:\\models\\Qwen3-4B", "Qwen3-4B"),
        ("/c/hub/models--Qwen--Qwen3-4B-Base/snapshots/0123abc", "Qwen3-4B-Base"),
        ("/c/modelscope/Qwen/Qwen2___5-7B", "Qwen2.5-7B"),
        ("./m", "m"),
        ("", ""),
    ],
)
def test_model_names(text: str, name: str) -> None:
    assert model_name(text) == name


def test_names_are_compared_in_any_case() -> None:
    assert same_model("qwen/qwen3-4b-base", "/x/Qwen3-4B-Base")
    assert not same_model("Qwen/Qwen3-4B", "Qwen/Qwen3-4B-Base")
