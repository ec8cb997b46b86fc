"""Ready recipes: a method for a model on certain GPUs, as a whole commented config made of catalog and templates."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rlguide.catalog.datasets import find_dataset
from rlguide.catalog.methods import find_method
from rlguide.catalog.recipes import ReadyRecipe
from rlguide.data.names import heldout_name, view_name
from rlguide.recipes.data import VIEWS
from rlguide.recipes.inputs import MOST_WORKERS, label_keys
from rlguide.recipes.render import fill, load_recipe, render
from rlguide.recipes.schedule import UNITS, Schedule, interval_keys, schedule

DATASET = "ultrafeedback"  # of the catalog; what a recipe trains on until its user says otherwise
_TEMPLATE_GPUS = 2  # that the templates' batches are for (templates/dpo.yaml)
_NUMBERS = {1: "one GPU", 2: "two GPUs"}


@dataclass(frozen=True)
class Filling:
    """What in a recipe is its user's: models, data, and what follows from the data.

    Attributes:
        keys: what is trained on (`model_name_or_path`, ...), its template, the data, the output.
        counts, held_out: rows of each dataset that is trained on, and evaluated on.
        before: what is to be run first, in order.
        is_exact: whether the counts are known.
    """

    keys: Mapping[str, Any]
    counts: Sequence[int | None]
    held_out: Sequence[int | None]
    before: Sequence[str] = field(default_factory=list)
    is_exact: bool = True


@dataclass(frozen=True)
class Rendered:
    """A recipe as a config, and what it comes to."""

    recipe: ReadyRecipe
    config: dict[str, Any]
    schedule: Schedule
    before: Sequence[str]

    def text_in(self, name: str) -> str:
        """The config as commented YAML in a file of this name, from the workspace; it says how to train with it."""
        template = load_recipe(self.recipe.method)
        micro, steps = self.config["per_device_train_batch_size"], self.config["gradient_accumulation_steps"]
        batch = f"Here {steps} x {micro} x {self.recipe.gpus} = {self.schedule.effective_batch}; keep that product."
        why = {**template.why, "gradient_accumulation_steps": batch}
        return render(replace(template, why=why), self.config, _introduction(self, name))


def filled(recipe: ReadyRecipe, filling: Filling | None = None) -> Rendered:
    """The recipe with what is its user's; by default with what the guide's own steps leave, on the guide's data.

    The effective batch is that of the method's template, however many GPUs there are.
    """
    filling = filling or guide_filling(recipe)
    template, method = load_recipe(recipe.method), find_method(recipe.method)
    values = {"bf16": True, "quantization_bit": recipe.quantization, **filling.keys, **recipe.change}
    config = fill(template, {**values, **_batch(recipe)})
    count = schedule(config, filling.counts, filling.held_out, recipe.gpus)
    count = replace(count, unit=UNITS[method.data], is_exact=count.is_exact and filling.is_exact)
    config = fill(template, {**config, **interval_keys(template.defaults, count)})
    return Rendered(recipe, config, count, filling.before)


def _batch(recipe: ReadyRecipe) -> dict[str, int]:
    """The steps to accumulate for the effective batch of the template."""
    defaults = load_recipe(recipe.method).defaults
    effective = defaults["per_device_train_batch_size"] * defaults["gradient_accumulation_steps"] * _TEMPLATE_GPUS
    micro = recipe.change.get("per_device_train_batch_size", defaults["per_device_train_batch_size"])
    return {"gradient_accumulation_steps": effective // (micro * recipe.gpus)}


def guide_filling(recipe: ReadyRecipe) -> Filling:
    """What the guide's own steps leave: an SFT run in its usual folder, and the catalog's `DATASET` by its card."""
    method, data = find_method(recipe.method), find_dataset(DATASET)
    use = VIEWS.get(method.data)
    name = view_name(DATASET, use) if use else DATASET
    responses = 2 if method.data == "labels" else 1  # of a pair that become rows of their own
    rows, held_out = data.rows * responses, (data.heldout_rows or 0) * responses
    keys = {
        **start_keys(recipe),
        "template": recipe.model.template,
        "dataset": name,
        "eval_dataset": heldout_name(name),
        "dataset_dir": "data",
        "preprocessing_num_workers": MOST_WORKERS,
        "output_dir": output_dir(recipe),
        **(label_keys(data.rows, data.rows) if "kto_chosen_weight" in method.keys else {}),
    }
    todo = [step for what, step in preparations(recipe, DATASET).items() if what in ("data", "view", *needs(recipe))]
    return Filling(keys, [rows], [held_out], todo, is_exact=responses == 1)


def start_keys(recipe: ReadyRecipe) -> dict[str, Any]:
    """The keys of the model that a recipe starts from, where the guide's own steps leave it."""
    if recipe.start == "model":
        return {"model_name_or_path": recipe.model.hub_id}
    if recipe.start == "merged":
        return {"model_name_or_path": f"saves/{recipe.model.name}/merged/sft"}
    adapter = {"adapter_name_or_path": sft_folder(recipe), "create_new_adapter": True}
    return {"model_name_or_path": recipe.model.hub_id, **adapter}


def needs(recipe: ReadyRecipe) -> tuple[str, ...]:
    """What of `preparations` a recipe's start takes where nothing is there yet."""
    return {"model": (), "adapter": ("sft",), "merged": ("sft", "merged")}[recipe.start]


def sft_folder(recipe: ReadyRecipe) -> str:
    """Where `rlguide train --method sft` leaves its run for the model of a recipe."""
    return f"saves/{recipe.model.name}/lora/sft"


def output_dir(recipe: ReadyRecipe) -> str:
    """The folder of the run, as `rlguide train` would name it."""
    return f"saves/{recipe.model.name}/lora/{recipe.method}"


def preparations(recipe: ReadyRecipe, names: str, sft: str | None = None) -> dict[str, str]:
    """The commands that make what a recipe may read, in order, by what they make: data, sft, merged, view.

    Args:
        names: the datasets, separated by commas.
        sft: the SFT adapter that is merged; by default where the guide's own steps leave it.
    """
    data = shlex.quote(names)
    base = shlex.quote(recipe.model.hub_id)
    adapter = shlex.quote(sft or sft_folder(recipe))
    steps = {
        "data": f"rlguide download {data}",
        "sft": f"rlguide train --method sft --base {base} --dataset {data}",
        "merged": f"rlguide export {adapter}",
    }
    use = VIEWS.get(find_method(recipe.method).data)
    return {**steps, "view": f"rlguide view {data} --use {shlex.quote(use)}"} if use else steps


def _introduction(rendered: Rendered, name: str) -> list[str]:
    recipe = rendered.recipe
    file = shlex.quote(name)
    title = load_recipe(recipe.method).title + (f", base in {recipe.quantization} bits" if recipe.quantization else "")
    where = f"{_NUMBERS.get(recipe.gpus, f'{recipe.gpus} GPUs')} of {recipe.gib} GB"
    start = {"adapter": "adapter_name_or_path", "merged": "model_name_or_path"}.get(recipe.start, "")
    yours = [key for key in (start, "dataset", "eval_dataset", "template", "output_dir") if key in rendered.config]
    first = ["First, in that folder:", *(f"    {step}" for step in rendered.before)] if rendered.before else []
    return [
        " ".join(
            [f"{recipe.name}: {title}, for {recipe.model.hub_id} on {where}.", recipe.why, recipe.model.note]
        ).rstrip(),
        f"{rendered.schedule.describe()}.",
        f"Yours to change: {', '.join(yours)}. Paths are relative to the workspace folder.",
        *first,
        "Then" if first else "Train with it, in that folder:",
        f"    rlguide train --config {file}",
        f"or  llamafactory-cli train {file}",
    ]
