"""`rlguide train`: render, check, train, watch; or resume."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlguide.cli._options import EngineOption, JsonOption, WorkspaceOption, open_workspace
from rlguide.cli._training import (
    BaseOption,
    DatasetOption,
    FromOption,
    LossOption,
    MethodOption,
    OutputOption,
    QuantizationOption,
    RewardModelOption,
    SetOption,
    SftOption,
    TemplateOption,
    TrustBaseOption,
)

if TYPE_CHECKING:
    from rlguide.engine.find import Engine
    from rlguide.recipes.options import Request
    from rlguide.recipes.prepare import Prepared
    from rlguide.runs.record import Run
    from rlguide.workspace import Workspace


def train(
    run: Annotated[
        str | None, typer.Argument(help="With --resume: the run to go on with; the newest by default.")
    ] = None,
    sft_ckpt: SftOption = None,
    from_run: FromOption = None,
    method: MethodOption = None,
    loss: LossOption = None,
    dataset: DatasetOption = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Train this config as it is, instead of rendering one.")
    ] = None,
    base: BaseOption = None,
    trust_base: TrustBaseOption = False,
    template: TemplateOption = None,
    output_dir: OutputOption = None,
    settings: SetOption = None,
    quantization: QuantizationOption = None,
    reward_model: RewardModelOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the exact config and command; start nothing.")
    ] = False,
    workspace: WorkspaceOption = Path(),
    engine: EngineOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train on preferences on top of an SFT checkpoint, with the SFT model as the reference.

    \b
    rlguide train --sft-ckpt saves/qwen3-4b-base/lora/sft/checkpoint-2000 --dataset ultrafeedback
    rlguide train --sft-ckpt latest --dataset my_pairs --set learning_rate=1e-6 --dry-run
    rlguide train --config configs/dpo_config.yaml
    rlguide train --method kto --dataset my_labels
    rlguide train --from saves/qwen3-4b-base/lora/dpo --dataset more_pairs
    rlguide train --resume
    """
    from rlguide.cli._training import make_request, show_plan
    from rlguide.engine.find import find_engine
    from rlguide.errors import UsageError
    from rlguide.recipes.prepare import choose_engine, prepare_start
    from rlguide.runs.train import train as start

    ws = open_workspace(workspace)
    if run is not None and not resume:
        raise UsageError(f"{run} has no option in front of it", f"did you mean --sft-ckpt {run} or --resume {run}?")
    if resume:
        _refuse_with_resume(
            [
                sft_ckpt,
                from_run,
                method,
                loss,
                dataset,
                config,
                base,
                template,
                output_dir,
                settings,
                trust_base,
                quantization,
            ]
        )
        finished = _resume(ws, find_engine(engine), run, dry_run)
    else:
        request = make_request(
            sft_ckpt,
            from_run,
            method,
            loss,
            dataset,
            base,
            template,
            output_dir,
            settings,
            trust_base,
            quantization,
            reward_model,
        )
        if config:
            _check_config_alone(request)
        found = choose_engine(find_engine(engine), request, config)
        prepared = _prepare_config(ws, found, config, request) if config else prepare_start(ws, found, request, dry_run)
        show_plan(prepared)
        if dry_run:
            _show_dry_run(ws, found, prepared)
            return
        _keep_config(ws, prepared, config)
        finished = start(ws, found, prepared)
    if finished:
        _show_summary(ws, finished, as_json)


def _refuse_with_resume(others: list[object]) -> None:
    from rlguide.errors import UsageError

    if any(others):
        raise UsageError(
            "--resume goes on with the config the run began with, so it takes no other option",
            "leave the others out; to change something, start a new run with --output-dir",
        )


def _resume(ws: Workspace, engine: Engine, name: str | None, dry_run: bool) -> Run | None:
    from rlguide.console import say, show
    from rlguide.engine.installed import engine_for
    from rlguide.runs.checkpoints import last_checkpoint
    from rlguide.runs.record import open_run
    from rlguide.runs.train import resume

    run = open_run(ws, name)
    engine = engine_for(engine, str(run.values.get("method", "dpo")), run.config.get("pref_loss"))
    if dry_run:
        checkpoint = last_checkpoint(run.path)
        show(
            f"{ws.relative(run.path)}: {run.status}, would go on from {checkpoint.name if checkpoint else 'the start'}"
        )
        return None
    say(f"resuming {ws.relative(run.path)}")
    return resume(ws, engine, run)


def _check_config_alone(request: Request) -> None:
    from rlguide.errors import UsageError
    from rlguide.recipes.options import Request

    if request != Request(template=request.template, output_dir=request.output_dir, settings=request.settings):
        raise UsageError(
            "--config already says what is trained on what",
            "leave out --sft-ckpt, --from, --method, --loss, --dataset and --base, or use --set",
        )


def _prepare_config(ws: Workspace, engine: Engine, path: Path, request: Request) -> Prepared:
    from rlguide.recipes.prepare import prepare_config

    overrides = {"template": request.template, "output_dir": request.output_dir}
    chosen = {key: value for key, value in overrides.items() if value is not None}
    return prepare_config(ws, engine, path, {**chosen, **request.settings})


def _keep_config(ws: Workspace, prepared: Prepared, config: Path | None) -> None:
    """Leave the rendered config in configs/, unless a person has made the one there theirs."""
    from rlguide.console import say
    from rlguide.recipes.render import was_edited, write_config

    if config is not None:
        return
    path = ws.configs / f"{prepared.method.name}_config.yaml"
    if was_edited(path):
        say(f"{ws.relative(path)} was edited by hand and stays as it is; this run's config is in its folder")
    else:
        write_config(path, prepared.text)


def _show_dry_run(ws: Workspace, engine: Engine, prepared: Prepared) -> None:
    import shlex

    from rlguide.console import say, show
    from rlguide.runs.record import CONFIG
    from rlguide.runs.train import train_command

    show(prepared.text.rstrip("\n"))
    say(f"would run, in {ws.root}:")
    say(f"  {shlex.join(train_command(engine, f'{prepared.output_dir}/{CONFIG}'))}")


def _show_summary(ws: Workspace, run: Run, as_json: bool) -> None:
    from rlguide.console import say, show_json
    from rlguide.runs.report import report, report_lines

    values = report(ws, run)
    if as_json:
        show_json(values)
    else:
        from rlguide.console import show

        for line in report_lines(values):
            show(line)
    name = ws.relative(run.path)
    if run.values.get("method") == "rm":
        say(f"a reward model scores answers; its held-out accuracy is above. Checkpoint: {name}")
    else:
        say(f"next: rlguide eval {name}    then: rlguide chat {name}")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("train")(train)
