"""A reward model without its value head would be scored with a random one: it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlguide.errors import CheckpointError
from rlguide.policy.policy import Policy
from rlguide.policy.value_head import WEIGHT, check_value_head
from rlguide.workspace import Workspace
from tests.policy.checkpoint_files import write_lora, write_model, write_safetensors


def test_the_head_is_looked_for_where_the_engine_looks(tmp_path: Path) -> None:
    """In the last adapter, or in the base where there is none."""
    ws = Workspace(tmp_path)
    write_safetensors(write_lora(ws.saves / "sft") / "value_head.safetensors", {WEIGHT: (1, 16)})
    write_lora(ws.saves / "rm")
    with pytest.raises(CheckpointError, match=r"saves/rm has no value_head.safetensors: its scores would be random"):
        check_value_head(ws, Policy("models/tiny-base", ("saves/sft", "saves/rm")))
    check_value_head(ws, Policy("models/tiny-base", ("saves/rm", "saves/sft")))
    write_safetensors(write_model(ws.saves / "full") / "value_head.safetensors", {WEIGHT: (1, 16)})
    check_value_head(ws, Policy("saves/full"))


def test_another_head_is_none_and_a_pickle_is_left_alone(tmp_path: Path) -> None:
    ws, model = Workspace(tmp_path), Policy("models/tiny-base", ("saves/rm",))
    folder = write_lora(ws.saves / "rm")
    (folder / "value_head.bin").write_bytes(b"")
    with pytest.raises(CheckpointError, match="has no value_head"):
        check_value_head(ws, model)
    (folder / "value_head.bin").write_bytes(b"x")
    check_value_head(ws, model)
    write_safetensors(folder / "value_head.safetensors", {"score.weight": (1, 16)})
    with pytest.raises(CheckpointError, match=f"holds no {WEIGHT}"):
        check_value_head(ws, model)
    (folder / "value_head.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError):
        check_value_head(ws, model)
