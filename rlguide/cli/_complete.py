"""What the shell completes: names of runs, checkpoints, datasets, methods, recipes and keys.

A completion is asked for at each press of a key. So it reads names only, never says anything, and what it cannot read
completes nothing.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rlguide.workspace import Workspace

VARIABLE = "_RLGUIDE_COMPLETE"  # by which a shell asks, as typer names it
_MOST = 300  # names; no more are looked through on a screen
Find = Callable[["Workspace", Mapping[str, Any]], Iterable[str]]


def words_so_far() -> list[str]:
    """The words of the line that a shell completes, without the program; [] if they cannot be split."""
    line = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS") or ""
    try:
        return shlex.split(line)[1:]
    except ValueError:  # a quote is open
        return line.split()[1:]


def of(*finds: Find, several: bool = False) -> Callable[[typer.Context, str], list[str]]:
    """A completion from functions that give names in a workspace.

    Args:
        several: whether the value is a list, separated by commas, of which the last is completed.
    """

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        from rlguide.workspace import Workspace

        try:
            head, comma, last = incomplete.rpartition(",") if several else ("", "", incomplete)
            ws = Workspace(Path(ctx.params.get("workspace") or os.environ.get("RLGUIDE_WORKSPACE") or ".").absolute())
            names = dict.fromkeys(name for find in finds for name in find(ws, ctx.params))
            taken = head.split(",") if several else []
            fit = [name for name in names if name.startswith(last) and name not in taken and name.isprintable()]
            return [_typed(f"{head}{comma}{name}") for name in fit[:_MOST]]
        except Exception:  # whatever a file holds, or a disk says
            return []

    return complete


def _typed(name: str) -> str:
    """A name as it is put on the line: zsh and fish quote it themselves, bash does not."""
    if os.environ.get(VARIABLE, "").endswith("_bash"):
        return re.sub(r"([^\w@%+=:,./~-])", r"\\\1", name)
    return name


def runs(ws: Workspace, given: Mapping[str, Any]) -> Iterable[str]:
    """The runs under saves/."""
    from rlguide.policy.run_record import run_folders

    return sorted(ws.relative(folder) for folder in run_folders(ws.saves))


def sweeps(ws: Workspace, given: Mapping[str, Any]) -> Iterable[str]:
    """The sweeps under saves/sweeps."""
    return sorted(path.parent.name for path in (ws.saves / "sweeps").glob("*/sweep.json"))


def checkpoints(ws: Workspace, given: Mapping[str, Any]) -> Iterable[str]:
    """Whatever under saves/ can be started from: runs, checkpoints, merged models."""
    from rlguide.policy.checkpoint import candidate_folders

    return sorted(ws.relative(folder) for folder in candidate_folders(ws.saves))


def latest(ws: Workspace, given: Mapping[str, Any]) -> Iterable[str]:
    """The word for the newest SFT checkpoint."""
    return ["latest"]


def datasets(ws: Workspace, given: Mapping[str, Any]) -> Iterable[str]:
    """The registered datasets."""
    from rlguide.data.store.dataset_info import read_registry

    return list(read_registry(ws))


def catalog(ws: Workspace, given: Mapping[str, Any]) -> Iterable[str]:
    """The datasets of the catalog."""
    from rlguide.catalog.datasets import load_datasets

    return list(load_datasets())


def methods(ws: Workspace, given: Mapping[str, Any]) -> Iterable[str]:
    """The methods."""
    from rlguide.catalog.methods import method_choices

    return list(method_choices())


def losses(ws: Workspace, given: Mapping[str, Any]) -> Iterable[str]:
    """The losses of the method that was named, of the default one without."""
    from rlguide.catalog.methods import method_choices

    known = method_choices()
    return known.get(str(given.get("method") or next(iter(known))), ())


def figures(ws: Workspace, given: Mapping[str, Any]) -> Iterable[str]:
    """The figures by which a best step is known."""
    from rlguide.catalog.best_by import BEST_BY

    return BEST_BY


def rules(ws: Workspace, given: Mapping[str, Any]) -> Iterable[str]:
    """The rules of the diagnosis, and the word for none of them."""
    from rlguide.catalog.diagnosis import diagnosis_rules

    return [*diagnosis_rules(), "none"]


def recipes(ws: Workspace, given: Mapping[str, Any]) -> Iterable[str]:
    """The ready recipes."""
    from rlguide.catalog.recipes import ready_recipes

    return list(ready_recipes())


def keys(ws: Workspace, given: Mapping[str, Any]) -> Iterable[str]:
    """The keys of a config that the guide explains."""
    text = Path(__file__).parents[1].joinpath("catalog/hyperparameters.yaml").read_text(encoding="utf-8")
    return re.findall(r"^(\w+):$", text, re.MULTILINE)


def settings(ws: Workspace, given: Mapping[str, Any]) -> Iterable[str]:
    """KEY=VALUE for every key of the engine, with each of its choices, else its default."""
    fields = _fields()
    for key in sorted({*keys(ws, given), *fields}):
        field = fields.get(key)
        values = _values(field) if isinstance(field, dict) else []
        yield from (f"{key}={value}" for value in values or [""])


def _fields() -> dict[str, Any]:
    """The engine's argument table, as the last engine that was used left it in the cache; {} without one."""
    from rlguide.workspace import read_json, user_cache

    tables = sorted((user_cache() / "engines").glob("*.json"), key=lambda path: path.stat().st_mtime)
    found = read_json(tables[-1])["fields"] if tables else {}
    return found if isinstance(found, dict) else {}


def _values(field: Mapping[str, Any]) -> list[str]:
    choices = [choice for choice in field.get("choices") or () if isinstance(choice, str)]
    if choices:
        return choices
    default, kinds = field.get("default"), field.get("kinds") or ()
    if "bool" in kinds:
        return ["true", "false"]
    is_plain = isinstance(default, int | float) or (isinstance(default, str) and default.isidentifier())
    return [default if isinstance(default, str) else json.dumps(default)] if is_plain else []
