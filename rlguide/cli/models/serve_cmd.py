"""`rlguide serve`: a model behind an OpenAI-compatible address."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlguide.cli._options import (
    BaseOption,
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

if TYPE_CHECKING:
    from rlguide.engine.find import Engine
    from rlguide.runs.choose import ModelRequest
    from rlguide.serving.server.records import ServerRecord
    from rlguide.serving.server.serve import Offer
    from rlguide.workspace import Workspace


class Backend(StrEnum):
    """What computes the responses."""

    hf = "hf"
    vllm = "vllm"


def command(
    run: RunArgument = None,
    sft: Annotated[bool, typer.Option("--sft", help="Serve the SFT model that the run started from.")] = False,
    step: StepOption = None,
    last: LastOption = False,
    base: BaseOption = None,
    trust_base: TrustBaseOption = False,
    trust_remote_code: TrustCodeOption = False,
    template: TemplateOption = None,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; for any but the loopback, set RLGUIDE_API_KEY.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="Port, 8000 by default; 0: any free one.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="What clients call the model, instead of its run or folder.")
    ] = None,
    backend: Annotated[
        Backend, typer.Option("--backend", help="hf: transformers. vllm: many requests at once, on a GPU.")
    ] = Backend.hf,
    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", min=1, help="Longest response, in tokens, if a request names none.")
    ] = 512,
    background: Annotated[
        bool, typer.Option("--background", help="Return once it is ready; it runs on until --stop.")
    ] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the server of RUN, of --port, or the only one.")] = False,
    list_all: Annotated[bool, typer.Option("--list", help="Show what is served on this host.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
    workspace: WorkspaceOption = Path(),
    engine: EngineOption = None,
) -> None:
    """Serve a run over OpenAI's API: base model and all its adapters, with the template it was trained with.

    Clients must send the key in RLGUIDE_API_KEY, if it is set. A reward model is served at /v1/score/evaluation.
    Ctrl-C ends it.

    \b
    rlguide serve
    rlguide serve saves/qwen3-4b-base/lora/dpo --port 8001 --background
    rlguide serve --list
    rlguide serve --stop
    """
    from rlguide.engine.find import find_engine
    from rlguide.errors import UsageError
    from rlguide.runs.choose import ModelRequest
    from rlguide.serving.server.serve import PORT, ServeOptions, serve

    if sum((list_all, stop, background)) > 1:
        raise UsageError("--list, --stop and --background are three things", "give one of them")
    if name is not None and not (name.strip() and name.isprintable()):
        raise UsageError("--name must be visible characters of one line", "choose a name such as my-model")
    if list_all or stop:
        _manage(run, port, stop, as_json)
        return
    ws, found = open_workspace(workspace), find_engine(engine)
    wanted = ModelRequest(run, base, template, sft, trust_base, trust_remote_code, step, last)
    options = ServeOptions(host, PORT if port is None else port, backend, name, max_new_tokens, background)
    serve(
        ws,
        found,
        lambda: _offer(ws, found, wanted, backend),
        options,
        lambda record: _ready(record, background, as_json),
    )


def _offer(ws: Workspace, engine: Engine, wanted: ModelRequest, backend: str) -> Offer:
    """The model that is meant: a policy, or the reward model that is named.

    Raises UsageError, CheckpointError, EngineError: there is none, or it cannot be served.
    """
    from rlguide.errors import UsageError
    from rlguide.evaluation.rewards.model import find_reward_model
    from rlguide.runs.choose import is_reward_model, run_meant
    from rlguide.serving.server.serve import HF, REWARDS, Offer, policy_offer

    run = run_meant(ws, wanted) if wanted.name is not None else None
    if run is not None and is_reward_model(run) and not wanted.sft:
        if backend != HF:
            raise UsageError(f"{run.name} is a reward model, which vLLM does not run", "leave --backend out")
        found = find_reward_model(ws, engine, run.name, wanted.step, wanted.last, wanted.trust_remote_code)
        return Offer(run.name, f"the reward model {found.run.policy.describe()}", found.args, REWARDS)
    return policy_offer(ws, engine, wanted, backend)


def _ready(record: ServerRecord, background: bool, as_json: bool) -> None:
    """Say where requests are answered (stderr), and give the address (stdout)."""
    import sys

    from rlguide.console import say, show_json, show_line

    needed = ", with the key in RLGUIDE_API_KEY" if record.needs_key else ""
    say(f"ready      {record.address}{needed}, on {record.device}, as {record.model}")
    if background:
        say(f"log        {record.log}")
    say(f"stop it    {'rlguide serve --stop' if background else 'Ctrl-C'}")
    if as_json:
        show_json(record.as_dict())
    else:
        show_line(record.address)
    sys.stdout.flush()


def _manage(run: str | None, port: int | None, stop: bool, as_json: bool) -> None:
    """Stop a server, or show all."""
    from rlguide.console import say, show_json, show_table, warn
    from rlguide.serving.server import records

    alive, ended = records.running()
    for record in ended:
        warn(f"the server of {record.model} has ended by itself; log: {record.log}")
    if stop:
        record = records.meant(alive, run, port)
        say(f"stopping the server of {record.model}")
        records.stop(record)
        if as_json:
            show_json(record.as_dict())
        else:
            say(f"stopped    {record.address}")
    elif as_json:
        show_json([record.as_dict() for record in alive])
    elif not alive:
        say("nothing is served on this host")
    else:
        columns = ("model", "address", "workspace", "backend", "device", "process", "log")
        rows = [
            (item.model, item.address, item.workspace, item.backend, item.device, str(item.pid), item.log)
            for item in alive
        ]
        show_table(columns, rows, lesser=("log", "process", "backend", "device", "workspace"))
