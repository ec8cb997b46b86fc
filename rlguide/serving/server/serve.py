"""Serve a model until it is stopped, or in the background."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rlguide.console import say
from rlguide.engine.find import Engine
from rlguide.engine.process import birth_of
from rlguide.engine.schema import load_schema
from rlguide.engine.server import ModelServer, ServerSettings
from rlguide.errors import EngineError, UsageError
from rlguide.inference.loaded import content_of, loading_message
from rlguide.policy.merge import merged_base
from rlguide.policy.policy import Policy
from rlguide.remembered import digest
from rlguide.runs.choose import ModelRequest, choose_partner, run_meant
from rlguide.serving.server.listen import LOOPBACK, address_of, key_for, listening, names_of
from rlguide.serving.server.records import ServerRecord, check_place, forget, keep
from rlguide.workspace import Workspace, log_folder

PORT = 8000  # as of vLLM and of LLaMA-Factory's own server
HF, VLLM, REWARDS = "hf", "vllm", "rewards"


@dataclass(frozen=True)
class ServeOptions:
    """How to serve.

    Attributes:
        port: 0 for any free one.
        name: of the model, as clients say it; None: as it is named here.
        max_new_tokens: longest response where a request does not say.
        stays: whether it runs on in the background once it is ready.
    """

    host: str = LOOPBACK
    port: int = PORT
    backend: str = HF
    name: str | None = None
    max_new_tokens: int = 512
    stays: bool = False


@dataclass(frozen=True)
class Offer:
    """A model that can be served: its name, what it is, and LLaMA-Factory's keys that load it.

    `content` is a checksum of what decides its responses, "" if it is not known.
    """

    name: str
    title: str
    args: Mapping[str, Any]
    kind: str
    content: str = ""


def policy_offer(ws: Workspace, engine: Engine, wanted: ModelRequest, backend: str) -> Offer:
    """The policy that is meant, as for chat; for vLLM, which takes one adapter at most, its stack merged.

    Raises:
        UsageError: no such model, or this engine has no vLLM.
        CheckpointError, EngineError: a part is damaged, or it cannot be merged.
    """
    if backend == VLLM and "vllm" not in engine.versions:
        raise UsageError(
            f"the engine {engine.python} has no vLLM",
            "leave --backend out; or `rlguide export` makes one folder, for a vLLM in an environment of its own",
        )
    run = run_meant(ws, wanted)
    if run is not None:
        wanted = replace(wanted, name=run.name)
    partner = choose_partner(ws, wanted, lambda: load_schema(engine).model_templates)
    args: Mapping[str, Any] = partner.args
    if backend == VLLM and partner.policy.adapters:
        args = _merged(ws, engine, partner.policy, args)
    content = digest({**content_of(ws, engine, partner.policy, partner.args), "backend": backend})
    return Offer(wanted.name or str(wanted.base), partner.title, args, backend, content)


def _merged(ws: Workspace, engine: Engine, policy: Policy, args: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that load a stack as one model, its prompts written as before."""
    merged = Policy(merged_base(ws, engine, policy), (), policy.template)
    kept = {key: value for key, value in args.items() if key not in policy.model_config()}
    return {**kept, **merged.model_config()}


def serve(
    ws: Workspace,
    engine: Engine,
    offer: Callable[[], Offer],
    options: ServeOptions,
    on_ready: Callable[[ServerRecord], None],
) -> None:
    """Serve a model; returns when it was stopped, or with `stays` once it is ready.

    Args:
        offer: finds the model; called after what can be refused at once.
        on_ready: called when requests are answered.

    Raises:
        UsageError: the address cannot be used, or needs a key.
        RlguideError: what is served cannot be recorded.
        CheckpointError, EngineError: the model cannot be found or loaded, or the server failed.
    """
    key, hosts = key_for(options.host), names_of(options.host)
    with listening(options.host, options.port) as opened, _closed_terminal_ends():
        check_place()
        found = offer()
        name = options.name or found.name
        say(f"loading {found.title}")
        settings = ServerSettings(dict(found.args), found.kind, name, key, hosts, options.max_new_tokens, found.content)
        server = ModelServer(engine, settings, ws.root, _log_file())
        is_named = False
        try:
            _run(ws, server, opened, found, options, on_ready)
            is_named = options.stays
        except EngineError:
            is_named = True
            raise
        finally:
            if not is_named:
                server.log.unlink(missing_ok=True)


def _run(
    ws: Workspace,
    server: ModelServer,
    opened: socket.socket,
    found: Offer,
    options: ServeOptions,
    on_ready: Callable[[ServerRecord], None],
) -> None:
    record: ServerRecord | None = None
    is_released = False
    try:
        with loading_message() as on_wait:
            server.start(opened, on_wait)
        record = ServerRecord(
            pid=server.pid,
            birth=birth_of(server.pid),
            address=address_of(options.host, opened),
            model=options.name or found.name,
            title=found.title,
            backend=found.kind,
            device=server.device,
            needs_key=bool(key_for(options.host)),
            workspace=str(ws.root),
            log=str(server.log),
        )
        keep(record)
        on_ready(record)
        if options.stays:
            server.release()
            is_released = True
            return
        _wait(server)
    finally:
        if not is_released:
            server.stop()
            if record is not None:
                forget(record)


@contextmanager
def _closed_terminal_ends() -> Iterator[None]:
    """Have a terminal that closes end the server as `kill` does, with nothing left; not under `nohup`."""
    before = signal.getsignal(signal.SIGHUP)
    if before is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def _wait(server: ModelServer) -> None:
    """Until it is stopped: by Ctrl-C, by SIGTERM, or by `rlguide serve --stop`, which all are a good end."""
    try:
        server.wait()
    except KeyboardInterrupt:
        pass
    say("stopping")
    server.stop()


def _log_file() -> Path:
    descriptor, name = tempfile.mkstemp(prefix="serve-", suffix=".log", dir=log_folder())
    os.close(descriptor)
    return Path(name)
