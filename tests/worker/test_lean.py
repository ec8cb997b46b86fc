"""Only the engine that it was made for is trained otherwise; any other trains as it does, and says why."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("stage", ["dpo", "kto", "rm", "sft"])
def test_this_engine_is_the_known_one(lean: Any, stage: str) -> None:
    assert lean.source_hash(stage) == lean._KNOWN[stage]


def test_another_engine_is_left_alone(lean: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from llamafactory.train.dpo.trainer import CustomDPOTrainer

    before = dict(vars(CustomDPOTrainer))

    def concatenated_forward(self: Any, model: Any, batch: Any, is_ref_model: bool = False) -> None:
        """Not the one that is known."""

    with monkeypatch.context() as patched:
        patched.setattr(CustomDPOTrainer, "concatenated_forward", concatenated_forward)
        assert "not the one" in lean.install("dpo", None)
    with monkeypatch.context() as patched:
        patched.delattr(CustomDPOTrainer, "compute_reference_log_probs")
        patched.setattr(lean.inspect, "getsource", lambda function: (_ for _ in ()).throw(OSError("no source")))
        assert "not the one" in lean.install("dpo", None)
    assert "stage ppo" in lean.install("ppo", None)
    assert dict(vars(CustomDPOTrainer)) == before


@pytest.mark.parametrize(
    ("trainer", "why"),
    [
        ({"is_deepspeed_enabled": True}, "DeepSpeed"),
        ({"is_fsdp_enabled": True}, "FSDP"),
        ({"args": SimpleNamespace(torch_compile=True)}, "torch.compile"),
        ({}, ""),
    ],
)
def test_what_wraps_the_model_otherwise_trains_as_the_engine(lean: Any, trainer: dict[str, Any], why: str) -> None:
    plain = {"is_deepspeed_enabled": False, "is_fsdp_enabled": False, "args": SimpleNamespace(torch_compile=False)}
    said = lean._why_plain(SimpleNamespace(**{**plain, **trainer}))
    assert (why in said) if why else not said
