"""`rlguide configure`: render and check a config, start nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from rlguide.cli._options import EngineOption, WorkspaceOption, open_workspace
from rlguide.cli._training import GpusOption, training_options
from rlguide.recipes.options import TrainingOptions


@training_options("config")
def command(
    options: TrainingOptions,
    output: Annotated[
        Path | None, typer.Option("--output", help="File to write; configs/<method>_config.yaml by default.")
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", "-f", help="Overwrite an edited config (kept as .bak); also if it does not fit."),
    ] = False,
    gpus: GpusOption = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Take the fastest settings that fit and learn the same (`rlguide plan`).")
    ] = False,
    workspace: WorkspaceOption = Path(),
    engine: EngineOption = None,
) -> None:
    """Write a commented config that you can read, edit and train with.

    \b
    rlguide configure --sft-ckpt latest --dataset ultrafeedback
    rlguide configure --sft-ckpt saves/qwen3-4b-base/lora/sft/checkpoint-2000 -d ultrafeedback,orca_dpo
    rlguide configure --dataset my_pairs --set pref_beta=0.05 --set num_train_epochs=1
    rlguide configure --method simpo --dataset my_pairs
    rlguide configure --dataset my_pairs --gpus 2xA6000 --fast
    rlguide configure --method sft --base Qwen/Qwen3-4B-Base --dataset my_pairs
    """
    import shlex

    from rlguide.catalog.gpus import parse_gpus
    from rlguide.cli._training import at_steps, faster_settings, say_all, share_by_plan, show_need, show_plan
    from rlguide.console import say, show
    from rlguide.engine.find import find_engine
    from rlguide.planner.asked import as_host
    from rlguide.recipes.prepare import prepare
    from rlguide.recipes.render import changed_values, check_writable, write_config

    ws, main = open_workspace(workspace), find_engine(engine)
    asked = parse_gpus(gpus) if gpus is not None else None
    options, steps = at_steps(ws, options)
    prepared = prepare(ws, main, options, gpus=as_host(asked))
    shared = share_by_plan(ws, prepared, options, asked)
    if shared != options:
        options, prepared = shared, prepare(ws, main, shared, gpus=as_host(asked))
    path = output or ws.configs / f"{prepared.method.name}_config.yaml"
    check_writable(path, force)
    if fast and (settings := faster_settings(ws, prepared, asked)):
        options = replace(options, settings={**options.settings, **settings})
        prepared = prepare(ws, main, options, gpus=as_host(asked))
    say_all(steps)
    show_plan(prepared)
    show_need(ws, prepared, asked, plain=False, force=force)
    changed = changed_values(path, prepared.config)
    backup = write_config(path, prepared.text_in(ws.relative(path.absolute())), force)
    if backup:
        say(f"your edited config is kept as {ws.relative(backup)}")
    elif changed:
        say(f"{ws.relative(path)} was rendered before; now {'; '.join(changed)}")
    show(ws.relative(path))
    say(f"next: rlguide train --config {shlex.quote(ws.relative(path))}")
