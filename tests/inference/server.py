"""A real HTTP server on loopback that speaks the API of OpenAI as a script says, faults included."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def completion(text: Any = "fine", finish: Any = "stop", **message: Any) -> dict[str, Any]:
    """The body of a response."""
    return {"choices": [{"message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}]}


def delta(text: Any = None, finish: Any = None, **others: Any) -> bytes:
    """An event of a stream."""
    choice = {"delta": {"content": text, **others}, "finish_reason": finish}
    return f"data: {json.dumps({'choices': [choice]})}\n\n".encode()


@dataclass
class Reply:
    """What is sent for a request: a JSON value or raw bytes; or pieces, with `gap` seconds between them.

    `cut`: the connection ends in the midst of the body. `drip`: seconds between the bytes of the head.
    """

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    pieces: Iterator[bytes] | list[bytes] | None = None
    gap: float = 0.0
    cut: bool = False
    drip: float = 0.0
    after: float = 0.0


Script = Callable[[dict[str, Any], int], Reply]


class Scripted(ThreadingHTTPServer):
    """Replies to the nth completion that it is asked for as `script(body, n)` says.

    Attributes:
        seen: the bodies, in the order in which they came; `heads`: the headers of every request.
        busiest: how many requests were answered at once.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, script: Script, models: Any = ("tiny",)) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script, self.models = script, models
        self.seen: list[dict[str, Any]] = []
        self.heads: list[dict[str, str]] = []
        self.hung_up = threading.Event()
        self.lock, self.now, self.busiest = threading.Lock(), 0, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, *_: Any) -> None:
        """A client that hangs up is part of the script."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Scripted

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.server.heads.append(dict(self.headers))
        models = self.server.models
        if isinstance(models, Reply):
            self._send(models)
        else:
            self._send(Reply({"object": "list", "data": [{"id": name} for name in models]}))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.seen.append(body)
            self.server.heads.append(dict(self.headers))
            place = len(self.server.seen) - 1
            self.server.now += 1
            self.server.busiest = max(self.server.busiest, self.server.now)
        try:
            self._send(self.server.script(body, place))
        except OSError:
            self.server.hung_up.set()
            self.close_connection = True
        finally:
            with self.server.lock:
                self.server.now -= 1

    def _send(self, reply: Reply) -> None:
        time.sleep(reply.after)
        if reply.pieces is not None:
            return self._send_pieces(reply)
        raw = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(raw)), **reply.headers}
        head = f"HTTP/1.1 {reply.status} x\r\n" + "".join(f"{key}: {value}\r\n" for key, value in headers.items())
        if reply.drip:
            for byte in head.encode():
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(reply.drip)
        else:
            self.wfile.write(head.encode())
        self.wfile.write(b"\r\n" + (raw[: len(raw) // 2] if reply.cut else raw))
        self.close_connection = self.close_connection or reply.cut
        return None

    def _send_pieces(self, reply: Reply) -> None:
        headers = {"Content-Type": "text/event-stream", "Connection": "close", **reply.headers}
        head = f"HTTP/1.1 {reply.status} x\r\n" + "".join(f"{key}: {value}\r\n" for key, value in headers.items())
        self.wfile.write(head.encode() + b"\r\n")
        for piece in reply.pieces or ():
            self.wfile.write(piece)
            self.wfile.flush()
            time.sleep(reply.gap)
        self.close_connection = True


@contextmanager
def serving(script: Script, models: Any = ("tiny",)) -> Iterator[Scripted]:
    """Such a server, for the block."""
    server = Scripted(script, models)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
