"""What `rlguide sweep` prints: the plan of a sweep, and what it came to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlguide.engine.find import Engine
    from rlguide.engine.hardware import Gpu
    from rlguide.sweeps.begin import Begun
    from rlguide.sweeps.conduct import How
    from rlguide.sweeps.planned import SweepPlan
    from rlguide.sweeps.sweep import Sweep
    from rlguide.sweeps.trials import Trial
    from rlguide.sweeps.winner import Winner
    from rlguide.workspace import Workspace

ALL = "all"
AT_ONCE = 4  # jobs of a Slurm cluster, unless --parallel says otherwise


def need_of(
    ws: Workspace,
    begun: Begun,
    main: Engine,
    plan_for: str | None,
    gpus_per_trial: str,
    parallel: int | None,
    prepared_for: list[Gpu] | None,
) -> SweepPlan:
    """What the sweep takes: on the GPUs that are named, else those of a Slurm job, else this host's."""
    from rlguide.catalog.gpus import parse_gpus
    from rlguide.launchers.slurm.spec import parse_spec
    from rlguide.planner.asked import host_gpus
    from rlguide.runs.slurm.gpus import job_gpus
    from rlguide.sweeps.begin import prepare_point
    from rlguide.sweeps.planned import disk_of, plan_sweep
    from rlguide.sweeps.space import middle
    from rlguide.sweeps.sweep import GRID, SLURM

    sweep, prepared = begun.sweep, begun.prepared
    disk = disk_of(prepared, sweep.trials)
    is_job = SLURM in sweep.launch
    here = job_gpus(parse_spec(sweep.launch[-1])).kind if is_job else host_gpus()
    gpus, at_once = parse_gpus(plan_for) if plan_for else here, parallel or (AT_ONCE if is_job else 1)
    if gpus is not None and gpus_per_trial != ALL:
        at_once = parallel or gpus.count
        gpus = replace(gpus, count=1)
    if sweep.kind != GRID:
        prepared = [prepare_point(ws, main, sweep, middle(sweep.axes), prepared_for)]
    return plan_sweep(ws, prepared, sweep.trials, min(at_once, sweep.trials), gpus, disk)


def in_slurm(how: How, sweep: Sweep, main: Engine, parallel: int | None, trust: bool) -> How:
    """Trials as jobs of a Slurm cluster: of a grid all in one array, of a search as many as run at the same time.

    Raises:
        UsageError: what the jobs are to ask for is malformed. SlurmError: Slurm is not there.
    """
    from rlguide.launchers.slurm.spec import parse_spec
    from rlguide.runs.authority import TRUST
    from rlguide.sweeps.slurm import InSlurm
    from rlguide.sweeps.sweep import GRID

    at_once = parallel or AT_ONCE
    spec = parse_spec(sweep.launch[-1])
    said = {TRUST: True} if trust else {}
    slots = ("",) * (sweep.trials if sweep.kind == GRID else at_once)
    return replace(how, slots=slots, slurm=InSlurm(main, spec, at_once, said))


def show_need_of(found: SweepPlan, as_json: bool) -> None:
    from rlguide.console import show, show_json
    from rlguide.sweeps.planned import lines

    if as_json:
        show_json(found.as_dict())
        return
    for line in lines(found):
        show(line)


def show_result(ws: Workspace, sweep: Sweep, trials: list[Trial], winner: Winner | None, as_json: bool) -> None:
    import sys

    from rlguide.console import console, say, show, show_json, show_table, warn
    from rlguide.runs.choose import is_reward_model
    from rlguide.runs.record import open_run
    from rlguide.runs.view.terminal import paint
    from rlguide.sweeps.screen import LESSER, curves, next_commands, plot, table, winner_lines
    from rlguide.sweeps.sweep import folder_of, resume_command

    path = folder_of(ws, sweep.name) / "sweep.png"
    picture = plot(sweep, trials, path).replace(str(path), ws.relative(path))
    if as_json:
        found: dict[str, Any] = {"name": sweep.name, "objective": sweep.objective.by, "kind": sweep.kind}
        found |= {"trials": [trial.as_dict() for trial in trials], "winner": winner.as_dict() if winner else None}
        show_json(found)
    else:
        columns, rows = table(sweep, trials)
        show_table(columns, rows, lesser=LESSER)
        panel = curves(ws, sweep, trials)
        if sys.stdout.isatty() and panel.lines:
            show(paint([panel], console().width, max(12, console().height // 2)))
        for line in winner_lines(sweep, winner) if winner is not None else ():
            show(line)
    if picture:
        say(f"plot       {picture}")
    if winner is None:
        again = resume_command(sweep.name, sweep.launch)
        warn(f"no trial can win: none finished without a grave finding; see above, then {again}")
    else:
        is_policy = not is_reward_model(open_run(ws, winner.trial.run))
        say(f"next: {'    then: '.join(next_commands(winner, is_policy))}")
