"""The best step is saved and kept, and the result is that of the last step: with transformers' own Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.worker.conftest import worker_module

pytestmark = pytest.mark.engine
HELD_OUT = {2: 0.9, 4: 0.5, 6: 0.5, 8: 0.7, 10: float("nan"), 12: 0.6}  # the held-out loss after each step


def train(folder: Path, keeps: bool, resume: str | None = None, **arguments: Any) -> Any:
    """Twelve steps of a regression, evaluated at every second, with these held-out losses; returns the trainer."""
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, Trainer, TrainingArguments

    class Line(PreTrainedModel):  # type: ignore[misc]
        config_class = PretrainedConfig

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.line = torch.nn.Linear(1, 1)

        def forward(self, x: Any, labels: Any = None) -> Any:
            return {"loss": ((self.line(x) - labels) ** 2).mean()}

    class Scripted(Trainer):  # type: ignore[misc]
        def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
            metrics = {"eval_loss": HELD_OUT[self.state.global_step], "eval_gain": -HELD_OUT[self.state.global_step]}
            self.log(metrics)
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
            return metrics

    torch.manual_seed(0)
    rows = [{"x": torch.tensor([at / 10]), "labels": torch.tensor([at / 5])} for at in range(12)]
    settings: dict[str, Any] = {
        **{"eval_strategy": "steps", "eval_steps": 2, "save_steps": 5, "save_total_limit": 2, "max_steps": 12},
        **{"per_device_train_batch_size": 1, "report_to": "none", "use_cpu": True, "disable_tqdm": True},
    }
    trainer = Scripted(
        Line(PretrainedConfig()),
        TrainingArguments(str(folder), **{**settings, **arguments}),
        train_dataset=rows,
        eval_dataset=rows,
        callbacks=[worker_module("keep_best").make_callback()] if keeps else [],
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def checkpoints(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("checkpoint-*")}


def test_the_best_checkpoint_survives_rotation_and_the_result_is_the_same(tmp_path: Path) -> None:
    kept, plain = (train(tmp_path / name, keeps) for name, keeps in (("kept", True), ("plain", False)))
    assert checkpoints(tmp_path / "plain") == {"checkpoint-10", "checkpoint-12"}
    assert checkpoints(tmp_path / "kept") == {"checkpoint-4", "checkpoint-12"}  # the first of equals, and the last
    ends = [trainer.model.state_dict() for trainer in (kept, plain)]
    assert all(bool((ends[0][name] == ends[1][name]).all()) for name in ends[0])


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        ({"save_total_limit": 1}, {"checkpoint-4"}),
        ({"metric_for_best_model": "gain"}, {"checkpoint-4", "checkpoint-12"}),  # greater is better
        ({"metric_for_best_model": "eval_gain", "greater_is_better": False}, {"checkpoint-2", "checkpoint-12"}),
        ({"save_strategy": "no"}, set()),
        ({"eval_strategy": "no"}, {"checkpoint-10", "checkpoint-12"}),
        # transformers' own way decides where it is asked for
        ({"load_best_model_at_end": True, "save_steps": 4}, {"checkpoint-4", "checkpoint-12"}),
    ],
)
def test_the_config_decides(tmp_path: Path, settings: dict[str, Any], left: set[str]) -> None:
    train(tmp_path, True, **settings)
    assert checkpoints(tmp_path) == left


def test_a_resumed_run_knows_the_best_step_of_its_first_part(tmp_path: Path) -> None:
    train(tmp_path / "first", True, save_total_limit=3)
    moved = tmp_path / "moved"
    (tmp_path / "first").rename(moved)
    assert checkpoints(moved) == {"checkpoint-4", "checkpoint-10", "checkpoint-12"}
    train(moved, True, resume=str(moved / "checkpoint-10"))
    assert checkpoints(moved) == {"checkpoint-4", "checkpoint-12"}


def test_a_best_checkpoint_that_a_person_deletes_is_forgotten(tmp_path: Path) -> None:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    keep: TrainerCallback = worker_module("keep_best").make_callback()
    state = TrainerState(global_step=6, best_model_checkpoint=str(tmp_path / "checkpoint-4"))
    keep.on_step_end(TrainingArguments(str(tmp_path), report_to="none", use_cpu=True), state, TrainerControl())
    assert state.best_model_checkpoint is None
