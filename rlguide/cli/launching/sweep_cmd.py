"""`rlguide sweep`: many trainings that differ in a few keys, and the best of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlguide.cli import _complete
from rlguide.cli._launching import LauncherOption, RayAddressOption, check_launcher
from rlguide.cli._options import EngineOption, JsonOption, TrustCodeOption, WorkspaceOption, open_workspace
from rlguide.cli._slurm import SlurmOption
from rlguide.cli._training import training_options
from rlguide.recipes.options import TrainingOptions

if TYPE_CHECKING:
    from rlguide.sweeps.begin import Asked
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
            help="Resume a sweep; so does the same command again.",
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
    from rlguide.cli.launching._begin import begun_sweep, gpus_of_trial, how_to_run, resumed_sweep
    from rlguide.cli.launching._sweep import ALL, in_slurm, need_of, show_need_of
    from rlguide.engine.find import find_engine
    from rlguide.errors import UsageError
    from rlguide.sweeps.study import check_optuna

    ws = open_workspace(workspace)
    if resume is None:
        asked = _asked(grid, search, more, trials, name, seed, prune)
    else:
        settled = {"--grid": grid, "--search": search, "KEY=VALUES": more, "--name": name, "--seed": seed}
        _refuse_beside_resume({**settled, "--no-prune": not prune, "--dry-run": dry_run})
    if plan_for is not None and not dry_run:
        raise UsageError("--plan-for says for which GPUs a dry run plans", "add --dry-run, or leave --plan-for out")
    check_optuna()
    launch = _launch(slurm, launcher, ray_address)
    if launch and gpus_per_trial != "1":
        raise UsageError(
            f"--gpus-per-trial is of this host's GPUs, and the trials run with {launch[0]}", "leave it out"
        )
    gpus_per_trial = ALL if launch else gpus_per_trial
    slots = _slots(gpus_per_trial, parallel)
    main = find_engine(engine)
    beside = ("-w", str(ws.root), *(("--engine", engine) if engine else ()))
    if resume is not None:
        sweep = resumed_sweep(ws, resume, options, trials, launch)
    else:
        gpus = gpus_of_trial(launch, gpus_per_trial != ALL, plan_for)
        begun = begun_sweep(ws, main, options, asked, trust_remote_code, dry_run, launch, gpus)
        sweep = begun.sweep
        if dry_run:
            show_need_of(need_of(ws, begun, main, plan_for, gpus_per_trial, parallel, gpus), as_json)
            return
    how = how_to_run(ws, sweep, slots, beside, trust_remote_code)
    if sweep.launch[:1] == ("--slurm",):
        how = in_slurm(how, sweep, main, parallel, trust_remote_code)
    _sweep(ws, sweep, how, evaluate, as_json)


def _refuse_beside_resume(given: Mapping[str, object]) -> None:
    """Refuse options that a sweep that is resumed has settled, or that would be passed over."""
    from rlguide.errors import UsageError

    names = [option for option, value in given.items() if value]
    if names:
        raise UsageError("--resume continues a sweep as it was begun", f"leave {' and '.join(names)} out")


def _launch(slurm: str | None, launcher: str | None, ray_address: str | None) -> tuple[str, ...]:
    """Where trials run, as options of `rlguide train`; () for this host."""
    from rlguide.errors import UsageError
    from rlguide.launchers.launch import LOCAL

    check_launcher(launcher)
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
    from rlguide.cli.launching._begin import NO_TRIALS
    from rlguide.errors import UsageError
    from rlguide.sweeps.begin import Asked
    from rlguide.sweeps.notation import parse_axes
    from rlguide.sweeps.sweep import GRID, SEARCH

    if bool(grid) == bool(search):
        what = "--grid and --search are two ways to sweep" if grid else "nothing says what is to be swept"
        raise UsageError(
            what, "give one: --grid pref_beta=0.05,0.1 learning_rate=1e-6,5e-6, or --search pref_beta=0.01:0.5:log"
        )
    if grid and trials is not None:
        raise UsageError(NO_TRIALS, "leave --trials out")
    if grid and seed:
        raise UsageError("--seed is of what a search draws; a grid draws nothing", "leave --seed out")
    kind = GRID if grid else SEARCH
    return Asked(kind, parse_axes(kind, [*(grid or search or ()), *(more or ())]), trials, name, seed, prune)


def _slots(gpus_per_trial: str, parallel: int | None) -> tuple[str, ...]:
    """The GPUs of each trial that may run at the same time; "" for all that there are."""
    from rlguide.cli.launching._sweep import ALL
    from rlguide.engine.hardware import list_gpus, visible_names
    from rlguide.errors import UsageError

    if gpus_per_trial not in ("1", ALL):
        raise UsageError(f"--gpus-per-trial {gpus_per_trial}: one GPU a trial, or all", "give 1 or all")
    gpus = visible_names(list_gpus())
    if gpus_per_trial == ALL or not gpus:
        return ("",) * (parallel or 1)
    count = parallel or len(gpus)
    return tuple(gpus[place % len(gpus)] for place in range(count))


def _sweep(ws: Workspace, sweep: Sweep, how: How, evaluate: bool, as_json: bool) -> None:
    """Run it to its end, and show what it came to."""
    from rlguide.cli.launching._sweep import show_result
    from rlguide.sweeps.run import run_sweep

    trials, winner = run_sweep(ws, sweep, how, evaluate)
    show_result(ws, sweep, trials, winner, as_json)
    if winner is None:
        raise typer.Exit(1)
