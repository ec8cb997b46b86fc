"""Score pairs with LLaMA-Factory's own evaluation, and keep in `<run>/eval` what each pair got, with its texts."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rlguide.console import console, progress, say, warn
from rlguide.conversation import messages_of
from rlguide.data.example import Example
from rlguide.data.store.reading import examples_by_row
from rlguide.data.store.registered import check_registered
from rlguide.engine.events import Progress
from rlguide.engine.find import Engine
from rlguide.engine.hardware import list_gpus
from rlguide.engine.job import Command, Event, run_job
from rlguide.engine.worker import worker_command
from rlguide.errors import DataError
from rlguide.evaluation.asking import conversation_of
from rlguide.evaluation.config import HeldOut, recipe_of
from rlguide.recipes.data import data_home
from rlguide.recipes.render import render, write_unless_edited
from rlguide.runs.choose import is_reward_model
from rlguide.runs.record import Run
from rlguide.runs.training_rows import row_limit
from rlguide.statistics import finite, mean, wins
from rlguide.workspace import Workspace, atomic_write, read_text, write_json

SCORES = "pairs.jsonl"
REWARDS = ("loss", "chosen_reward", "rejected_reward")


def score_rows(
    ws: Workspace, engine: Engine, run: Run, held_out: HeldOut, needed: Collection[str] = REWARDS
) -> list[dict[str, float]]:
    """The scores of each pair, by name, in the order of the pairs.

    Writes `configs/eval_config.yaml` and `<run>/eval/pairs.jsonl`, one line per pair, with its texts where they are at
    hand.

    Args:
        needed: the scores that each pair must have.

    Raises:
        DataError: the scores are damaged or not numbers.
        EngineError: the engine failed; the message has the cause.
    """
    _write_config(ws, run, held_out.config)
    scores = _score(ws, engine, run, held_out.config, held_out.rows)
    rows = read_rows(scores, needed)
    check_finite(rows)
    _add_texts(ws, held_out, scores, rows)
    return rows


def figures_of(rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """What the scores of pairs come to, whatever gave them: the fields that every evaluation of pairs has."""
    margins = [margin_of(row) for row in rows]
    accuracy, ties = wins(margins)
    means = {name: mean([row[name] for row in rows]) for name in REWARDS}
    return {"pairs": len(rows), "accuracy": accuracy, "ties": ties, "margin": mean(margins), **means}


def margin_of(row: Mapping[str, float]) -> float:
    """The reward of the chosen response minus that of the rejected one."""
    return row["chosen_reward"] - row["rejected_reward"]


def check_finite(rows: Sequence[Mapping[str, float]]) -> None:
    """Raise DataError if a score is NaN or infinite."""
    bad = sum(not all(math.isfinite(value) for value in row.values()) for row in rows)
    if bad:
        raise DataError(
            f"NaN or infinity in the scores of {bad} of {len(rows)} pairs; training diverged",
            "train again with a lower learning rate",
        )


def _write_config(ws: Workspace, run: Run, config: dict[str, Any]) -> None:
    """Leave the config where a person finds it; theirs stays as it is if they edited it."""
    path = ws.configs / "eval_config.yaml"
    against = "" if is_reward_model(run) else f" against {run.reference.describe()}"
    introduction = [
        f"Evaluation of {'the reward model ' if not against else ''}{run.policy.describe()}{against}.",
        "This file is yours. Paths are relative to the workspace folder; run it there with",
        "    llamafactory-cli train configs/eval_config.yaml",
        "which prints the averages; `rlguide eval` adds confidence intervals and the score of every pair.",
    ]
    write_unless_edited(path, ws.relative(path), render(recipe_of(run), config, introduction))


def _score(ws: Workspace, engine: Engine, run: Run, config: dict[str, Any], rows: int) -> Path:
    """Run the worker; returns the file with one line per pair."""
    folder = run.path / "eval"
    folder.mkdir(parents=True, exist_ok=True)
    scores, log = folder / SCORES, folder / "engine.log"
    partial = folder / ".pairs.jsonl.partial"
    log.unlink(missing_ok=True)
    config_file = folder / "config.json"
    write_json(config_file, config)
    # One process: with several, each would score a share padded with repeated pairs.
    gpus = list_gpus()
    variables = {"CUDA_VISIBLE_DEVICES": str(gpus[0].index)} if len(gpus) > 1 else {}
    events = folder / "events.jsonl"
    events.unlink(missing_ok=True)
    arguments = worker_command(engine, "score_pairs", str(config_file), str(partial), str(events))
    with progress("pairs") as bar:
        task = bar.add_task("loading the models", total=rows)
        if not console(stderr=True).is_terminal:
            say("loading the models and scoring the pairs")

        def show(event: Event) -> None:
            if isinstance(event, Progress) and event.phase == "eval":
                bar.update(task, description="scoring pairs", completed=event.done, total=event.total)

        run_job(engine, Command(tuple(arguments), ws.root, variables, events), log, show)
    partial.replace(scores)
    return scores


def read_rows(path: Path, needed: Collection[str] = REWARDS) -> list[dict[str, Any]]:
    """The lines of `pairs.jsonl`. Raises DataError if it is empty or damaged, or a line lacks what is `needed`."""
    try:
        rows = [json.loads(line) for line in read_text(path).split("\n") if line]
    except (DataError, ValueError, RecursionError) as error:
        raise DataError(f"cannot read the scores {path}: {error}", "run `rlguide eval` again") from error
    if not rows:
        raise DataError("no pair was scored", f"see {path.with_name('engine.log')}")
    if not all(isinstance(row, dict) and row.keys() >= set(needed) for row in rows):
        raise DataError(f"the scores {path} are damaged", "run `rlguide eval` again")
    return rows


def examples_of(ws: Workspace, held_out: HeldOut) -> list[Example]:
    """The pairs themselves, in the order in which the engine scores them; [] where it fetches or draws them itself."""
    config = held_out.config
    if config.get("val_size"):
        return []
    data = data_home(ws, config)
    if any(item.path is None for item in check_registered(data, held_out.names)):
        return []
    limit = row_limit(config)
    found = [list(islice(examples_by_row(data, name), limit)) for name in held_out.names]
    pairs = [pair for rows in found for pair in rows if pair is not None]
    return pairs if len(pairs) == sum(map(len, found)) else []


def _add_texts(ws: Workspace, held_out: HeldOut, scores: Path, rows: list[dict[str, float]]) -> None:
    """Put prompt and responses beside the scores of each pair."""
    pairs = examples_of(ws, held_out)
    if len(pairs) != len(rows):
        warn("the texts of the pairs are not beside their scores: the engine has read other rows")
        return
    with atomic_write(scores) as file:
        for pair, row in zip(pairs, rows, strict=True):
            texts = {"prompt": conversation_of(pair), "chosen": pair.responses[0], "rejected": pair.responses[1]}
            file.write(json.dumps({**row, **texts}, ensure_ascii=False) + "\n")


@dataclass(frozen=True)
class ScoredPair:
    """A held-out pair and the margin that the model gives it."""

    margin: float
    prompt: list[dict[str, str]]
    chosen: str
    rejected: str


def scored_pairs(run: Run) -> list[ScoredPair]:
    """The pairs of the last evaluation, the lowest margin first; those without texts are left out.

    Raises:
        DataError: the scores cannot be read.
    """
    path = run.path / "eval" / SCORES
    found = []
    for row in read_rows(path):
        texts = [row.get(name) for name in ("chosen", "rejected")]
        prompt = messages_of(row.get("prompt"))
        is_whole = prompt and all(isinstance(text, str) for text in texts)
        if is_whole and None not in (finite(row.get(name)) for name in REWARDS):
            found.append(ScoredPair(margin_of(row), prompt, *map(str, texts)))
    return sorted(found, key=lambda pair: pair.margin)
