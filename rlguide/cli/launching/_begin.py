"""The sweep that a command line means: begun, or resumed, and how its trials run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlguide.engine.find import Engine
    from rlguide.engine.hardware import Gpu
    from rlguide.recipes.options import TrainingOptions
    from rlguide.sweeps.begin import Asked, Begun
    from rlguide.sweeps.conduct import How
    from rlguide.sweeps.sweep import Sweep
    from rlguide.workspace import Workspace

NO_TRIALS = "--trials is the number of a search; a grid trains all its points"


def gpus_of_trial(launch: tuple[str, ...], is_one: bool, plan_for: str | None) -> list[Gpu] | None:
    """The GPUs that each trial is prepared for; None for all of this host.

    Args:
        launch: options of `rlguide train` that say where trials run.
        is_one: a trial has a single one.
        plan_for: of a dry run.
    """
    from rlguide.catalog.gpus import parse_gpus
    from rlguide.cli._slurm import gpus_of_job, slurm_launch
    from rlguide.engine.hardware import list_gpus
    from rlguide.planner.asked import as_host
    from rlguide.sweeps.sweep import SLURM

    if SLURM in launch and plan_for is None:
        return gpus_of_job(slurm_launch(launch[-1], None)).each
    found = as_host(parse_gpus(plan_for)) if plan_for is not None else list_gpus() or None
    return found[:1] if found and is_one else found


def begun_sweep(
    ws: Workspace,
    main: Engine,
    options: TrainingOptions,
    asked: Asked,
    trust: bool,
    dry_run: bool,
    launch: tuple[str, ...],
    gpus: list[Gpu] | None,
) -> Begun:
    """The sweep, checked for the GPUs of each trial; where one of this name was begun, it must be the same."""
    from rlguide.cli._training import at_steps, say_all
    from rlguide.errors import UsageError
    from rlguide.runs.authority import TRUST
    from rlguide.sweeps.begin import make_sweep
    from rlguide.sweeps.planned import check_disk, disk_of
    from rlguide.sweeps.sweep import FILE, folder_of, read_sweep

    if trust:
        options = replace(options, settings={**options.settings, TRUST: True})
    options, steps = at_steps(ws, options)
    begun = make_sweep(ws, main, options, asked, dry_run, gpus)
    say_all(steps)
    if trust:  # said by --trust-remote-code each time, and never by a record
        train = begun.sweep.train
        kept = {key: value for key, value in train.settings.items() if key != TRUST}
        begun = replace(begun, sweep=replace(begun.sweep, train=replace(train, settings=kept)))
    begun = replace(begun, sweep=replace(begun.sweep, launch=launch))
    folder = folder_of(ws, begun.sweep.name)
    if not (folder / FILE).exists():
        if not dry_run:
            check_disk(ws, disk_of(begun.prepared, begun.sweep.trials), begun.sweep.trials)
    elif not read_sweep(folder).same_as(begun.sweep):
        raise UsageError(
            f"the sweep {begun.sweep.name} was begun with other options or values",
            "give this one a name of its own: --name NAME",
        )
    return begun


def resumed_sweep(
    ws: Workspace, name: str, options: TrainingOptions, trials: int | None, launch: tuple[str, ...]
) -> Sweep:
    """The sweep of this name, with what its record may not decide refused unless it is said again."""
    import shlex

    from rlguide.cli._training import refuse_others
    from rlguide.errors import UsageError
    from rlguide.recipes.outward import outward_keys
    from rlguide.runs.authority import TRUST
    from rlguide.sweeps.space import settings_of
    from rlguide.sweeps.sweep import GRID, folder_of, open_sweep, resume_command

    why = "--resume trains with the options that the sweep began with"
    refuse_others(
        options, ("settings", "report_to"), why, "leave the others out; for other options begin another sweep"
    )
    sweep = open_sweep(ws, name)
    keys = _all_keys(ws, sweep)
    guarded = outward_keys(ws.root, folder_of(ws, sweep.name), keys) + ([TRUST] if keys.get(TRUST) else [])
    unsaid = [key for key in guarded if key not in options.keys]
    others = [key for key, value in options.keys.items() if keys.get(key) != value]
    if unsaid or others:
        repeated = " ".join(f"--set {shlex.quote(text)}" for text in settings_of({key: keys[key] for key in unsaid}))
        what = f"says where to write, what to send away, or whose code to run, which only you can: {', '.join(unsaid)}"
        what = what if unsaid else f"was not begun with this {others[0]}"
        raise UsageError(
            f"the sweep {sweep.name} {what}", f"`{resume_command(sweep.name)} {repeated}`".replace(" `", "`")
        )
    if sweep.launch and not launch:
        raise UsageError(
            f"the trials of {sweep.name} run with {shlex.join(sweep.launch)}, which its record does not decide",
            f"say where they run: `{resume_command(sweep.name, sweep.launch)}`",
        )
    sweep = replace(sweep, launch=launch)
    if trials is not None and sweep.kind == GRID:
        raise UsageError(NO_TRIALS, "leave --trials out")
    return sweep if trials is None else replace(sweep, trials=trials)


def _all_keys(ws: Workspace, sweep: Sweep) -> dict[str, Any]:
    """The keys that its options and the config of its user say."""
    from rlguide.engine.config_file import load_config

    own = load_config(ws.root / sweep.train.config) if sweep.train.config is not None else {}
    return {**own, **sweep.train.keys}


def how_to_run(ws: Workspace, sweep: Sweep, slots: tuple[str, ...], beside: tuple[str, ...], trust: bool) -> How:
    from rlguide.cli._training import arguments_of
    from rlguide.recipes.outward import outward_keys
    from rlguide.runs.authority import TRUST
    from rlguide.sweeps.conduct import How
    from rlguide.sweeps.space import settings_of
    from rlguide.sweeps.sweep import SLURM, folder_of

    trusted = ("--trust-remote-code",) if trust else ()
    keys = _all_keys(ws, sweep)
    said = {key: keys[key] for key in outward_keys(ws.root, folder_of(ws, sweep.name), keys)}
    said |= {TRUST: keys[TRUST]} if keys.get(TRUST) else {}
    again = tuple(word for setting in settings_of(said) for word in ("--set", setting))
    elsewhere = sweep.launch if SLURM not in sweep.launch else ()
    return How(slots, (*arguments_of(sweep.train), *elsewhere, *trusted), beside, (*again, *trusted))
