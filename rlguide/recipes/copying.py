"""A ready recipe in a workspace: filled with the checkpoint and the data that are there, and written once."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rlguide.catalog.methods import find_method
from rlguide.catalog.recipes import ReadyRecipe
from rlguide.data.store.dataset_info import read_registry
from rlguide.errors import UsageError
from rlguide.policy.base import same_model
from rlguide.policy.checkpoint import resolve_checkpoint
from rlguide.policy.merge import default_folder
from rlguide.policy.policy import StartingPoint, starting_point
from rlguide.recipes.data import choose_data, data_keys
from rlguide.recipes.inputs import label_keys, tokenizing_processes
from rlguide.recipes.output import next_name
from rlguide.recipes.ready import (
    DATASET,
    Filling,
    Rendered,
    filled,
    guide_filling,
    needs,
    output_dir,
    preparations,
    sft_folder,
    start_keys,
)
from rlguide.recipes.render import write_config
from rlguide.workspace import Workspace, check_replaceable

_SHAPES = ("model_type", "hidden_size", "num_hidden_layers", "intermediate_size")


@dataclass(frozen=True)
class Copied:
    """A recipe that was written: where, what was kept of an earlier file, and what to know of the checkpoint."""

    rendered: Rendered
    path: Path
    backup: Path | None
    notes: tuple[str, ...]


def copy_recipe(
    ws: Workspace,
    recipe: ReadyRecipe,
    path: Path | None = None,
    sft_ckpt: str | None = None,
    datasets: tuple[str, ...] = (),
    force: bool = False,
) -> Copied:
    """Write a recipe as a config of the workspace.

    Args:
        path: the file, or a folder for it; `configs/<name>.yaml` by default.
        sft_ckpt: the checkpoint to start from; by default where `rlguide train --method sft` leaves it.
        datasets: registered datasets; by default the guide's, whether it is there yet or not.
        force: overwrite a file that is there; one that was edited is kept as `.bak`.

    Raises:
        UsageError: a file is there, the checkpoint is of another model, or a dataset is not registered.
        CheckpointError, DataError: the checkpoint or the data cannot be used.
        RlguideError: the file cannot be written.
    """
    target = _target(ws, recipe, path)
    check_replaceable(target)
    if os.path.lexists(target) and not force:
        raise UsageError(
            f"{shown_path(target)} exists already",
            "to overwrite it, add --force; or give another file: "
            f"`rlguide recipes copy {shlex.quote(recipe.name)} {shlex.quote(shown_path(_free(target)))}`",
        )
    start = _start(ws, recipe, sft_ckpt)
    rendered = filled(recipe, _filling(ws, recipe, start, datasets))
    backup = write_config(target, rendered.text_in(ws.relative(target.absolute())), force)
    return Copied(rendered, target, backup, start.notes)


def shown_path(path: Path) -> str:
    """A path as it is typed in the current folder."""
    absolute, here = path.absolute(), Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else path)


def _target(ws: Workspace, recipe: ReadyRecipe, path: Path | None) -> Path:
    name = f"{recipe.name}.yaml"
    if path is None:
        return ws.configs / name
    path = path.expanduser()
    return path / name if path.is_dir() else path


def _free(path: Path) -> Path:
    number = 2
    while os.path.lexists(free := path.with_name(f"{path.stem}-{number}{path.suffix}")):
        number += 1
    return free


@dataclass(frozen=True)
class _Start:
    """What is trained on: keys of the config, what of it is to be made first, and of which adapter (`preparations`)."""

    keys: dict[str, Any]
    needs: tuple[str, ...] = ()
    adapter: str | None = None
    notes: tuple[str, ...] = ()


def _filling(ws: Workspace, recipe: ReadyRecipe, start: _Start, datasets: tuple[str, ...]) -> Filling:
    """What is there of what the recipe reads, and what is to be run for the rest. Raises as `copy_recipe`."""
    guide = guide_filling(recipe)
    keys = {key: value for key, value in guide.keys.items() if key not in start_keys(recipe)}
    keys |= {**start.keys, "output_dir": next_name(ws, output_dir(recipe))}
    names = datasets or ((DATASET,) if DATASET in read_registry(ws) else ())
    steps = preparations(recipe, ",".join(names or (DATASET,)), start.adapter)
    todo = [step for what, step in steps.items() if what in start.needs or (not names and what in ("data", "view"))]
    if not names:
        return replace(guide, keys=keys, before=todo)
    data = choose_data(ws, find_method(recipe.method), names, {}, evaluates=True, dry_run=False)
    keys |= {**data_keys(data), "preprocessing_num_workers": tokenizing_processes(data.rows, os.cpu_count() or 1)}
    keys |= label_keys(*data.labels) if data.labels is not None else {}
    return Filling(keys, [item.rows for item in data.train], [item.rows for item in data.held_out], todo)


def _start(ws: Workspace, recipe: ReadyRecipe, sft_ckpt: str | None) -> _Start:
    """The checkpoint that is named, or the one where the guide's own steps leave it, checked if it is there."""
    if sft_ckpt is None:
        guide = start_keys(recipe)
        if recipe.start == "model" or (recipe.start == "merged" and (ws.root / guide["model_name_or_path"]).is_dir()):
            return _Start(guide)
        if not (ws.root / sft_folder(recipe)).is_dir():
            return _Start(guide, needs(recipe))
    start = starting_point(ws, resolve_checkpoint(ws, sft_ckpt or sft_folder(recipe)))
    _check_model(recipe, start)
    template = start.reference.template or recipe.model.template
    if not (recipe.quantization and start.reference.adapters):
        return _Start({**start.config, "template": template}, notes=start.notes)
    merged = default_folder(ws, start.reference)
    keys = {"model_name_or_path": ws.relative(merged), "template": template}
    return _Start(keys, () if merged.is_dir() else ("merged",), start.reference.adapters[-1], start.notes)


def _check_model(recipe: ReadyRecipe, start: StartingPoint) -> None:
    """Refuse a checkpoint of a model with other shapes, or of another name where those are not known."""
    config, shapes = start.base.config, recipe.model.shapes
    fits = same_model(start.base_name, recipe.model.hub_id)
    if config is not None:
        fits = all(config.get(key) == shapes[key] for key in _SHAPES)
    if not fits:
        name = start.checkpoint.name if start.checkpoint is not None else start.base_name
        raise UsageError(
            f"{name} is of {start.base_name}, and the recipe {recipe.name} is for {recipe.model.hub_id}",
            "choose a recipe for that model (`rlguide recipes`), or make a config: "
            f"`rlguide configure --sft-ckpt {shlex.quote(name)}`",
        )
