"""A run whose base or adapter below it has changed since is refused; what only moved is not."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rlguide.errors import CheckpointError
from rlguide.policy.checkpoint import read_checkpoint
from rlguide.policy.parts import check_parts, digests_of_parts
from rlguide.policy.policy import Policy, check_policy, starting_point
from rlguide.policy.run_record import RecordedReference, RunRecord, write_record
from rlguide.workspace import Workspace
from tests.policy.checkpoint_files import write_lora, write_model

BASE, SFT, DPO = "models/tiny-base", "saves/sft", "saves/dpo"
POLICY = Policy(BASE, (SFT, DPO))


@pytest.fixture
def run(ws: Workspace) -> Path:
    """A run on an SFT adapter on a base, with the checksums of both."""
    write_model(ws.root / BASE)
    write_lora(ws.root / SFT)
    folder = write_lora(ws.root / DPO)
    write_lora(folder / "checkpoint-20")
    parts = digests_of_parts(ws, {BASE, SFT})
    assert set(parts) == {BASE, SFT}
    record = RunRecord(method="dpo", status="finished", base=BASE, stack=(SFT, DPO), parts=parts)
    write_record(folder, RunRecord(**{**record.__dict__, "reference": RecordedReference(BASE, (SFT,)), "config": {}}))
    return folder


def edit_config(path: Path, **values: object) -> None:
    file = path / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def flip_last_byte(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-2] ^= 1
    path.write_bytes(raw)


CHANGES: list[tuple[str, Callable[[Path], None]]] = [
    (SFT, lambda root: flip_last_byte(root / SFT / "adapter_model.safetensors")),
    (SFT, lambda root: edit_config(root / SFT, lora_alpha=64)),
    (SFT, lambda root: edit_config(root / SFT, use_rslora=True)),
    (BASE, lambda root: flip_last_byte(root / BASE / "model.safetensors")),
]


@pytest.mark.parametrize(("part", "change"), CHANGES, ids=["weights", "scale", "kind of scale", "base"])
@pytest.mark.parametrize("use", ["load", "load a checkpoint", "train on it"])
def test_what_changed_since_is_refused(
    ws: Workspace, run: Path, part: str, change: Callable[[Path], None], use: str
) -> None:
    uses: dict[str, Callable[[], object]] = {
        "load": lambda: check_policy(ws, POLICY),
        "load a checkpoint": lambda: check_policy(ws, Policy(BASE, (SFT, f"{DPO}/checkpoint-20"))),
        "train on it": lambda: starting_point(ws, read_checkpoint(run, ws)),
    }
    uses[use]()
    change(ws.root)
    with pytest.raises(CheckpointError, match=f"{part} is not the model that"):
        uses[use]()
    check_policy(ws, Policy(BASE, (SFT,)))  # itself it is a model like any other


def test_what_is_the_same_model_is_taken(ws: Workspace, run: Path) -> None:
    edit_config(ws.root / SFT, base_model_name_or_path="/elsewhere/tiny-base", target_modules=["down_proj", "q_proj"])
    for path in (ws.root / SFT, ws.root / BASE):
        for file in path.iterdir():
            os.utime(file, (1, 1))  # a copy
    check_policy(ws, POLICY)


def test_a_full_model_that_a_run_trained_knows_its_start(ws: Workspace) -> None:
    write_model(ws.root / BASE)
    folder = write_model(ws.root / "saves/full")
    write_record(folder, RunRecord(stack=(), parts=digests_of_parts(ws, {BASE})))
    check_policy(ws, Policy("saves/full"))
    flip_last_byte(ws.root / BASE / "model.safetensors")
    with pytest.raises(CheckpointError, match=f"{BASE} is not the model"):
        check_policy(ws, Policy("saves/full"))


@pytest.mark.parametrize("parts", [None, {}, {SFT: None}, {SFT: 5}, {"no/such": "0"}, {"a\0b": "0"}, {"": "0"}])
def test_what_the_record_says_is_data(ws: Workspace, parts: dict[str, object] | None) -> None:
    write_lora(ws.root / SFT)
    check_parts(ws, DPO, RunRecord(parts=parts))
