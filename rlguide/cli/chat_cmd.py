"""`rlguide chat`: chat with a trained policy, with its whole stack."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlguide.cli._options import (
    EngineOption,
    LastOption,
    RunArgument,
    StepOption,
    TemplateOption,
    TrustBaseOption,
    TrustCodeOption,
    WorkspaceOption,
    open_workspace,
)


def command(
    run: RunArgument = None,
    sft: Annotated[
        bool, typer.Option("--sft", help="Chat with the SFT model that the run started from, to compare.")
    ] = False,
    step: StepOption = None,
    last: LastOption = False,
    base: Annotated[
        str | None, typer.Option("--base", help="Base model of a checkpoint; alone: chat with this model itself.")
    ] = None,
    trust_base: TrustBaseOption = False,
    trust_remote_code: TrustCodeOption = False,
    template: TemplateOption = None,
    system: Annotated[str | None, typer.Option("--system", help="System prompt.")] = None,
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", min=0.0, max=10.0, help="0: greedy decoding. Default: the engine's 0.95."),
    ] = None,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1, help="Longest response, in tokens.")] = 512,
    as_json: Annotated[
        bool, typer.Option("--json", help="With piped input: one JSON object per line instead of the bare response.")
    ] = False,
    workspace: WorkspaceOption = Path(),
    engine: EngineOption = None,
) -> None:
    """Chat with the newest run: base model and all its adapters, with the template it was trained with.

    Type /clear to start again, /exit or Ctrl-D to leave; Ctrl-C stops a response. With piped input each line is a
    prompt and each response one line (line breaks in it as \\n).

    \b
    rlguide chat
    rlguide chat saves/qwen3-4b-base/lora/dpo --temperature 0
    rlguide chat --sft                             # the model before preference training
    echo "Name three fruits." | rlguide chat
    """
    from rlguide.engine.find import find_engine
    from rlguide.runs.choose import ModelRequest
    from rlguide.serving.chat import ChatOptions, chat

    wanted = ModelRequest(run, base, template, sft, trust_base, trust_remote_code, step, last)
    options = ChatOptions(system, temperature, max_new_tokens, as_json)
    chat(open_workspace(workspace), find_engine(engine), wanted, options)
