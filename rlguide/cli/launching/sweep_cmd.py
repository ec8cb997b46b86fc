"""`rlguide sweep`: many trainings that differ in a few keys, and the best of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlguide.cli import _complete
from rlguide.cli._launching import LauncherOption, RayAddressOption
from rlguide.cli._options import EngineOption, JsonOption, TrustCodeOption, WorkspaceOption, open_workspace
from rlguide.cli._slurm import SlurmOption
from rlguide.cli._training import training_options
from rlguide.recipes.options import TrainingOptions

if TYPE_CHECKING:
    from rlguide.engine.find import Engine
    from rlguide.sweeps.begin import Asked, Begun
    from rlguide.sweeps.conduct import How
    from rlguide.sweeps.sweep import Sweep
    from rlguide.workspace import Workspace


@training_options("output_dir")
def command(
    options: TrainingOptions,
    more: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUES]...", help="Further keys of --grid or --search, after the first."),
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option("--grid", metavar="KEY=A,B,...", help="Train with every combination of these values."),
    ] = None,
    search: Annotated[
        list[str] | None,
        typer.Option(
            "--search",
            metavar="KEY=LOW:HIGH[:log]",
            help="Draw values from ranges or lists (TPE, by Optuna), near those that did well.",
        ),
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", min=1, max=1000, help="With --search: how many trainings; 20 by default.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="Its folder below saves/sweeps; by method and keys by default."),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            metavar="SWEEP",
            help="Go on with a sweep; the same command again does so, too.",
            autocompletion=_complete.of(_complete.sweeps),
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of what --search draws.")] = 0,
    parallel: Annotated[
        int | None,
        typer.Option("--parallel", min=1, metavar="N", help="Trials at the same time; one on each GPU by default."),
    ] = None,
    gpus_per_trial: Annotated[
        str, typer.Option("--gpus-per-trial", metavar="1|all", help="GPUs of this host that each trial has.")
    ] = "1",
    slurm: SlurmOption = None,
    launcher: LauncherOption = None,
    ray_address: RayAddressOption = None,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune/--no-prune",
            help="Stop a trial whose held-out figure is below the median of those that ended, at the same point.",
        ),
    ] = True,
    evaluate: Annotated[
        bool, typer.Option("--eval/--no-eval", help="Score the held-out pairs with the two best, to compare them.")
    ] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say trials, time, energy and disk by the plan; start nothing.")
    ] = False,
    plan_for: Annotated[
        str | None,
        typer.Option("--plan-for", metavar="GPUS", help="With --dry-run: GPUs to plan for, e.g. 4xA6000."),
    ] = None,
    trust_remote_code: TrustCodeOption = False,
    workspace: WorkspaceOption = Path(),
    engine: EngineOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train with many settings and choose the best on held-out data: a grid, or a search. Each trial is a run.

    \b
    rlguide sweep --sft-ckpt latest --grid pref_beta=0.05,0.1,0.3 learning_rate=1e-6,5e-6
    rlguide sweep --search pref_beta=0.01:0.5:log learning_rate=1e-7:1e-5:log lora_rank=8,16,32 --trials 20
    rlguide sweep --dataset my_pairs --grid pref_beta=0.05,0.1 --dry-run --plan-for 2xA6000
    rlguide sweep --dataset my_pairs --grid pref_beta=0.05,0.1 --slurm partition=gpu,gpus=1,time=4:00:00 --parallel 8
    rlguide sweep --resume dpo-pref_beta-learning_rate
    """
    from rlguide.cli.launching._sweep import ALL, in_slurm, need_of, show_need_of
    from rlguide.engine.find import find_engine
    from rlguide.errors import UsageError
    from rlguide.sweeps.study import check_optuna

    ws = open_workspace(workspace)
    if resume is None:
        asked = _asked(grid, search, more, trials, name, seed, prune)
    elif grid or search or more or name:
        raise UsageError("--resume goes on with a sweep as it was begun", "leave --grid, --search and --name out")
    check_optuna()
    launch = _launch(slurm, launcher, ray_address)
    slots = _slots(gpus_per_trial if not launch else ALL, parallel)
    main = find_engine(engine)
    beside = ("-w", str(ws.root), *(("--engine", engine) if engine else ()))
    if resume is not None:
        sweep = _resumed(ws, resume, options, trials, launch)
    else:
        begun = _begun(ws, main, options, asked, trust_remote_code, dry_run, launch)
        sweep = begun.sweep
        if dry_run:
            show_need_of(need_of(ws, begun, main, plan_for, gpus_per_trial, parallel), as_json)
            return
    how = _how(ws, sweep, slots, beside, trust_remote_code)
    if sweep.launch[:1] == ("--slurm",):
        how = in_slurm(how, sweep, main, parallel, trust_remote_code)
    _sweep(ws, sweep, how, evaluate, as_json)


def _launch(slurm: str | None, launcher: str | None, ray_address: str | None) -> tuple[str, ...]:
    """Where trials run, as options of `rlguide train`; () for this host."""
    from rlguide.errors import UsageError
    from rlguide.launchers.launch import LOCAL, RAY

    if launcher not in (None, LOCAL, RAY):
        raise UsageError(f"--launcher {launcher} is not known", f"say --launcher {RAY}, or leave it out")
    if slurm is not None and (launcher or ray_address):
        raise UsageError("--slurm and --launcher are two ways to run trials", "give one of them")
    given = {"--slurm": slurm, "--launcher": None if launcher == LOCAL else launcher, "--ray-address": ray_address}
    return tuple(word for option, value in given.items() if value is not None for word in (option, value))


def _asked(
    grid: list[str] | None,
    search: list[str] | None,
    more: list[str] | None,
    trials: int | None,
    name: str | None,
    seed: int,
    prune: bool,
) -> Asked:
    from rlguide.errors import UsageError
    from rlguide.sweeps.begin import Asked
    from rlguide.sweeps.space import parse_axes
    from rlguide.sweeps.sweep import GRID, SEARCH

    if bool(grid) == bool(search):
        what = "--grid and --search are two ways to sweep" if grid else "nothing says what is to be swept"
        raise UsageError(
            what, "give one: --grid pref_beta=0.05,0.1 learning_rate=1e-6,5e-6, or --search pref_beta=0.01:0.5:log"
        )
    if grid and trials is not None:
        raise UsageError("--trials is the number of a search; a grid trains all its points", "leave --trials out")
    kind = GRID if grid else SEARCH
    return Asked(kind, parse_axes(kind, [*(grid or search or ()), *(more or ())]), trials, name, seed, prune)


def _slots(gpus_per_trial: str, parallel: int | None) -> tuple[str, ...]:
    """The GPUs of each trial that may run at the same time; "" for all that there are."""
    from rlguide.cli.launching._sweep import ALL
    from rlguide.engine.hardware import list_gpus
    from rlguide.errors import UsageError

    if gpus_per_trial not in ("1", ALL):
        raise UsageError(f"--gpus-per-trial {gpus_per_trial}: one GPU a trial, or all", "give 1 or all")
    gpus = [str(gpu.index) for gpu in list_gpus()]
    if gpus_per_trial == ALL or not gpus:
        return ("",) * (parallel or 1)
    count = parallel or len(gpus)
    return tuple(gpus[place % len(gpus)] for place in range(count))


def _begun(
    ws: Workspace,
    main: Engine,
    options: TrainingOptions,
    asked: Asked,
    trust: bool,
    dry_run: bool,
    launch: tuple[str, ...],
) -> Begun:
    """The sweep, checked; where one of this name was begun, it must be the same."""
    from rlguide.cli._slurm import gpus_of_job, slurm_launch
    from rlguide.cli._training import at_steps, say_all
    from rlguide.errors import UsageError
    from rlguide.sweeps.begin import make_sweep
    from rlguide.sweeps.planned import check_disk, disk_of
    from rlguide.sweeps.sweep import FILE, SLURM, folder_of, read_sweep

    if trust:
        options = replace(options, settings={**options.settings, "trust_remote_code": True})
    options, steps = at_steps(ws, options)
    gpus = gpus_of_job(slurm_launch(launch[-1], None)).each if SLURM in launch else None
    begun = make_sweep(ws, main, options, asked, dry_run, gpus)
    say_all(steps)
    if trust:  # said by --trust-remote-code each time, and never by a record
        train = begun.sweep.train
        kept = {key: value for key, value in train.settings.items() if key != "trust_remote_code"}
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


def _resumed(ws: Workspace, name: str, options: TrainingOptions, trials: int | None, launch: tuple[str, ...]) -> Sweep:
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
    return sweep if trials is None or sweep.kind == GRID else replace(sweep, trials=trials)


def _all_keys(ws: Workspace, sweep: Sweep) -> dict[str, Any]:
    """The keys that its options and the config of its user say."""
    from rlguide.engine.config_file import load_config

    own = load_config(ws.root / sweep.train.config) if sweep.train.config is not None else {}
    return {**own, **sweep.train.keys}


def _how(ws: Workspace, sweep: Sweep, slots: tuple[str, ...], beside: tuple[str, ...], trust: bool) -> How:
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


def _sweep(ws: Workspace, sweep: Sweep, how: How, evaluate: bool, as_json: bool) -> None:
    """Run it to its end, and show what it came to."""
    from rlguide.cli.launching._sweep import show_result
    from rlguide.sweeps.run import run_sweep

    trials, winner = run_sweep(ws, sweep, how, evaluate)
    show_result(ws, sweep, trials, winner, as_json)
    if winner is None:
        raise typer.Exit(1)
