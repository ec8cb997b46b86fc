"""A workspace with a run as rlguide leaves it, without an engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rlguide.conversation import Response
from rlguide.evaluation.answers import answered, keep_answers
from rlguide.evaluation.comparison.record import HELD_OUT
from rlguide.evaluation.lines import Line
from rlguide.statistics import Estimate, mean, proportion
from rlguide.workspace import Workspace

NAME = "saves/tiny/lora/dpo"
CONFIG: dict[str, Any] = {
    "model_name_or_path": "models/tiny",
    "adapter_name_or_path": "saves/tiny/lora/sft",
    "create_new_adapter": True,
    "stage": "dpo",
    "do_train": True,
    "finetuning_type": "lora",
    "pref_loss": "sigmoid",
    "pref_beta": 0.1,
    "dataset": "polite",
    "output_dir": NAME,
    "learning_rate": 5e-5,
    "per_device_eval_batch_size": 1,
    "something_own": "x",
}
RECORD: dict[str, Any] = {
    "rlguide": "0.1.0",
    "id": "abc",
    "method": "dpo",
    "loss": "sigmoid",
    "status": "finished",
    "pid": 1,
    "created": "2026-01-02T03:04:05+00:00",
    "base": "models/tiny",
    "template": "qwen3_nothink",
    "stack": ["saves/tiny/lora/sft", NAME],
    "reference": {"base": "models/tiny", "adapters": ["saves/tiny/lora/sft"]},
    "datasets": {"polite": 40},
    "held_out": {"polite_test": 8},
    "checksums": {"polite": "c0ffee", "polite_test": "beef"},
    "processes": 1,
    "total_steps": 20,
    "effective_batch": 8,
    "engine": {"llamafactory": "0.9.5"},
    "config": CONFIG,
    "summary": {"held_out": {"step": 20, "eval_loss": 0.5, "eval_rewards/accuracies": 0.75, "eval_rewards/margins": 1}},
    "start_check": {
        "ok": True,
        "message": "the first rewards are 0, as they must be: the reference is the starting policy",
    },
}
MANIFEST = {
    "name": "polite",
    "created": "2026-01-01T00:00:00+00:00",
    "rlguide": "0.1.0",
    "source": {"hub_id": "someone/polite", "commit": "123abc"},
    "options": {"dedupe": True, "min_margin": 0.5, "seed": 42},
    "rows_read": 50,
    "refused": {"empty response": 2},
    "left_out": {"duplicate": 0},
    "files": [
        {"dataset": "polite", "file": "p", "rows": 40, "bytes": 1, "mtime_ns": 1, "sha256": "c0ffee"},
        {"dataset": "polite_test", "file": "t", "rows": 8, "bytes": 1, "mtime_ns": 1, "sha256": "other"},
    ],
}


def metrics(rewards: bool = True) -> list[dict[str, float]]:
    """Logs of 20 steps and two evaluations."""
    rows: list[dict[str, float]] = []
    for step in range(1, 21):
        row = {"step": step, "loss": 0.7 - step / 100, "grad_norm": 1.5, "learning_rate": 1e-5}
        if rewards:
            row |= {"rewards/chosen": step / 50, "rewards/rejected": -step / 25, "rewards/margins": 3 * step / 50}
        rows.append(row)
        if step % 10 == 0:
            held = {"eval_loss": 0.7 - step / 200, "eval_rewards/margins": step / 20}
            rows.append({"step": step, **(held if rewards else {"eval_loss": held["eval_loss"]})})
    return rows


def result() -> dict[str, Any]:
    """As `rlguide eval` writes it of pairs."""
    figures = {"accuracy": proportion(7, 8), "margin": mean([1.0, 2.0]), "loss": mean([0.4, 0.5])}
    return {
        "run": NAME,
        "datasets": ["polite_test"],
        "pairs": 8,
        "step": 20,
        "loss_of_reference": 0.6931,
        "notes": ["a note"],
        "verdict": "the policy has learnt the preference: the confidence interval of its accuracy is above chance",
        **{key: found.as_dict() for key, found in figures.items()},
    }


def suite() -> dict[str, Any]:
    """As `rlguide eval` writes it of all parts, benchmarks included."""
    worse = Line("English instructions", 0.5, 0.25, Estimate(-0.25, -0.4, -0.1, 50), "more", "bootstrap over prompts")
    bare = Line("gsm8k exact_match", 0.1, 0.2, Estimate(0.1, float("-inf"), float("inf"), 9), "more", "")
    point = {"step": 10, "kl": 1.25, "instructions": proportion(1, 4).as_dict(), "margin": None}
    return {
        **result(),
        "table": [worse.as_dict(), bare.as_dict()],
        "skipped": {"length": "the held-out prompts cannot be read"},
        "checkpoints": [point],
        "benchmarks": {"how": "lm-eval 0.4.13", "not_measured": {"ifeval": {"what": "it failed"}}, "notes": ["n1"]},
        "summary": "follows 25.0 points FEWER English instructions; something new that nobody has translated",
    }


def write(path: Path, content: Any) -> None:
    """JSON, or lines of JSON of a list."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row) for row in content] if isinstance(content, list) else [json.dumps(content)]
    path.write_text("".join(f"{line}\n" for line in lines))


def make_run(ws: Workspace, **changes: Any) -> Path:
    """A finished DPO run with its data and its figures, never evaluated; `changes` of its record."""
    folder = ws.root / NAME
    write(folder / "run.json", {**RECORD, **changes})
    write(folder / "metrics.jsonl", metrics())
    write(folder / "trainer_state.json", {"global_step": 20, "max_steps": 20, "log_history": []})
    write(ws.data / "polite.manifest.json", MANIFEST)
    return folder


def said(*texts: str) -> list[Response]:
    """Responses that ended by themselves."""
    return [Response(text, "stop") for text in texts]


def evaluate(folder: Path, *texts: str) -> None:
    """Put into the run what an evaluation leaves, with these texts as prompts and answers."""
    write(folder / "eval/result.json", result())
    write(folder / "eval/suite.json", suite())
    asked = [[{"role": "user", "content": text}] for text in texts]
    keep_answers(folder, answered(HELD_OUT, asked, (said(*texts), said(*(f"{text} changed" for text in texts)))))
    scores = {"loss": 1.0, "chosen_reward": -1.0, "rejected_reward": 0.5}
    pairs = [{**scores, "prompt": prompt, "chosen": "c", "rejected": "r"} for prompt in asked]
    write(folder / "eval/pairs.jsonl", pairs)
