"""What the worker puts into the environment of accelerate, of a config that transformers does not read whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlguide.recipes.sharing.ways import FSDP, ZERO3, sharing_keys
from tests.worker.conftest import worker_module

sharding, known_code = worker_module("sharding"), worker_module("known_code")
variables = sharding.variables
ASKED = sharing_keys(FSDP)["fsdp_config"]
FOUND = {"FSDP_VERSION": "2", "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT", "FSDP_RESHARD_AFTER_FORWARD": "true"}


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        (ASKED, FOUND),
        (json.dumps(ASKED), FOUND),
        ({f"fsdp_{key}": value for key, value in ASKED.items()}, FOUND),
        ({"version": 1, "min_num_params": 100}, {"FSDP_VERSION": "1"}),
        (None, {}),
    ],
)
def test_what_accelerate_is_told(settings: Any, found: dict[str, str]) -> None:
    assert variables(settings) == found


def test_of_a_file_too(tmp_path: Path) -> None:
    (tmp_path / "fsdp.json").write_text(json.dumps(ASKED), encoding="utf-8")
    assert variables(str(tmp_path / "fsdp.json")) == FOUND


@pytest.mark.engine
@pytest.mark.parametrize("name", sharding._KNOWN)
def test_this_engine_has_the_known_code(name: str) -> None:
    assert known_code.source_hash(sharding.known_code(name)) == sharding._KNOWN[name]


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a training replaces of its engine, instead of replacing it."""
    found: list[str] = []
    monkeypatch.setattr(sharding.os, "environ", {})
    for name in ("_resume_whole", "_keep_frozen", "_leave_out_empty_groups", "_share_on_cpus"):
        monkeypatch.setattr(sharding, name, lambda name=name: found.append(name))
    return found


FSDP1 = {"fsdp": "full_shard auto_wrap"}
ON_CPU = {**sharing_keys(FSDP), "use_cpu": True}
PLACES = [
    ({}, []),
    ({"use_cpu": True, "fsdp_config": ASKED}, []),
    (FSDP1, []),
    (sharing_keys(FSDP), ["_resume_whole", "_keep_frozen"]),
    ({**sharing_keys(FSDP), "finetuning_type": "full"}, ["_keep_frozen"]),
    (ON_CPU, ["_resume_whole", "_keep_frozen", "_share_on_cpus"]),
    (sharing_keys(ZERO3), ["_leave_out_empty_groups"]),
]


@pytest.mark.parametrize(("keys", "names"), PLACES)
def test_only_what_a_way_needs_is_replaced(
    keys: dict[str, Any], names: list[str], replaced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharding, "_is_known", lambda _: True)
    sharding.prepare(keys)
    assert replaced == names
    told = any(name.startswith("FSDP_") for name in sharding.os.environ)
    assert told == ("fsdp_config" in keys and "fsdp" in keys)


def test_other_code_is_left_alone_or_refused(replaced: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused where it would resume with a part of an adapter, or train by DDP, without a word."""
    monkeypatch.setattr(sharding, "_KNOWN", dict.fromkeys(sharding._KNOWN, "another"))
    for harmless in (FSDP1, sharing_keys(ZERO3), {**sharing_keys(FSDP), "finetuning_type": "full"}):
        sharding.prepare(harmless)
    for harmful in (sharing_keys(FSDP), {**FSDP1, "use_cpu": True}):
        with pytest.raises(RuntimeError, match="--sharing ddp"):
            sharding.prepare(harmful)
    assert replaced == []


@pytest.mark.engine
def test_frozen_weights_are_not_made_larger(torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of an adapter's base, and those of a reference model, whose class has a property `dtype`."""
    import accelerate.accelerator
    from accelerate.utils import fsdp_utils

    class Plain(torch.nn.Linear):  # type: ignore[misc]
        pass

    class Reference(torch.nn.Linear):  # type: ignore[misc]
        @property
        def dtype(self) -> Any:
            return self.weight.dtype

    def engines(accelerator: Any, model: Any) -> Any:
        """The end of accelerate's: whatever is not float32 becomes so."""
        return model if getattr(model, "dtype", None) == torch.float32 else model.to(torch.float32)

    monkeypatch.setattr(fsdp_utils, "fsdp2_prepare_model", engines)
    monkeypatch.setattr(accelerate.accelerator, "fsdp2_prepare_model", engines)
    sharding._keep_frozen()
    for module in (fsdp_utils, accelerate.accelerator):
        for kind in (Plain, Reference):
            frozen = kind(2, 2, dtype=torch.bfloat16).requires_grad_(False)
            assert module.fsdp2_prepare_model(None, frozen).weight.dtype == torch.bfloat16
            trained = kind(2, 2, dtype=torch.bfloat16)  # pure_bf16: as accelerate has it
            assert module.fsdp2_prepare_model(None, trained).weight.dtype == torch.float32
    assert isinstance(Reference.dtype, property) and not hasattr(Plain, "dtype")
