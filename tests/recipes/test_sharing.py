"""How processes share a training: which keys say it, and what is refused before the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlguide.catalog.methods import find_method
from rlguide.engine.config_file import format_config, parse_yaml
from rlguide.engine.hardware import Gpu
from rlguide.errors import EngineError, UsageError
from rlguide.policy.policy import cannot_merge
from rlguide.recipes.lean import PARTS, left_out
from rlguide.recipes.options import TrainingOptions
from rlguide.recipes.sharing.checks import check_processes, check_sharing
from rlguide.recipes.sharing.ways import AUTO, DDP, FSDP, SHARINGS, ZERO2, ZERO3, is_said, sharing_keys
from rlguide.workspace import Workspace
from tests.recipes.conftest import SFT, asked

TWO = {"FORCE_TORCHRUN": "1", "NPROC_PER_NODE": "2"}


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes of torchrun."""
    for name, value in TWO.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("name", SHARINGS)
def test_a_way_is_keys_of_a_config_and_reads_back_as_it_is_written(name: str) -> None:
    keys = sharing_keys(name)
    assert is_said(keys) == (name not in (AUTO, DDP))
    assert parse_yaml("\n".join(format_config(keys).values())) == (keys or None)
    assert bool(cannot_merge(keys)) == (name == ZERO3)  # the SFT stack is merged first there
    assert set(left_out(find_method("dpo"), keys)) == (set(PARTS) if is_said(keys) else set())


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(UsageError, match="--sharing zero"):
        TrainingOptions(sharing="zero")


def test_rendered_where_it_is_asked_for(ws: Workspace, two: None) -> None:
    prepared = asked(ws, sft_ckpt=SFT, sharing=FSDP)
    assert sharing_keys(FSDP).items() <= prepared.config.items()
    assert parse_yaml(prepared.text)["fsdp_config"]["version"] == 2
    assert prepared.schedule.processes == 2
    assert not is_said(asked(ws, sft_ckpt=SFT).config)


def test_deepspeed_must_be_in_the_engine(ws: Workspace, two: None) -> None:
    with pytest.raises(EngineError, match="--sharing zero2 needs deepspeed, which the engine does not have") as caught:
        asked(ws, sft_ckpt=SFT, sharing=ZERO2)
    assert "-m pip install 'deepspeed>=0.10,<=0.16.9'`; or use --sharing fsdp" in caught.value.fix


@pytest.mark.parametrize("name", [DDP, FSDP, ZERO2, ZERO3])
def test_a_way_replaces_another_that_a_config_says(name: str) -> None:
    """As the fixes of `check_sharing` advise it for a config of one's own."""
    for other in (DDP, FSDP, ZERO2):
        config = {**sharing_keys(other), **TrainingOptions(sharing=name).keys}
        assert {key: value for key, value in config.items() if value is not None} == sharing_keys(name)
    assert TrainingOptions(sharing=AUTO).keys == TrainingOptions().keys == {}


def test_what_cannot_be_shared_is_refused_before_a_stack_is_merged(
    ws: Workspace, two: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlguide.recipes.prepare.merged_start", lambda *_: pytest.fail("it is merged first"))
    monkeypatch.setattr("rlguide.recipes.prepare.check_foreseen", lambda *_: [])  # bitsandbytes is not there
    with pytest.raises(UsageError, match="cannot share a quantized base"):
        asked(ws, sft_ckpt=SFT, sharing=FSDP, quantization=4)


def test_one_process_shares_with_nobody(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_TORCHRUN", raising=False)
    with pytest.raises(UsageError) as caught:
        asked(ws, sft_ckpt=SFT, sharing=FSDP)
    assert "one process" in caught.value.what and "--nproc 2" in caught.value.fix


ON_GPU = {"use_cpu": False}
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("dpo", {**sharing_keys(FSDP), **sharing_keys(ZERO2)}, "both share"),
    ("rm", sharing_keys(FSDP), "value head"),
    *(("ppo", sharing_keys(way), "PPO is not shared") for way in (FSDP, ZERO2, ZERO3)),
    ("ppo", {"fsdp": "full_shard auto_wrap"}, "PPO is not shared"),
    ("dpo", {"fsdp": "full_shard auto_wrap", "use_cpu": True}, "FSDP1 needs GPUs"),
    ("dpo", {**sharing_keys(ZERO2), "use_cpu": True}, "trains by DDP without a word"),
    ("dpo", {**sharing_keys(FSDP), "quantization_bit": 4}, "cannot share a quantized base"),
    ("dpo", {"fsdp": "full_shard auto_wrap", "quantization_bit": 8}, "only a base of 4 bits"),
    ("dpo", {**sharing_keys(ZERO3), "quantization_bit": 8}, "only a base of 4 bits"),
]
TAKEN: list[tuple[str, dict[str, Any]]] = [
    *((method, {**sharing_keys(FSDP), "use_cpu": True}) for method in ("dpo", "kto", "orpo", "simpo", "sft")),
    ("rm", {**sharing_keys(ZERO3), **ON_GPU}),
    ("dpo", {"fsdp": "full_shard auto_wrap", **ON_GPU}),
    ("dpo", {"fsdp": "full_shard auto_wrap", "quantization_bit": 4}),
    ("dpo", {**sharing_keys(ZERO2), "quantization_bit": 8}),
    ("dpo", {"use_cpu": True}),
]


@pytest.mark.parametrize(("method", "config", "words"), REFUSED)
def test_what_the_engine_cannot_share_is_refused(
    tmp_path: Path, method: str, config: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        check_sharing(tmp_path, config, find_method(method), 2, "x")


@pytest.mark.parametrize(("method", "config"), TAKEN)
def test_what_it_can_share_is_not(tmp_path: Path, method: str, config: dict[str, Any]) -> None:
    check_sharing(tmp_path, config, find_method(method), 2, "x")


def test_settings_in_a_file_count_too(tmp_path: Path) -> None:
    (tmp_path / "fsdp.json").write_text('{"fsdp_version": 2}', encoding="utf-8")
    config = {"fsdp": "full_shard", "fsdp_config": "fsdp.json", "use_cpu": True}
    check_sharing(tmp_path, config, find_method("dpo"), 2, "x")


def test_more_processes_than_gpus_are_refused() -> None:
    gpus = [Gpu(index, "A6000", 48 << 30, 48 << 30, (8, 6)) for index in (2, 3)]
    four = {**TWO, "NPROC_PER_NODE": "4"}
    with pytest.raises(UsageError) as caught:
        check_processes({}, gpus, four)
    assert "4 processes" in caught.value.what and "2,3" in caught.value.what and "--nproc 2" in caught.value.fix
    check_processes({}, [], four)  # on CPUs
    check_processes({"use_cpu": True}, gpus, four)
    for count in ("1", "2"):
        check_processes({}, gpus, {**TWO, "NPROC_PER_NODE": count})


def test_more_processes_than_a_cpu_can_have_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    check_processes({}, [], {**TWO, "NPROC_PER_NODE": "16"})
    with pytest.raises(UsageError, match="17 processes would train on 16 CPU cores") as caught:
        check_processes({}, [], {**TWO, "NPROC_PER_NODE": "17"})
    assert caught.value.fix == "use at most --nproc 16"
