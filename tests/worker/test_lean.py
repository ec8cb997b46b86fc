"""Only the engine that it was made for is trained otherwise; any other trains as it does, and says why."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.worker.conftest import worker_module

source_hash = worker_module("known_code").source_hash
pytestmark = pytest.mark.engine


@pytest.mark.parametrize("stage", ["dpo", "kto", "rm", "sft"])
def test_this_engine_is_the_known_one(lean: Any, stage: str) -> None:
    assert source_hash(lean.known_code(stage)[1]) == lean._KNOWN[stage]


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


class Head:
    """A trainer of a model that has nothing but a head, trained or not."""

    def __init__(self, torch: Any, trained: bool, optim: str = "adamw_torch", **settings: bool) -> None:
        head = torch.nn.Linear(4, 9, bias=False).requires_grad_(trained)
        self.model = SimpleNamespace(get_output_embeddings=lambda: head)
        self.accelerator = SimpleNamespace(num_processes=1, unwrap_model=lambda model: model)
        self.args = SimpleNamespace(optim=optim)
        known = {"use_muon": False, "use_asft_loss": False, "use_eaft_loss": False, **settings}
        self.finetuning_args = SimpleNamespace(**known)
        self.label_smoother = None


@pytest.mark.parametrize(
    ("stage", "trained", "settings", "why"),
    [
        ("dpo", True, {}, ""),
        ("dpo", True, {"use_muon": True}, "rounded"),
        ("dpo", True, {"optim": "lion_32bit"}, "rounded"),
        ("dpo", False, {"use_muon": True}, ""),
        ("sft", False, {"use_eaft_loss": True}, "every token"),
        ("dpo", False, {"use_eaft_loss": True}, ""),
    ],
)
def test_what_needs_full_logits_is_known_before(
    torch: Any, lean: Any, stage: str, trained: bool, settings: dict[str, Any], why: str
) -> None:
    said = lean._why_full_logits(Head(torch, trained, **settings), stage)
    assert (why in said) if why else not said


@pytest.mark.parametrize("setting", [None, True, False])
def test_ddp_that_looks_for_unused_parameters_gets_logits(torch: Any, lean: Any, setting: bool | None) -> None:
    trainer = Head(torch, False)
    trainer.accelerator.num_processes, trainer.args.ddp_find_unused_parameters = 2, setting
    assert ("DDP" in lean._why_full_logits(trainer, "dpo")) == (setting is not False)


def made(lean: Any, torch: Any, spare: float) -> Any:
    """What a trainer does otherwise, its checkpointing off with some bytes to spare; the logits have 9 x 10 x 4."""
    this = lean.Lean.__new__(lean.Lean)
    this.trainer, this.is_lazy, this.why_not, this.reference, this._longest_batch = (
        Head(torch, False),
        True,
        {},
        None,
        10,
    )
    this.checkpointing = lean.recompute.Checkpointing([])
    this.checkpointing.set(False)
    this.checkpointing.spare = spare
    return this


@pytest.mark.parametrize("spare", [360 * 5, 360 * 5 - 1])
def test_after_a_step_that_asks_for_full_logits_the_model_makes_them(torch: Any, lean: Any, spare: float) -> None:
    this = made(lean, torch, spare)

    def engines(trainer: Any, kind: str) -> str:
        if kind == "full":
            lean.lazy_logits.asked_in_full["topk"] += 1
        return kind

    lean.lazy_logits.asked_in_full.clear()
    step = lean._settled(engines)
    assert step(SimpleNamespace(lean=this), "plain") == "plain"
    assert this._parts() == {"reference": False, "logits": True, "checkpointing": True}
    assert step(SimpleNamespace(lean=this), "full") == "full"
    is_room = spare >= 5 * 4 * 9 * 10
    assert this._parts() == {"reference": False, "logits": False, "checkpointing": is_room}
    assert "topk" in this.why_not["logits"]
    assert ("no room" in this.why_not.get("checkpointing", "")) != is_room
    lean.lazy_logits.asked_in_full.clear()


def test_a_checkpoint_may_be_the_last_one(lean: Any, tmp_path: Path) -> None:
    """`resume_from_checkpoint: true`, as the engine's loop takes it."""
    for step in (2, 10, 4):
        (tmp_path / f"checkpoint-{step}").mkdir()
    assert lean.folder_of(True, str(tmp_path)) == tmp_path / "checkpoint-10"
    assert lean.folder_of("saves/x", str(tmp_path)) == Path("saves/x")
    assert lean.folder_of(None, str(tmp_path)) is lean.folder_of(False, str(tmp_path)) is None
    assert lean.folder_of(True, str(tmp_path / "checkpoint-2")) is None
