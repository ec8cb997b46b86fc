"""What an evaluation runs: LLaMA-Factory's config on the held-out pairs, and what is checked before it starts.

LLaMA-Factory's plain recipe (`stage: dpo, do_train: false`) takes the model as its own reference: its loss is
always ln 2 and its rewards are dropped. Here the reference of a policy is named (`ref_model`, `ref_model_adapters`). A
reward model has none (`stage: rm`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlguide.catalog.methods import Method, find_method
from rlguide.console import say, warn
from rlguide.engine.config_file import split_names
from rlguide.engine.find import Engine
from rlguide.engine.hardware import list_gpus
from rlguide.engine.schema import load_schema
from rlguide.errors import UsageError
from rlguide.evaluation.held_out import held_out_keys, leave_out_trained
from rlguide.policy.policy import check_policy
from rlguide.policy.run_record import RUN_FILE
from rlguide.policy.trained_on import trained_on
from rlguide.policy.value_head import check_value_head
from rlguide.recipes.checks import check_keys
from rlguide.recipes.inputs import compute_keys
from rlguide.recipes.render import Recipe, fill, load_recipe
from rlguide.runs.authority import check_links, check_trusted
from rlguide.runs.choose import is_reward_model, model_keys
from rlguide.runs.record import Run
from rlguide.workspace import Workspace

# Keys that must be the same in evaluation as in training for the rewards to mean the same.
_FROM_TRAINING = ("template", "cutoff_len", "dataset_dir", "seed", "train_on_prompt", "mask_history")


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


def recipe_of(run: Run) -> Recipe:
    """The recipe of a run's evaluation."""
    return load_recipe("eval_rm" if is_reward_model(run) else "eval")


def eval_config(ws: Workspace, run: Run, datasets: list[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The LLaMA-Factory config that evaluates a run's policy against its reference, or the reward model of a run.

    Without `datasets`, it uses the pairs that the run held out: its eval_dataset, or the same `val_size` share
    of its training set drawn with the same seed.

    Raises:
        UsageError: the run held nothing out and no dataset is named; or it wants to run code that comes with its base,
            and `settings` does not say `trust_remote_code`.
    """
    check_trusted(run, is_settled="trust_remote_code" in settings)
    method = find_method(run.method_name)
    values: dict[str, Any] = {key: run.config[key] for key in _FROM_TRAINING if key in run.config}
    model, notes = model_keys(ws, run.config)
    for note in notes:
        warn(note)
    keys = {"eval_dataset": ",".join(datasets)} if datasets else held_out_keys(ws, run)
    if not keys:
        own = f"; its own held-out loss is in {run.file(RUN_FILE)}, under summary" if method.normal else ""
        raise UsageError(
            f"the run {run.name} held no pairs out", f"name pairs it was not trained on: --dataset NAME{own}"
        )
    values.update(model)
    values.update({} if is_reward_model(run) else _against_reference(run, method))
    values.update(keys)
    values.update(run.policy.model_config(), output_dir=run.file("eval"), **compute_keys(list_gpus(), 0))
    return fill(recipe_of(run), {**values, **settings})


def _against_reference(run: Run, method: Method) -> dict[str, Any]:
    """The reference, and DPO's rewards, with the loss and beta that a policy was trained with where they are DPO's."""
    reference = run.reference
    keys = {"ref_model": reference.base, "ref_model_adapters": ",".join(reference.adapters) or None}
    if method.has_reference:
        keys.update({key: run.config[key] for key in ("pref_beta", "pref_loss") if key in run.config})
    if bits := run.config.get("quantization_bit"):  # both on the base that the adapter was trained on
        keys.update(ref_model_quantization_bit=bits)
    return keys


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
    if is_reward_model(run):
        say(f"reward     {run.policy.describe()}")
    else:
        say(f"policy     {run.policy.describe()}")
        say(f"reference  {run.reference.describe()}")
    say(f"pairs      {found.rows:,} of {', '.join(found.names)}" + (" (val_size)" if is_split else ""))
    return found


def check_run(ws: Workspace, run: Run, settings: Mapping[str, Any]) -> None:
    """Refuse to evaluate a run that has lost a part, or wants what no record decides.

    Raises:
        UsageError, CheckpointError: naming what it is.
    """
    check_trusted(run, is_settled="trust_remote_code" in settings)
    check_links(run.path, run.name, "eval")
    check_policy(ws, run.policy)
    if is_reward_model(run):
        check_value_head(ws, run.policy)


def _expected(config: Mapping[str, Any], rows: int) -> int:
    share = config.get("val_size") or 0
    rows = math.ceil(rows * share) if 0 < share < 1 else int(share) or rows
    limit = config.get("max_samples")
    return min(rows, int(limit)) if limit else rows
