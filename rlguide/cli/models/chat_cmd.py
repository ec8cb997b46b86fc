"""`rlguide chat`: chat with a trained policy, with its whole stack."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlguide.cli import _complete
from rlguide.cli._options import (
    BaseOption,
    EngineOption,
    LastOption,
    StepOption,
    TemplateOption,
    TrustBaseOption,
    TrustCodeOption,
    WorkspaceOption,
    open_workspace,
)
from rlguide.serving.chat.settings import HIGHEST_TEMPERATURE, MOST_TOKENS, Settings


def command(
    run: Annotated[
        str | None,
        typer.Argument(
            help="A run or a checkpoint under saves/, or an OpenAI-compatible address (http://127.0.0.1:8000/v1, "
            "with #MODEL where it serves several); the newest usable run by default.",
            autocompletion=_complete.of(_complete.runs, _complete.checkpoints),
        ),
    ] = None,
    sft: Annotated[
        bool, typer.Option("--sft", help="Chat with the SFT model that the run started from, to compare.")
    ] = False,
    step: StepOption = None,
    last: LastOption = False,
    base: BaseOption = None,
    trust_base: TrustBaseOption = False,
    trust_remote_code: TrustCodeOption = False,
    template: TemplateOption = None,
    system: Annotated[str | None, typer.Option("--system", help="System prompt.")] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature", min=0.0, max=HIGHEST_TEMPERATURE, help="0: greedy decoding. Default: the engine's 0.95."
        ),
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", min=1, max=MOST_TOKENS, help="Longest response, in tokens.")
    ] = 512,
    conversation: Annotated[
        bool, typer.Option("--conversation", help="Piped lines are one conversation; else each is a prompt of its own.")
    ] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Responses as they come, without Markdown.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With piped input: one JSON object per line instead of the bare response.")
    ] = False,
    workspace: WorkspaceOption = Path(),
    engine: EngineOption = None,
) -> None:
    """Chat with the newest run: base model and all its adapters, with the template it was trained with.

    Type /help for what can be typed: /compare shows the parent's response beside the last one, /save FILE keeps the
    conversation. Ctrl-C stops a response, Ctrl-D leaves. With piped input each line is a prompt of its own and each
    response one line (line breaks in it as \\n).

    \b
    rlguide chat
    rlguide chat saves/qwen3-4b-base/lora/dpo --temperature 0
    rlguide chat --sft                             # the model before preference training
    rlguide chat http://127.0.0.1:8000/v1          # a model behind an OpenAI-compatible address
    echo "Name three fruits." | rlguide chat
    """
    from rlguide.engine.find import find_engine
    from rlguide.runs.choose import ModelRequest
    from rlguide.serving.chat.start import ChatOptions, chat

    wanted = ModelRequest(run, base, template, sft, trust_base, trust_remote_code, step, last)
    options = ChatOptions(system, Settings(temperature, max_new_tokens), as_json, conversation, plain)
    chat(open_workspace(workspace), lambda: find_engine(engine), wanted, options)
