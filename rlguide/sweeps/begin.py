"""Make a sweep of what was asked for: every trial is prepared and checked before the first one starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rlguide.catalog.best_by import GREATER, METRIC, best_keys
from rlguide.catalog.methods import Method
from rlguide.engine.find import Engine
from rlguide.engine.hardware import Gpu
from rlguide.engine.schema import load_schema
from rlguide.errors import UsageError
from rlguide.policy.checkpoint import locate, resolve_checkpoint
from rlguide.recipes.options import TrainingOptions
from rlguide.recipes.prepare import Prepared, prepare
from rlguide.sweeps.objective import Objective, check_comparable, choose_objective
from rlguide.sweeps.space import Axis, corners, for_engine, grid_points
from rlguide.sweeps.sweep import GRID, SWEEPS, Sweep, default_name, folder_of
from rlguide.workspace import Workspace

LIMIT = "save_total_limit"
SEARCH_TRIALS = 20


@dataclass(frozen=True)
class Asked:
    """What was asked for, as it was typed.

    Attributes:
        kind: "grid" or "search".
        trials: of a search; None for as many as the grid has points, or 20.
        name: None for one that follows from method and keys.
    """

    kind: str
    axes: tuple[Axis, ...]
    trials: int | None = None
    name: str | None = None
    seed: int = 0
    is_pruned: bool = True


@dataclass(frozen=True)
class Begun:
    """A sweep with what was prepared to check it: the settings of trials, and the trainings that they make."""

    sweep: Sweep
    trials: list[tuple[dict[str, Any], Prepared]]

    @property
    def prepared(self) -> list[Prepared]:
        """The trainings."""
        return [item for _, item in self.trials]


def make_sweep(
    ws: Workspace,
    main: Engine,
    options: TrainingOptions,
    asked: Asked,
    dry_run: bool = False,
    gpus: list[Gpu] | None = None,
) -> Begun:
    """The sweep, with every point of a grid prepared, or the ends of every key of a search.

    Args:
        gpus: that each trial will see; this host's by default.

    Raises:
        UsageError, CheckpointError, DataError, EngineError: the first thing that would go wrong in a trial.
    """
    schema = load_schema(main)
    axes = for_engine(asked.axes, schema, asked.kind)
    twice = next((axis.key for axis in axes if axis.key in options.settings), None)
    if twice is not None:
        raise UsageError(f"{twice} is both set and swept", f"leave --set {twice} out")
    points = grid_points(axes) if asked.kind == GRID else corners(axes)
    options = _settled(ws, options)
    plain = replace(options, best_by=None, output_dir=_output(asked.name or "new"))
    first = _prepared(ws, main, plain, points[0], dry_run, gpus)
    keys = tuple(axis.key for axis in axes)
    name = asked.name or default_name(first.method.name, keys)
    folder_of(ws, name)
    objective = choose_objective(first.method, options.best_by or _recorded(first), keys)
    options = _by(options, first.method, objective)
    if LIMIT not in (*options.settings, *keys) and options.config is None:
        options = replace(options, settings={**options.settings, LIMIT: 1})
    if not options.datasets and options.config is None and first.method.data == "pairs":
        options = replace(options, datasets=tuple(item.name for item in first.datasets))
    nowhere = replace(options, output_dir=_output(name))
    trials = [(point, _prepared(ws, main, nowhere, point, True, gpus)) for point in points]
    check_comparable(trials)
    count = len(points) if asked.kind == GRID else asked.trials or SEARCH_TRIALS
    sweep = Sweep(name, asked.kind, axes, count, asked.seed, options, objective, first.method.name, asked.is_pruned)
    return Begun(sweep, trials)


def prepare_point(
    ws: Workspace, main: Engine, sweep: Sweep, point: Mapping[str, Any], gpus: list[Gpu] | None = None
) -> Prepared:
    """The training that a trial with these settings is; nothing is written. Arguments and errors as `make_sweep`."""
    return _prepared(ws, main, replace(sweep.train, output_dir=_output(sweep.name)), point, True, gpus)


def _output(name: str) -> str:
    """A folder that no trial has, in the place of theirs, which may be there."""
    return f"saves/{SWEEPS}/{name}/trial"


def _prepared(
    ws: Workspace,
    main: Engine,
    options: TrainingOptions,
    point: Mapping[str, Any],
    dry_run: bool,
    gpus: list[Gpu] | None = None,
) -> Prepared:
    return prepare(ws, main, replace(options, settings={**options.settings, **point}), dry_run, gpus)


def _settled(ws: Workspace, options: TrainingOptions) -> TrainingOptions:
    """The same with paths as they lead from the workspace, and "latest" as the checkpoint that it is now.

    Trials are started from the workspace, and over days: a checkpoint that comes meanwhile must not become the start
    of the later ones.
    """

    def path(name: str | None) -> str | None:
        return name if name is None or not locate(ws, name).exists() else ws.relative(locate(ws, name))

    changed: dict[str, Any] = {name: path(getattr(options, name)) for name in ("from_run", "base", "reward_model")}
    is_from_base = options.base is not None and options.sft_ckpt is None and _starts_from_base(options)
    if options.config is not None:
        changed["config"] = options.config.absolute()  # it is read from the folder in which it was typed
    elif options.from_run is None and not is_from_base:
        changed["sft_ckpt"] = ws.relative(resolve_checkpoint(ws, options.sft_ckpt or "latest").path)
    return replace(options, **changed)


def _starts_from_base(options: TrainingOptions) -> bool:
    from rlguide.catalog.methods import find_method

    return find_method(options.method).from_base


def _recorded(first: Prepared) -> str | None:
    """What a config that its user owns says of the best step; None for nothing."""
    metric = first.config.get(METRIC)
    if not isinstance(metric, str):
        return None
    names = {"loss": "loss", **{key: name for name, key in first.method.best_by.items()}}
    if metric.removeprefix("eval_") not in names:
        raise UsageError(
            f"the config chooses the best step by {metric}, by which trials cannot be compared",
            f"choose one: --best-by {' or '.join(names.values())}",
        )
    return names[metric.removeprefix("eval_")]


def _by(options: TrainingOptions, method: Method, objective: Objective) -> TrainingOptions:
    """The same, with the best step of each trial known by the figure by which the trials are compared."""
    if options.config is None:
        return replace(options, best_by=None if objective.by == "loss" else objective.by)
    keys = best_keys(method, objective.by) or {METRIC: "loss", GREATER: False}
    return replace(options, best_by=None, settings={**options.settings, **keys})
