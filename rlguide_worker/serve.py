"""Serve a policy or a reward model over HTTP, on a socket that is open already.

    python serve.py       one line on stdin:

    {"args": {LLaMA-Factory keys}, "kind": "hf" | "vllm" | "rewards", "name", "key", "hosts": [...], "max_new_tokens",
     "content": checksum of what is served, "socket": descriptor}

On stdout comes one line, {"event": "ready", "device"} or {"event": "error", "kind", "text"}. It ends with exit code 0
at SIGTERM, at SIGINT, and when stdin ends, unless a second line came before: {"stay": true}. The key is on no command
line and in no environment here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sys
import threading
import traceback
from typing import Any

import few_imports
from protocol import leave, send, send_error

_GRACE = 2  # seconds that responses have to end when the server is stopped


def load(asked: dict[str, Any]) -> dict[str, Any]:
    """What is served, as an argument of `create_app`."""
    if asked["kind"] == "rewards":
        from openai_api.by_rewards import Rewards

        return {"reward_model": Rewards(asked["args"])}
    if asked["kind"] == "vllm":
        from openai_api.by_vllm import Vllm

        return {"policy": Vllm(asked["args"])}
    from openai_api.by_transformers import Transformers

    return {"policy": Transformers(asked["args"])}


class _Life:
    """When the server ends, and with which exit code."""

    def __init__(self) -> None:
        self.code = 0
        self.server: Any = None

    def end(self) -> None:
        """Asked to end."""
        if self.server is None:
            leave(0)  # still loading
        self.server.should_exit = True

    def break_down(self, error: BaseException) -> None:
        """Nothing works any more: a process that starts anew is needed."""
        self.code = 1
        send_error(error)
        self.end()

    def watch(self) -> None:
        """End when stdin does, unless told to stay; runs in a thread of its own."""
        if not sys.stdin.buffer.readline():
            self.end()


async def run(life: _Life, app: Any, listening: socket.socket, ready: dict[str, Any]) -> None:
    """Serve until the end."""
    import uvicorn

    class Server(uvicorn.Server):
        """Signals are handled here: uvicorn would let them end the process afterwards."""

        def capture_signals(self) -> Any:
            return contextlib.nullcontext()

        def install_signal_handlers(self) -> None:
            """As older versions call it."""

    config = uvicorn.Config(
        app, http="h11", loop="asyncio", ws="none", lifespan="off", log_level="warning", access_log=False,
        server_header=False, proxy_headers=False, timeout_graceful_shutdown=_GRACE, limit_concurrency=1024,
    )  # fmt: skip
    life.server = Server(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, life.end)
    serving = asyncio.ensure_future(life.server.serve(sockets=[listening]))
    while not life.server.started and not serving.done():
        await asyncio.sleep(0.01)
    send("ready", **ready)
    await serving


def main() -> None:
    """Load, serve, leave."""
    few_imports.leave_out_most()
    asked = json.loads(sys.stdin.buffer.readline())
    life = _Life()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: life.end())
    threading.Thread(target=life.watch, daemon=True).start()
    listening = socket.socket(fileno=asked["socket"])
    try:
        given = load(asked)
        from openai_api.app import Served, create_app

        hosts = tuple(asked["hosts"])
        limit, content = asked["max_new_tokens"], asked["content"]
        served = Served(asked["name"], asked["key"], hosts, limit, content, life.break_down)
        [model] = given.values()
        asyncio.run(run(life, create_app(served, **given), listening, {"device": model.device}))
        model.close()
    except BaseException as error:
        traceback.print_exception(error)
        send_error(error)
        leave(1)
    leave(life.code)


if __name__ == "__main__":
    main()
