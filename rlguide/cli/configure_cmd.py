"""`rlguide configure`: render and check a config, start nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlguide.cli._options import EngineOption, WorkspaceOption, open_workspace
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


def configure(
    sft_ckpt: SftOption = None,
    from_run: FromOption = None,
    method: MethodOption = None,
    loss: LossOption = None,
    dataset: DatasetOption = None,
    base: BaseOption = None,
    trust_base: TrustBaseOption = False,
    template: TemplateOption = None,
    output_dir: OutputOption = None,
    settings: SetOption = None,
    quantization: QuantizationOption = None,
    reward_model: RewardModelOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="File to write; configs/<method>_config.yaml by default.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Write over an edited config (kept as .bak).")] = False,
    workspace: WorkspaceOption = Path(),
    engine: EngineOption = None,
) -> None:
    """Write a commented config that you can read, edit and train with.

    \b
    rlguide configure --sft-ckpt latest --dataset ultrafeedback
    rlguide configure --sft-ckpt saves/qwen3-4b-base/lora/sft/checkpoint-2000 -d ultrafeedback,orca_dpo
    rlguide configure --dataset my_pairs --set pref_beta=0.05 --set num_train_epochs=1
    rlguide configure --method simpo --dataset my_pairs
    """
    from rlguide.cli._training import make_request, show_plan
    from rlguide.console import say, show
    from rlguide.engine.find import find_engine
    from rlguide.recipes.prepare import choose_engine, prepare_start
    from rlguide.recipes.render import write_config

    ws = open_workspace(workspace)
    request = make_request(sft_ckpt, from_run, method, loss, dataset, base, template, output_dir, settings, trust_base)
    prepared = prepare_start(ws, choose_engine(find_engine(engine), request), request)
    path = output or ws.configs / f"{prepared.method.name}_config.yaml"
    backup = write_config(path, prepared.text, force)
    show_plan(prepared)
    if backup:
        say(f"your edited config is kept as {ws.relative(backup)}")
    show(ws.relative(path))
    say(f"next: rlguide train --config {ws.relative(path)}")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("configure")(configure)
