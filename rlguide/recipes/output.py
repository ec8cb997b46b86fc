"""Where a run may write: a folder of its own, that holds nothing but a run and touches nothing that the run reads."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rlguide.engine.config_file import split_names
from rlguide.engine.running import LOCK, is_training
from rlguide.errors import UsageError
from rlguide.policy.checkpoint import locate
from rlguide.policy.run_record import RUN_FILE, read_record
from rlguide.policy.run_state import next_step, state_of
from rlguide.recipes.data import TrainingData
from rlguide.workspace import Workspace

# What a folder in which something was trained holds. What a run that failed before its first checkpoint left (logs,
# run.json) may be written over.
_TRAINED = ("adapter_config.json", "config.json", "trainer_state.json")
_OF_A_RUN = (RUN_FILE, LOCK, "trainer_state.json", "trainer_log.jsonl", "train_results.json")
# The keys that name models. Each value may be a list, as the engine splits it, though most are not.
_MODELS = {
    "model_name_or_path": "the base model",
    "adapter_name_or_path": "an adapter that it starts from",
    "ref_model": "the reference model",
    "ref_model_adapters": "an adapter of the reference",
    "reward_model": "the reward model",
    "reward_model_adapters": "an adapter of the reward model",
}


def check_output(ws: Workspace, config: Mapping[str, Any], data: TrainingData) -> None:
    """Refuse an output directory that would destroy, or be mixed with, something that is not this run.

    `overwrite_output_dir` gives leave to replace an earlier run, and nothing else.

    Raises:
        UsageError: it holds a run (which LLaMA-Factory would silently resume) or other files; it is, or lies above or
            below, something that the run reads; it cannot be a folder at all.
    """
    named = str(config["output_dir"])
    path = _real(ws.root / named, named)
    root = ws.root.resolve()
    if path == root or path in root.parents:
        raise UsageError(f"the output directory {named} is the workspace itself, or holds it", _fix())
    for what, used in _read_by(ws, config, data):
        if path == used or path in used.parents or used in path.parents:
            where = "is" if path == used else "holds" if path in used.parents else "lies in"
            raise UsageError(f"the output directory {named} {where} {what}, {ws.relative(used)}", _fix())
    if not path.is_dir():
        return
    held = _trained(path)
    if (held and not config.get("overwrite_output_dir")) or is_training(path, None):
        record = read_record(path)
        now = "" if record is None else f"{next_step(named, record, state_of(path, record))}; or "
        raise UsageError(
            f"{named} already holds a run ({held[0] if held else 'it is training right now'})",
            f"{now}start another: -o {shlex.quote(free_name(ws, named))}",
        )
    others = [] if _is_run(path) else [item.name for item in path.iterdir()]
    if others:
        raise UsageError(f"the output directory {named} holds files that are not a run's ({sorted(others)[0]})", _fix())


def _fix() -> str:
    return "choose a folder of the run's own with --output-dir (output_dir in a config), e.g. saves/my-model/lora/dpo"


def _is_finished(path: Path) -> bool:
    record = read_record(path)
    return record is None or record.status == "finished"


def _real(path: Path, named: str) -> Path:
    """The path without links. Raises UsageError if no folder can be there, or nothing can be written in it."""
    try:
        real = path.resolve()
        if real.exists() and not real.is_dir():
            raise UsageError(f"the output directory {named} is a file", "choose another --output-dir")
        above = next(folder for folder in (real, *real.parents) if folder.exists())
    except (OSError, RuntimeError, ValueError) as error:  # too long; a loop of links; a NUL
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"the output directory {named} cannot be used: {why}", _fix()) from error
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        what = "is not a folder" if not above.is_dir() else "cannot be written"
        raise UsageError(f"the output directory {named} cannot be made: {above} {what}", _fix())
    return real


def _read_by(ws: Workspace, config: Mapping[str, Any], data: TrainingData) -> Iterator[tuple[str, Path]]:
    """What the run reads, with the words for it: models, the folder of the datasets, their files."""
    for key, what in _MODELS.items():
        for name in split_names(config.get(key)):
            found = locate(ws, name)
            if found.exists():
                yield what, found.resolve()
    datasets = (ws.root / str(config.get("dataset_dir", "data"))).resolve()
    if not ws.root.resolve().is_relative_to(datasets):  # else all is in it
        yield "the folder of the datasets", datasets
    for item in (*data.train, *data.held_out):
        if item.path is not None:
            yield f"the data of {item.name}", item.path.resolve()


def _trained(path: Path) -> list[str]:
    return [name for name in _TRAINED if (path / name).exists()] + [item.name for item in path.glob("checkpoint-*")]


def _is_run(path: Path) -> bool:
    return any((path / name).exists() for name in _OF_A_RUN) or any(path.glob("checkpoint-*"))


def next_name(ws: Workspace, output_dir: str) -> str:
    """`output_dir`, or the first of dpo-2, dpo-3, ... where the ones before hold runs that are finished.

    A run that can be resumed keeps its folder, so that one who means to resume it is told so.
    """
    number, name = 1, output_dir
    while (ws.root / name).is_dir() and _trained(ws.root / name) and _is_finished(ws.root / name):
        number += 1
        name = f"{output_dir}-{number}"
    return name


def free_name(ws: Workspace, output_dir: str) -> str:
    """The first of dpo-2, dpo-3, ... that is not there yet."""
    number = 2
    while (ws.root / f"{output_dir}-{number}").exists():
        number += 1
    return f"{output_dir}-{number}"
