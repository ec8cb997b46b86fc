"""`rlguide export`: merge a run's whole stack into one model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlguide.cli._options import (
    EngineOption,
    JsonOption,
    LastOption,
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
    step: Annotated[
        int | None,
        typer.Option("--step", "--checkpoint", min=1, help="Take the run at this step; its best step by default."),
    ] = None,
    last: LastOption = False,
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

    It is the run at its best step on held-out data, where that is known.

    \b
    rlguide export
    rlguide export saves/qwen3-4b-base/lora/dpo --output exports/my-model
    rlguide export saves/qwen3-4b-base/lora/dpo --step 200
    rlguide export --last                          # although another step is better
    rlguide export saves/sft                       # an SFT checkpoint alone
    """
    from rlguide.console import say, show, show_json
    from rlguide.engine.find import find_engine
    from rlguide.runs.choose import ModelRequest
    from rlguide.serving.export import export, next_steps

    ws = open_workspace(workspace)
    wanted = ModelRequest(run, base, template, False, trust_base, trust_remote_code, step, last)
    done = export(ws, find_engine(engine), wanted, output, not no_verify)
    if as_json:
        show_json(done.as_dict())
        return
    show(done.name)
    for line in next_steps(done):
        say(line)
