"""`rlguide train`: render, check, train, watch; or resume."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlguide.cli._options import EngineOption, JsonOption, WorkspaceOption, open_workspace
from rlguide.cli.configure_cmd import (
    BaseOption,
    DatasetOption,
    OutputOption,
    SetOption,
    SftOption,
    TemplateOption,
    TrustBaseOption,
)

if TYPE_CHECKING:
    from rlguide.engine.find import Engine
    from rlguide.recipes.configure import Prepared
    from rlguide.runs.manifest import Run
    from rlguide.workspace import Workspace


def train(
    run: Annotated[
        str | None, typer.Argument(help="With --resume: the run to go on with; the newest by default.")
    ] = None,
    sft_ckpt: SftOption = None,
    dataset: DatasetOption = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Train this config as it is, instead of rendering one.")
    ] = None,
    base: BaseOption = None,
    trust_base: TrustBaseOption = False,
    template: TemplateOption = None,
    output_dir: OutputOption = None,
    settings: SetOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the exact config and command; start nothing.")
    ] = False,
    workspace: WorkspaceOption = Path(),
    engine: EngineOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train with DPO on top of an SFT checkpoint, with the SFT model as the reference.

    \b
    rlguide train --sft-ckpt saves/qwen3-4b-base/lora/sft/checkpoint-2000 --dataset ultrafeedback
    rlguide train --sft-ckpt latest --dataset my_pairs --set learning_rate=1e-6 --dry-run
    rlguide train --config configs/dpo_config.yaml
    rlguide train --resume
    """
    from rlguide.engine.find import find_engine
    from rlguide.errors import UsageError
    from rlguide.runs.train import train as start

    ws = open_workspace(workspace)
    if run is not None and not resume:
        raise UsageError(f"{run} has no option in front of it", f"did you mean --sft-ckpt {run} or --resume {run}?")
    if resume:
        _refuse_with_resume([sft_ckpt, dataset, config, base, template, output_dir, settings])
        finished = _resume(ws, find_engine(engine), run, dry_run)
    else:
        found = find_engine(engine)
        prepared = _prepare(ws, found, sft_ckpt, dataset, config, base, trust_base, template, output_dir, settings)
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
    from rlguide.runs.manifest import open_run
    from rlguide.runs.train import last_checkpoint, resume

    run = open_run(ws, name)
    if dry_run:
        checkpoint = last_checkpoint(run.path)
        show(
            f"{ws.relative(run.path)}: {run.status}, would go on from {checkpoint.name if checkpoint else 'the start'}"
        )
        return None
    say(f"resuming {ws.relative(run.path)}")
    return resume(ws, engine, run)


def _prepare(
    ws: Workspace,
    engine: Engine,
    sft_ckpt: str | None,
    dataset: str | None,
    config: Path | None,
    base: str | None,
    trust_base: bool,
    template: str | None,
    output_dir: str | None,
    settings: list[str] | None,
) -> Prepared:
    from rlguide.cli._training import make_request, show_plan
    from rlguide.errors import UsageError
    from rlguide.recipes.configure import prepare, prepare_config

    request = make_request(sft_ckpt, dataset, base, template, output_dir, settings, trust_base)
    if config is None:
        prepared = prepare(ws, engine, request)
    else:
        if any((sft_ckpt, dataset, base, trust_base)):
            raise UsageError(
                "--config already says what is trained on what",
                "leave out --sft-ckpt, --dataset and --base, or use --set",
            )
        overrides = {"template": template, "output_dir": output_dir}
        chosen = {key: value for key, value in overrides.items() if value is not None}
        prepared = prepare_config(ws, engine, config, {**chosen, **request.settings})
    show_plan(prepared)
    return prepared


def _keep_config(ws: Workspace, prepared: Prepared, config: Path | None) -> None:
    """Leave the rendered config in configs/, unless a person has made the one there theirs."""
    from rlguide.console import say
    from rlguide.recipes.render import was_edited, write_config

    if config is not None:
        return
    path = ws.configs / "dpo_config.yaml"
    if was_edited(path):
        say(f"{ws.relative(path)} was edited by hand and stays as it is; this run's config is in its folder")
    else:
        write_config(path, prepared.text)


def _show_dry_run(ws: Workspace, engine: Engine, prepared: Prepared) -> None:
    import shlex

    from rlguide.console import say, show
    from rlguide.runs.manifest import CONFIG
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
    say(f"next: rlguide eval {name}    then: rlguide chat {name}")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("train")(train)
