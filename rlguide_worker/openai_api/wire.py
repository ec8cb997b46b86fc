"""Reading a request and sending a stream, to clients that may be slow, hostile or gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing
from typing import Any

from openai_api.requests import BadRequest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

LARGEST = 8 << 20  # bytes of a request; a prompt of 128k tokens has about 0.5 MB
_READ_AT_MOST = 8 * LARGEST  # of one that is too large, so that its client reads the refusal and no broken connection
_PATIENCE = 60.0  # seconds for a whole request to arrive, and for a client to read on


async def body_of(request: Request) -> bytes:
    """The body of a request. Raises BadRequest if it is too large, too slow, or not said to be JSON."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise BadRequest("send the header `Content-Type: application/json`", code="invalid_content_type", status=415)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_PATIENCE):
            async for chunk in request.stream():
                size += len(chunk)
                if size <= LARGEST:
                    chunks.append(chunk)
                elif size > _READ_AT_MOST:
                    break
    except TimeoutError:
        raise BadRequest(f"the request did not arrive in {_PATIENCE:.0f} s", status=408) from None
    if size > LARGEST:
        raise BadRequest(f"a request may have {LARGEST} bytes", code="request_too_large", status=413)
    return b"".join(chunks)


async def unless_gone(receive: Any, work: Coroutine[Any, Any, Any]) -> Any:
    """The result of `work`, which is cancelled as soon as the client hangs up.

    Raises:
        ClientDisconnect: it did. What `work` raises.
    """
    job, watch = asyncio.ensure_future(work), asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({job, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not job.done():
            raise ClientDisconnect
        return job.result()
    finally:
        for task in (job, watch):
            task.cancel()
        await asyncio.gather(job, watch, return_exceptions=True)


async def _gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """Server-sent events; the iteration ends at once when the client hangs up."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[str]) -> None:
        self._events = events
        self.status_code, self.background = 200, None
        self.init_headers({"cache-control": "no-store", "x-accel-buffering": "no"})

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await unless_gone(receive, self._send(send))
        except (ClientDisconnect, TimeoutError):
            pass

    async def _send(self, send: Any) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._events) as events:
            async for data in events:
                body = f"data: {data}\n\n".encode()
                async with asyncio.timeout(_PATIENCE):  # a client that reads no more is gone
                    await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
