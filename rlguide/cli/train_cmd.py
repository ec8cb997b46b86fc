"""`rlguide train`: render, check, train, watch; or resume."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlguide.cli import _complete
from rlguide.cli._launching import GpuIndicesOption, LauncherOption, NprocOption, RayAddressOption, launch_of
from rlguide.cli._options import EngineOption, JsonOption, TrustCodeOption, WorkspaceOption, open_workspace
from rlguide.cli._slurm import SlurmOption
from rlguide.cli._training import training_options
from rlguide.recipes.options import TrainingOptions

if TYPE_CHECKING:
    from rlguide.engine.find import Engine
    from rlguide.launchers.launch import Launch
    from rlguide.recipes.prepare import Prepared
    from rlguide.runs.record import Run
    from rlguide.runs.replay.replay import Replay
    from rlguide.runs.training.options import RunOptions
    from rlguide.workspace import Workspace

# What may be changed in a config that its user owns.
_BESIDE_CONFIG = ("config", "template", "output_dir", "settings", "quantization", "report_to", "sharing")


@training_options()
def command(
    context: typer.Context,
    options: TrainingOptions,
    run: Annotated[
        str | None,
        typer.Argument(
            help="With --resume: the run; the newest that can be resumed by default.",
            autocompletion=_complete.of(_complete.runs),
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted run.")] = False,
    replay: Annotated[
        str | None,
        typer.Option(
            "--replay",
            metavar="RUN",
            help="Do a run again in a new folder, and say what differs; --set changes keys.",
            autocompletion=_complete.of(_complete.runs),
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the exact config and command; start nothing.")
    ] = False,
    plain: Annotated[
        bool, typer.Option("--plain", help="Train just as llamafactory-cli does: the same weights, slower.")
    ] = False,
    auto_retry: Annotated[
        bool,
        typer.Option(
            "--auto-retry", help="Out of memory: continue from the last checkpoint with less, and the same batch."
        ),
    ] = False,
    stop_on: Annotated[
        str,
        typer.Option(
            "--stop-on",
            metavar="RULE,...",
            help="Stop after the current step, save, and exit with 3 when one of these rules finds something"
            " (docs/diagnosis.md); none: never.",
            autocompletion=_complete.of(_complete.rules, several=True),
        ),
    ] = "nan",
    force: Annotated[bool, typer.Option("--force", help="Train although the plan says that it does not fit.")] = False,
    gpus: GpuIndicesOption = None,
    nproc: NprocOption = None,
    launcher: LauncherOption = None,
    ray_address: RayAddressOption = None,
    slurm: SlurmOption = None,
    trust_remote_code: TrustCodeOption = False,
    workspace: WorkspaceOption = Path(),
    engine: EngineOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train on preferences on top of an SFT checkpoint, with the SFT model as the reference; or make that checkpoint.

    \b
    rlguide train --method sft --base Qwen/Qwen3-4B-Base --dataset ultrafeedback
    rlguide train --sft-ckpt saves/qwen3-4b-base/lora/sft/checkpoint-2000 --dataset ultrafeedback
    rlguide train --sft-ckpt latest --dataset my_pairs --set learning_rate=1e-6 --dry-run
    rlguide train --config configs/dpo_config.yaml
    rlguide train --method kto --dataset my_labels
    rlguide train --from saves/qwen3-4b-base/lora/dpo --dataset more_pairs -o saves/qwen3-4b-base/lora/dpo-2
    rlguide train --resume
    rlguide train --config configs/dpo_config.yaml --auto-retry
    rlguide train --config configs/dpo_config.yaml --gpus 0,1
    rlguide train --config configs/dpo_config.yaml --launcher ray --nproc 2
    rlguide train --config configs/dpo_config.yaml --slurm partition=gpu,gpus=a100:4,time=12:00:00
    rlguide train --sft-ckpt latest --dataset my_pairs --gpus 0,1,2,3 --sharing fsdp
    rlguide train --replay saves/qwen3-4b-base/lora/dpo --set learning_rate=5e-7
    """
    import os
    import shlex

    from rlguide.cli._slurm import gpus_of_job, show_need_in_job, show_submitted, submit_resumed, submit_run
    from rlguide.cli._training import at_steps, refuse_others, say_all, share_by_plan, show_need, show_plan
    from rlguide.engine.find import find_engine
    from rlguide.errors import UsageError
    from rlguide.launchers.launch import LOCAL, SLURM, check_here
    from rlguide.recipes.prepare import prepare
    from rlguide.recipes.sharing.checks import check_processes
    from rlguide.runs.diagnosis.stopping import parse_rules
    from rlguide.runs.retry import check_one_node
    from rlguide.runs.slurm.inside import is_inside
    from rlguide.runs.training.options import RunOptions
    from rlguide.runs.training.train import train

    launch = launch_of(context, gpus, nproc, slurm, (launcher, ray_address))
    how = RunOptions(plain, auto_retry, parse_rules(stop_on), launch)
    ws = open_workspace(workspace)
    if auto_retry and not launch.hosts:  # `rlguide launch` restarts all nodes
        check_one_node(launch)
    if run is not None and not resume:
        name = shlex.quote(run)
        meant = f"--config {name}" if run.endswith((".yaml", ".yml")) else f"--sft-ckpt {name} or --resume {name}"
        raise UsageError(f"{run} has no option in front of it", f"did you mean {meant}?")
    if resume and replay is not None:
        raise UsageError("--resume continues a run, and --replay does one again", "give one of them")
    if resume:
        why = "--resume trains with the config that the run began with, so it takes no other option"
        fix = "leave the others out; to change something, start a new run with --output-dir"
        refuse_others(options, ("settings", "report_to"), why, fix)
        said = {**options.keys, **({"trust_remote_code": True} if trust_remote_code else {})}
        main = find_engine(engine)
        chosen = _resumable(ws, run, said)
        if chosen.launch.launcher == SLURM and not is_inside(chosen):
            if auto_retry:
                check_one_node(chosen.launch)
            submitted = submit_resumed(ws, main, chosen, how, slurm, dry_run)
            return None if submitted is None else show_submitted(submitted, as_json)
        if slurm is not None:
            raise UsageError(
                f"{chosen.name} was not begun with --slurm", "leave --slurm out, or start a new run with it"
            )
        finished = _resume(ws, main, chosen, dry_run, how)
    else:
        if trust_remote_code:
            options = replace(options, settings={**options.settings, "trust_remote_code": True})
        if options.config:
            why = "--config already says what is trained on what"
            refuse_others(options, _BESIDE_CONFIG, why, "leave the others out, or use --set")
        main = find_engine(engine)
        check_here(launch, main)
        of_job = gpus_of_job(launch) if slurm is not None else None
        if replay is not None:
            if of_job is not None:
                raise UsageError("--replay trains on this host", "leave --slurm out")
            found = _replayed(ws, main, options, replay, dry_run)
            prepared, plain = found.prepared, plain or found.is_plain
        else:
            options, steps = at_steps(ws, options)
            gpus_there = None if of_job is None else of_job.each
            prepared = prepare(ws, main, options, dry_run, gpus_there)
            if of_job is None or of_job.kind is not None:
                shared = share_by_plan(ws, prepared, options, None if of_job is None else of_job.kind)
                prepared = prepared if shared == options else prepare(ws, main, shared, dry_run, gpus_there)
            say_all(steps)
        if launch.launcher == LOCAL and launch.nodes == 1:
            check_processes(prepared.config, prepared.gpus, os.environ)
        _tell_trackers(ws, prepared.config, prepared.engine)
        show_plan(prepared, plain)
        how = replace(how, is_plain=plain)
        if of_job is not None:
            planned = show_need_in_job(ws, prepared, of_job, plain, force)
            if not options.config and not dry_run:
                _keep_config(ws, prepared)
            submitted = submit_run(ws, main, prepared, how, planned, dry_run)
            return None if submitted is None else show_submitted(submitted, as_json)
        planned = show_need(ws, prepared, None, plain, force)
        if dry_run:
            _show_dry_run(ws, prepared, plain, launch)
            return
        if not options.config and replay is None:
            _keep_config(ws, prepared)
        finished = train(ws, prepared.engine, prepared, how, planned)
    if finished:
        _show_summary(ws, finished, main, as_json)


def _resumable(ws: Workspace, name: str | None, said: dict[str, Any]) -> Run:
    """The run that is to be resumed, with what its record may not decide refused unless it was `said`."""
    from rlguide.runs.authority import check_said, with_said
    from rlguide.runs.choose import resumable_run

    check_said(said)
    return with_said(ws, resumable_run(ws, name), said)


def _resume(ws: Workspace, engine: Engine, run: Run, dry_run: bool, how: RunOptions) -> Run | None:
    from rlguide.console import show
    from rlguide.engine.installed import engine_for
    from rlguide.runs.checkpoints import last_checkpoint
    from rlguide.runs.retry import next_of
    from rlguide.runs.slurm.inside import is_inside, train_inside
    from rlguide.runs.training.train import resume

    engine = engine_for(engine, run.method_name, run.config.get("pref_loss"))
    _tell_trackers(ws, run.config, engine)
    if dry_run:
        checkpoint = last_checkpoint(run.path)
        change = next_of(ws, run, engine) if how.auto_retry else None
        less = f", with less memory: {change.describe(run.config)}" if change is not None else ""
        show(f"{run.name}: {run.status}, would resume from {checkpoint.name if checkpoint else 'the beginning'}{less}")
        return None
    return (train_inside if is_inside(run) else resume)(ws, engine, run, how)


def _replayed(ws: Workspace, engine: Engine, options: TrainingOptions, name: str, dry_run: bool) -> Replay:
    """The training of a run that is done again; says what differs from then."""
    from rlguide.cli._training import refuse_others
    from rlguide.runs.replay.replay import ReplayRequest, prepare_replay, tell

    allowed = tuple(field for field in _BESIDE_CONFIG if field != "config")
    refuse_others(options, allowed, "--replay trains what the run trained", "leave the others out, or use --set")
    template = {"template": options.template} if options.template else {}
    request = ReplayRequest(name, {**template, **options.keys}, options.output_dir, dry_run)
    found = prepare_replay(ws, engine, request)
    tell(ws, found)
    return found


def _tell_trackers(ws: Workspace, config: dict[str, Any], engine: Engine) -> None:
    """Say where the metrics are shown, too; refuse a tracker that would ask for a login."""
    from rlguide.console import say
    from rlguide.recipes.trackers import check_trackers

    for line in check_trackers(ws.root, config, engine.versions):
        say(f"reports to {line}")


def _keep_config(ws: Workspace, prepared: Prepared) -> None:
    """Leave the rendered config in configs/, unless a person has made the one there theirs."""
    from rlguide.recipes.render import write_unless_edited

    path = ws.configs / f"{prepared.method.name}_config.yaml"
    name = ws.relative(path)
    write_unless_edited(path, name, prepared.text_in(name), prepared.config)


def _show_dry_run(ws: Workspace, prepared: Prepared, plain: bool, launch: Launch) -> None:
    import shlex

    from rlguide.console import say, show, show_line
    from rlguide.launchers.launch import RAY, started
    from rlguide.runs.training.drive import train_command

    folder = ws.root / prepared.output_dir
    command = train_command(ws, prepared.engine, folder, plain)
    if launch.launcher == RAY:
        command = started(launch, command, folder)
    if launch.settings.get("print"):  # of `rlguide launch`
        from rlguide.launchers.ssh.printed import commands

        for line in commands(launch, command, folder):
            show_line(line)
        return
    show(prepared.text.rstrip("\n"))
    where = f", on each of {', '.join(launch.hosts)}" if launch.hosts else ""
    say(f"would run, in {ws.root}{where}:")
    variables = [f"{name}={value}" for name, value in {**launch.variables, **command.variables}.items()]
    say(f"  {shlex.join([*(['env', *variables] if variables else []), *command.arguments])}")


def _show_summary(ws: Workspace, run: Run, engine: Engine, as_json: bool) -> None:
    import shlex

    from rlguide.cli._reward_model import next_of
    from rlguide.console import say, show, show_json
    from rlguide.evaluation.held_out import why_not_evaluable
    from rlguide.runs.choose import is_reward_model
    from rlguide.runs.report import report, report_lines

    values = report(run)
    if as_json:
        show_json(values)
    else:
        for line in report_lines(values):
            show(line)
    name = shlex.quote(run.name)
    evaluate = [f"rlguide eval {name}"] if not why_not_evaluable(ws, run) else []
    use = [next_of(run, engine)] if is_reward_model(run) else [f"rlguide chat {name}", _after_sft(ws, run)]
    if commands := [command for command in (*evaluate, *use) if command]:
        say(f"next: {'    then: '.join(commands)}")


def _after_sft(ws: Workspace, run: Run) -> str:
    """The command that trains on preferences on top of SFT, on its best step; "" after other methods."""
    import shlex

    from rlguide.evaluation.held_out import trained_pairs
    from rlguide.runs.best import step_meant

    if run.method is None or not run.method.from_base:
        return ""
    pairs = ",".join(trained_pairs(ws, run))
    dataset = f" --dataset {shlex.quote(pairs)}" if pairs else ""
    folder = step_meant(run).folder
    checkpoint = run.name if folder == run.path else run.file(folder.name)
    return f"rlguide train --sft-ckpt {shlex.quote(checkpoint)}{dataset}"
