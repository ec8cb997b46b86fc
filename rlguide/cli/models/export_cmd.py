"""`rlguide export`: merge a run's whole stack into one model folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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

if TYPE_CHECKING:
    from rlguide.serving.export import Exported


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
    ollama: Annotated[
        bool, typer.Option("--ollama", help="Say how ollama gets it, with the prompts of training.")
    ] = False,
    gguf: Annotated[
        str | None,
        typer.Option("--gguf", metavar="TYPE", help="Also a GGUF file, by llama.cpp: f32, f16, bf16 or q8_0."),
    ] = None,
    converter: Annotated[
        str | None,
        typer.Option(
            "--converter",
            envvar="RLGUIDE_GGUF_CONVERTER",
            metavar="PATH",
            help="llama.cpp, or its convert_hf_to_gguf.py, if that is not on PATH.",
        ),
    ] = None,
    push: Annotated[
        str | None,
        typer.Option("--push", metavar="ORG/NAME", help="Upload it to the Hugging Face hub, after a question."),
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="A new repository of --push is public.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Upload without a question.")] = False,
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
    rlguide export --ollama
    rlguide export --gguf q8_0 --converter llama.cpp
    rlguide export --push my-org/my-model
    """
    from rlguide.console import say, show, show_json
    from rlguide.engine.find import find_engine
    from rlguide.errors import UsageError
    from rlguide.policy.modelfile import MODELFILE
    from rlguide.runs.choose import ModelRequest
    from rlguide.serving.export import Wish, export, next_steps, ollama_command
    from rlguide.serving.gguf import check_type, convert, find_converter

    if public and push is None:
        raise UsageError("--public is for a repository, and there is no --push", "add --push ORG/NAME")
    if push is not None:
        _check_push(push, public, yes)
    if gguf is not None:
        check_type(gguf)
        program = find_converter(converter)
    ws = open_workspace(workspace)
    found = find_engine(engine)
    wanted = ModelRequest(run, base, template, False, trust_base, trust_remote_code, step, last)
    may_exist = ollama or gguf is not None or push is not None
    done = export(ws, found, wanted, Wish(output, not no_verify, may_exist))
    more: dict[str, Any] = {}
    if not as_json:
        show(done.name)
    for line in next_steps(done):
        say(line)
    if ollama:
        more["ollama"] = ollama_command(done, done.path / MODELFILE)
        say(f"next: {more['ollama']}")
    if gguf is not None:
        made = convert(ws, found, done.path, gguf, program)
        more["gguf"] = ws.relative(made)
        say(f"{more['gguf']}: not compared with the stack; layers, vocabulary and chat template are the model's")
        if (modelfile := made.with_suffix(f".{MODELFILE}")).is_file():
            say(f"next: {ollama_command(done, modelfile)}")
    if push is not None:
        more["pushed"] = _push(push, public, yes, done)
    if as_json:
        show_json({**done.as_dict(), **more})


def _check_push(name: str, public: bool, yes: bool) -> None:
    """Refuse what cannot be pushed before anything is merged, which may take hours."""
    import sys

    from rlguide.cli._options import typed_again
    from rlguide.errors import UsageError
    from rlguide.serving.push import check_name, find_target

    check_name(name)
    if not yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            "--push asks before it uploads, and this is not a terminal", f"add --yes: `{typed_again('--yes')}`"
        )
    find_target(name, not public)


def _push(name: str, public: bool, yes: bool, done: Exported) -> str:
    from rlguide.cli._options import agree, typed_again
    from rlguide.console import say
    from rlguide.serving.push import find_target, push, summary

    target = find_target(name, not public, done.path)
    for line in summary(target, done.path):
        say(line)
    agree("upload it?", yes, typed_again("--yes"), default=False)
    address = push(target, done.path)
    say(f"pushed: {address}")
    return address
