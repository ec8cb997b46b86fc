"""The numbers of a run: `metrics.jsonl`, one line a logged step, written while it runs and settled at its end."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlguide.workspace import atomic_write

# Loss of the first step, when the policy still is the reference and every log-ratio is 0: the sigmoid loss of the
# DPO paper (arXiv 2305.18290, eq. 7) at 0; the hinge relu(1 - 0); IPO's (0 - 1 / (2 beta))^2 (arXiv 2310.12036).
_FIRST_LOSS: dict[str, Callable[[float], float]] = {
    "sigmoid": lambda beta: math.log(2),
    "hinge": lambda beta: 1.0,
    "ipo": lambda beta: 1 / (4 * beta**2),
    "kto": lambda beta: 0.5,  # 1 - sigmoid(0), arXiv 2402.01306, eq. 8, with weights of 1
}


@dataclass(frozen=True)
class StartCheck:
    """Whether the first logged step proves that the reference is the starting policy."""

    ok: bool
    message: str


def first_loss(config: Mapping[str, Any]) -> float | None:
    """The loss of a policy that equals its reference; None where it depends on the data."""
    stage = config.get("stage", "dpo")
    name = "kto" if stage == "kto" else str(config.get("pref_loss", "sigmoid"))
    others = ["pref_ftx", "pref_bco_weight"]
    weights = [config.get(f"kto_{side}_weight") for side in ("chosen", "rejected")]
    if stage not in ("dpo", "kto") or name not in _FIRST_LOSS or any(float(config.get(key) or 0) > 0 for key in others):
        return None
    if any(weight not in (None, 1) for weight in weights):
        return None
    return _FIRST_LOSS[name](float(config.get("pref_beta", 0.1)))


def check_start(config: Mapping[str, Any], first: Mapping[str, float]) -> StartCheck | None:
    """Compare the first logged step with what it must be; None when the config gives no such identity.

    Where the loss depends on the data (SFT loss mixed in with `pref_ftx`, unbalanced KTO), the rewards must still
    be 0. In bfloat16 policy and reference take the same path through the same kernels, so the tolerance is small.
    """
    rewards = [abs(first[key]) for key in ("rewards/chosen", "rewards/rejected") if key in first]
    has_reference = config.get("stage", "dpo") in ("dpo", "kto") and config.get("pref_loss") not in ("orpo", "simpo")
    # LD-DPO weighs tokens of the policy only (get_batch_logps), so even equal models differ.
    is_weighted = config.get("ld_alpha") not in (None, 1)
    if not has_reference or is_weighted or config.get("ref_model") or "loss" not in first or not rewards:
        return None
    loss, wanted = first["loss"], first_loss(config)
    if max(rewards) <= 1e-2 and (wanted is None or abs(loss - wanted) <= 1e-3 * max(1.0, wanted)):
        known = (
            f"first loss {loss:.4f}, as it must be"
            if wanted is not None
            else "the first rewards are 0, as they must be"
        )
        return StartCheck(True, f"{known}: the reference is the starting policy")
    figures = f"a loss of {wanted:.4f} and rewards of 0" if wanted is not None else "rewards of 0"
    return StartCheck(
        False,
        f"the first step has loss {loss:.4f} and rewards up to {max(rewards):.3f} where {figures} must be: "
        "the reference is NOT the starting policy",
    )


class MetricsLog:
    """Appends logged metrics to `metrics.jsonl` with their step, as they come.

    Trainer prints no step with a log, so it is counted: step 1 if `logging_first_step`, then every `logging_steps`.
    """

    def __init__(self, path: Path, config: Mapping[str, Any], total_steps: int, start_step: int = 0) -> None:
        self.path = path
        every = float(config.get("logging_steps", 500))
        self._every = max(1, math.ceil(total_steps * every) if every < 1 else int(every))
        self._first = bool(config.get("logging_first_step"))
        self._step = start_step
        self._file = path.open("a", encoding="utf-8")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def add_train(self, values: Mapping[str, float]) -> dict[str, float]:
        """Record a training log; returns it with its step."""
        step = self._step + 1
        self._step = step if step == 1 and self._first else (self._step // self._every + 1) * self._every
        return self._write({"step": self._step, **values})

    def add_eval(self, values: Mapping[str, float], step: int) -> dict[str, float]:
        """Record an evaluation at a step; returns it."""
        return self._write({"step": step, **values})

    def _write(self, row: dict[str, float]) -> dict[str, float]:
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        return row


def settle_metrics(run_path: Path) -> list[dict[str, Any]]:
    """Rewrite `metrics.jsonl` from the trainer's own record, which has exact steps; returns its rows.

    Without a readable `trainer_state.json` (a run that did not come to its end) the rows collected on the way stay.
    """
    rows = _log_history(run_path / "trainer_state.json")
    if rows and any("reward" in row for row in rows):
        rows = [{**row, "step": row["step"] + 1} for row in rows]  # PPO's trainer counts from 0
    path = run_path / "metrics.jsonl"
    if rows:
        with atomic_write(path) as file:
            for row in rows:
                file.write(json.dumps(row) + "\n")
        return rows
    return read_metrics(path)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl`; a torn last line is left out."""
    rows = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _log_history(path: Path) -> list[dict[str, Any]]:
    try:
        history = json.loads(path.read_text(encoding="utf-8"))["log_history"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    rows = []
    for item in history:
        if isinstance(item, dict) and "step" in item and ("loss" in item or "eval_loss" in item):
            rows.append({"step": item["step"], **{key: value for key, value in item.items() if key != "step"}})
    return rows


def summarize(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """First and last training log, and the last evaluation."""
    train = [row for row in rows if "loss" in row]
    held_out = [row for row in rows if "eval_loss" in row]
    return {
        "first": train[0] if train else None,
        "last": train[-1] if train else None,
        "held_out": held_out[-1] if held_out else None,
    }
