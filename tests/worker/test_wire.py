"""Clients that are gone without a word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.worker.conftest import worker_module


@pytest.mark.parametrize("hangs_up", [True, False], ids=["hangs up", "reads no more"])
def test_a_stream_ends_with_its_client(hangs_up: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    wire = worker_module("openai_api.wire")
    monkeypatch.setattr(wire, "_PATIENCE", 0.2)
    ended: list[int] = []

    async def events() -> AsyncIterator[str]:
        count = 0
        try:
            while True:
                count += 1
                yield "x"
                await asyncio.sleep(0.01)
        finally:
            ended.append(count)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.1 if hangs_up else 60)
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message.get("body") and not hangs_up:
            await asyncio.sleep(60)

    stream = wire.EventStream(events())
    asyncio.run(asyncio.wait_for(stream({}, receive, send), 10))
    assert ended and (ended[0] > 1 if hangs_up else ended[0] == 1)
