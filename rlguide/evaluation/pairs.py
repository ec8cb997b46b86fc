"""Evaluate on held-out pairs: reward accuracy, margin and loss of a policy against its SFT reference.

LLaMA-Factory's plain recipe (`stage: dpo, do_train: false`) takes the model as its own reference: its loss is
always ln 2 and its rewards are dropped. Here the reference is named (`ref_model`, `ref_model_adapters`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from rlguide.catalog.methods import Method, find_method
from rlguide.console import console, progress, say, warn
from rlguide.data.example import Example
from rlguide.data.store.reading import examples_by_row
from rlguide.data.store.registered import check_registered
from rlguide.engine.config_file import split_names
from rlguide.engine.events import Progress
from rlguide.engine.find import Engine
from rlguide.engine.hardware import list_gpus
from rlguide.engine.job import Command, Event, run_job
from rlguide.engine.schema import load_schema
from rlguide.engine.worker import worker_command
from rlguide.errors import DataError, UsageError
from rlguide.evaluation.asking import conversation_of
from rlguide.evaluation.held_out import held_out_keys, leave_out_trained
from rlguide.policy.policy import check_policy
from rlguide.policy.run_record import RUN_FILE
from rlguide.policy.trained_on import trained_on
from rlguide.recipes.checks import check_keys
from rlguide.recipes.data import data_home
from rlguide.recipes.inputs import compute_keys
from rlguide.recipes.render import fill, load_recipe, render, write_unless_edited
from rlguide.runs.authority import check_links, check_trusted
from rlguide.runs.choose import model_keys
from rlguide.runs.diagnosis import first_loss
from rlguide.runs.record import Run
from rlguide.runs.training_rows import row_limit
from rlguide.statistics import Estimate, mean, wins
from rlguide.workspace import Workspace, atomic_write, write_json

SCORES = "pairs.jsonl"
_NUMBERS = {"loss", "chosen_reward", "rejected_reward"}
# Keys that must be the same in evaluation as in training for the rewards to mean the same.
_FROM_TRAINING = ("template", "cutoff_len", "dataset_dir", "seed", "train_on_prompt", "mask_history")


@dataclass(frozen=True)
class Evaluation:
    """Held-out figures of a policy against its reference.

    Attributes:
        accuracy: share of pairs whose chosen response has the higher reward, ties as half, with the exact interval.
        ties: pairs whose responses have the same reward.
        margin: chosen reward minus rejected reward, in units of pref_beta x nats.
        loss: the preference loss.
        loss_of_reference: what it would be if the policy were its reference (ln 2 with sigmoid); None if unknown.
        chosen_reward, rejected_reward: pref_beta x log(policy / reference) of each response.
        notes: what could not be checked: parts of the stack that have no record of their training prompts.
    """

    run: str
    datasets: tuple[str, ...]
    pairs: int
    accuracy: Estimate
    ties: int
    margin: Estimate
    loss: Estimate
    loss_of_reference: float | None
    chosen_reward: Estimate
    rejected_reward: Estimate
    policy: str
    reference: str
    scores: str
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        estimates = ("accuracy", "margin", "loss", "chosen_reward", "rejected_reward")
        plain = {key: value for key, value in self.__dict__.items() if key not in estimates}
        return {**plain, **{key: getattr(self, key).as_dict() for key in estimates}, "verdict": self.verdict}

    @property
    def verdict(self) -> str:
        """What the figures say, in a sentence or two."""
        if self.ties == self.pairs:
            return "policy and reference score all pairs alike: nothing was learnt; check learning rate and steps"
        ties = f" ({self.ties} ties count as half)" if self.ties else ""
        worse = self.loss_of_reference is not None and self.loss.low > self.loss_of_reference
        harm = (
            f"; its loss on held-out pairs is above the reference's ({self.loss_of_reference or 0:.4f}): it errs more"
            " than it gains. Train fewer epochs, with a lower learning rate or a higher pref_beta"
        )
        if self.accuracy.low > 0.5:
            learnt = "the policy has learnt the preference: the confidence interval of its accuracy is above chance"
            return f"{learnt}{ties}{harm if worse else ''}"
        if self.accuracy.high < 0.5:
            return f"the policy prefers the REJECTED responses{ties}: check the data's columns and the learning rate"
        if worse:
            return f"no clear preference{ties}{harm}"
        return (
            f"no clear preference: the confidence interval includes chance (0.5){ties}; use more pairs or train longer"
        )


def eval_config(ws: Workspace, run: Run, datasets: list[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The LLaMA-Factory config that evaluates a run's policy against its reference.

    Without `datasets`, it uses the pairs that the run held out: its eval_dataset, or the same `val_size` share
    of its training set drawn with the same seed.

    Raises:
        UsageError: the run held nothing out and no dataset is named; it trained a reward model; or it wants to run
            code that comes with its base, and `settings` does not say `trust_remote_code`.
    """
    method = _method_of(run, settings)
    values: dict[str, Any] = {key: run.config[key] for key in _FROM_TRAINING if key in run.config}
    model, notes = model_keys(ws, run.config)
    for note in notes:
        warn(note)
    values.update(model)
    # Every policy is measured with DPO's rewards, with the loss and beta it was trained with where they are DPO's.
    if method.has_reference:
        values.update({key: run.config[key] for key in ("pref_beta", "pref_loss") if key in run.config})
    if bits := run.config.get("quantization_bit"):  # both on the base that the adapter was trained on
        values.update(ref_model_quantization_bit=bits)
    keys = {"eval_dataset": ",".join(datasets)} if datasets else held_out_keys(ws, run)
    if not keys:
        own = f"; its own held-out loss is in {run.file(RUN_FILE)}, under summary" if method.normal else ""
        raise UsageError(
            f"the run {run.name} held no pairs out", f"name pairs it was not trained on: --dataset NAME{own}"
        )
    values.update(keys)
    reference = run.reference
    values.update(
        run.policy.model_config(),
        ref_model=reference.base,
        ref_model_adapters=",".join(reference.adapters) or None,
        output_dir=run.file("eval"),
        **compute_keys(list_gpus(), 0),
    )
    return fill(load_recipe("eval"), {**values, **settings})


@dataclass(frozen=True)
class HeldOut:
    """The pairs that a run is evaluated on: the config of their evaluation, their number, what could not be checked."""

    config: dict[str, Any]
    rows: int
    notes: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """The datasets."""
        return split_names(self.config.get("eval_dataset") or self.config.get("dataset"))


def held_out_pairs(
    ws: Workspace, engine: Engine, run: Run, datasets: list[str], settings: Mapping[str, Any]
) -> HeldOut:
    """Find the pairs that a run is evaluated on, without those that its stack was trained on.

    Raises:
        UsageError, CheckpointError, DataError: nothing to evaluate on, or a part of the stack is missing.
        EngineError: the engine cannot tell its keys.
    """
    config = eval_config(ws, run, datasets, settings)
    check_run(ws, run, settings)
    check_keys(config, load_schema(engine), "the evaluation config")
    is_split = bool(config.get("val_size"))
    seen = trained_on(ws, run.policy, run.reference)
    config, rows = leave_out_trained(ws, run, config, seen)
    found = HeldOut(config, _expected(config, rows), seen.notes)
    say(f"policy     {run.policy.describe()}")
    say(f"reference  {run.reference.describe()}")
    say(f"pairs      {found.rows:,} of {', '.join(found.names)}" + (" (val_size)" if is_split else ""))
    return found


def check_run(ws: Workspace, run: Run, settings: Mapping[str, Any]) -> None:
    """Refuse to evaluate a run that is no policy, has lost a part, or wants what no record decides.

    Raises:
        UsageError, CheckpointError: naming what it is.
    """
    _method_of(run, settings)
    check_links(run.path, run.name, "eval")
    check_policy(ws, run.policy)


def _method_of(run: Run, settings: Mapping[str, Any]) -> Method:
    check_trusted(run, is_settled="trust_remote_code" in settings)
    method = find_method(run.method_name)
    if method.trains != "policy":
        raise UsageError(
            f"{run.name} is a reward model, not a policy",
            f"its held-out accuracy is in {run.file(RUN_FILE)}, under summary",
        )
    return method


def evaluate(ws: Workspace, engine: Engine, run: Run, datasets: list[str], settings: Mapping[str, Any]) -> Evaluation:
    """Score the held-out pairs with the run's whole stack against its reference, as `score`.

    Raises:
        UsageError, CheckpointError, DataError, EngineError: as `held_out_pairs` and `score`.
    """
    return score(ws, engine, run, held_out_pairs(ws, engine, run, datasets, settings))


def score(ws: Workspace, engine: Engine, run: Run, held_out: HeldOut) -> Evaluation:
    """Score pairs with the run's whole stack against its reference.

    Writes `configs/eval_config.yaml`, `<run>/eval/pairs.jsonl` (one line per pair) and `<run>/eval/result.json`.

    Raises:
        DataError: the scores are damaged or not numbers.
        EngineError: the engine failed; the message has the cause.
    """
    _write_config(ws, run, held_out.config)
    scores = _score(ws, engine, run, held_out.config, held_out.rows)
    rows = read_rows(scores)
    result = _evaluation(run, held_out.config, rows, run.file(f"eval/{scores.name}"))
    _add_texts(ws, held_out, scores, rows)
    result = replace(result, notes=held_out.notes)
    write_json(scores.with_name("result.json"), result.as_dict())
    return result


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


def _expected(config: Mapping[str, Any], rows: int) -> int:
    share = config.get("val_size") or 0
    rows = math.ceil(rows * share) if 0 < share < 1 else int(share) or rows
    limit = config.get("max_samples")
    return min(rows, int(limit)) if limit else rows


def _write_config(ws: Workspace, run: Run, config: dict[str, Any]) -> None:
    """Leave the config where a person finds it; theirs stays as it is if they edited it."""
    path = ws.configs / "eval_config.yaml"
    introduction = [
        f"Evaluation of {run.policy.describe()} against {run.reference.describe()}.",
        "This file is yours. Paths are relative to the workspace folder; run it there with",
        "    llamafactory-cli train configs/eval_config.yaml",
        "which prints the averages; `rlguide eval` adds confidence intervals and the score of every pair.",
    ]
    write_unless_edited(path, ws.relative(path), render(load_recipe("eval"), config, introduction))


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


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The lines of `pairs.jsonl`. Raises DataError if it is empty or damaged."""
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the scores {path}: {error}", "run `rlguide eval` again") from error
    if not rows:
        raise DataError("no pair was scored", f"see {path.with_name('engine.log')}")
    if not all(isinstance(row, dict) and row.keys() >= _NUMBERS for row in rows):
        raise DataError(f"the scores {path} are damaged", "run `rlguide eval` again")
    return rows


def _evaluation(run: Run, config: Mapping[str, Any], rows: list[dict[str, float]], scores: str) -> Evaluation:
    bad = sum(not all(math.isfinite(value) for value in row.values()) for row in rows)
    if bad:
        raise DataError(
            f"NaN or infinity in the scores of {bad} of {len(rows)} pairs; training diverged",
            "train again with a lower learning rate",
        )
    margins = [row["chosen_reward"] - row["rejected_reward"] for row in rows]
    accuracy, ties = wins(margins)
    return Evaluation(
        run=run.name,
        datasets=tuple(split_names(config.get("eval_dataset") or config.get("dataset"))),
        pairs=len(rows),
        accuracy=accuracy,
        ties=ties,
        margin=mean(margins),
        loss=mean([row["loss"] for row in rows]),
        loss_of_reference=first_loss({"stage": "dpo", **config}),
        chosen_reward=mean([row["chosen_reward"] for row in rows]),
        rejected_reward=mean([row["rejected_reward"] for row in rows]),
        policy=run.policy.describe(),
        reference=run.reference.describe(),
        scores=scores,
    )


@dataclass(frozen=True)
class ScoredPair:
    """A held-out pair and the margin that the policy gives it."""

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
        prompt = row.get("prompt")
        if isinstance(prompt, list) and all(isinstance(text, str) for text in texts):
            messages = [{"role": str(one["role"]), "content": str(one["content"])} for one in prompt]
            found.append(ScoredPair(row["chosen_reward"] - row["rejected_reward"], messages, *map(str, texts)))
    return sorted(found, key=lambda pair: pair.margin)
