"""`rlguide export`: merge a run's whole stack into one model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlguide.cli._options import (
    EngineOption,
    JsonOption,
    RunArgument,
    TemplateOption,
    TrustBaseOption,
    TrustCodeOption,
    WorkspaceOption,
    open_workspace,
)


def command(
    run: RunArgument = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="Folder to make; saves/<model>/merged/<run> by default."),
    ] = None,
    checkpoint: Annotated[
        int | None, typer.Option("--checkpoint", min=1, help="Step of the run to export instead of its end.")
    ] = None,
    base: Annotated[str | None, typer.Option("--base", help="Base model of a checkpoint that is not a run.")] = None,
    trust_base: TrustBaseOption = False,
    trust_remote_code: TrustCodeOption = False,
    template: TemplateOption = None,
    no_verify: Annotated[
        bool,
        typer.Option(
            "--no-verify", help="Do not compare the merged model with the stack, for which both are loaded again."
        ),
    ] = False,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = Path(),
    engine: EngineOption = None,
) -> None:
    """Merge a run into one ordinary model: the base model and all its adapters, in order, in the base's own type.

    \b
    rlguide export
    rlguide export saves/qwen3-4b-base/lora/dpo --output exports/my-model
    rlguide export saves/qwen3-4b-base/lora/dpo --checkpoint 200
    rlguide export saves/sft                       # an SFT checkpoint alone
    """
    from rlguide.console import say, show, show_json
    from rlguide.engine.find import find_engine
    from rlguide.runs.choose import ModelRequest
    from rlguide.serving.export import export, next_steps, wanted_step

    ws = open_workspace(workspace)
    name = wanted_step(ws, run, checkpoint) if checkpoint else run
    wanted = ModelRequest(name, base, template, False, trust_base, trust_remote_code)
    done = export(ws, find_engine(engine), wanted, output, not no_verify)
    if as_json:
        show_json(done.as_dict())
        return
    show(done.name)
    for line in next_steps(done):
        say(line)
