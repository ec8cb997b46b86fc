"""Runs as they lie on disk, made file by file (no engine needed)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rlguide.workspace import Workspace
from tests.policy.checkpoint_files import write_lora, write_state


def write_run(ws: Workspace, name: str, rows: list[dict[str, Any]] | None = None, **values: Any) -> Path:
    """A run in saves/<name>: finished after 12 steps of DPO on the SFT adapter saves/sft, unless `values` say else."""
    folder = write_lora(ws.saves / name)
    write_state(folder, [], 12)
    record = {
        "rlguide": "0.1.0",
        "id": name,
        "method": "dpo",
        "loss": "sigmoid",
        "status": "finished",
        "created": "2026-02-02T10:00:00+00:00",
        "seconds": 3725.0,
        "base": "models/tiny-base",
        "template": "qwen3_nothink",
        "stack": ["saves/sft", f"saves/{name}"],
        "reference": {"base": "models/tiny-base", "adapters": ["saves/sft"]},
        "datasets": {"pairs": 40},
        "held_out": {"pairs_test": 10},
        "total_steps": 12,
        "config": {"stage": "dpo", "dataset": "pairs", "eval_dataset": "pairs_test", "output_dir": f"saves/{name}"},
        **values,
    }
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows or []))
    return folder


def held_out(step: int, loss: float, share: float) -> dict[str, Any]:
    """A row of metrics.jsonl: an evaluation of held-out pairs."""
    return {"step": step, "eval_loss": loss, "eval_rewards/accuracies": share, "eval_rewards/margins": 1 - loss}
