"""A policy served by the real engine, asked by the official client: its responses are those of `rlguide chat`."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from rlguide.conversation import Response
from rlguide.engine.chat import ChatSession
from rlguide.engine.process import group_alive, stop_group
from rlguide.evaluation.comparison.record import Compared
from rlguide.evaluation.preference.judge_prompt import load_judge_prompt
from rlguide.evaluation.preference.judging import Judging
from rlguide.inference.endpoint import Endpoint
from rlguide.inference.loaded import content_of
from rlguide.remembered import digest
from rlguide.runs.choose import ModelRequest, choose_partner
from rlguide.workspace import Workspace
from tests.e2e.conftest import Bench

pytestmark = pytest.mark.engine

KEY = "sk-thisIsTheKeyOfTheServer"
RUN = "saves/tiny/lora/dpo"
CONVERSATIONS = [
    *([{"role": "user", "content": text}] for text in ("你好", "hi there", "Name three fruits, " * 8)),
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "你好"},
        {"role": "assistant", "content": "good day"},
        {"role": "user", "content": "and now?"},
    ],
]
LONG = {"repetition_penalty": 1.5}  # so that the tiny model does not end


class Server:
    """A server in the background, whose command has ended."""

    def __init__(self, bench: Bench, state: Path) -> None:
        self.variables = {"RLGUIDE_API_KEY": KEY, "XDG_STATE_HOME": str(state), "XDG_CACHE_HOME": str(state)}
        started = bench.run("serve", RUN, "--port", "0", "--background", "--json", env=self.variables)
        self.told: dict[str, Any] = json.loads(started.stdout)

    @property
    def client(self) -> Any:
        import openai

        return openai.OpenAI(base_url=self.told["address"], api_key=KEY, max_retries=0, timeout=120)

    def ask(self, messages: list[dict[str, str]], **more: Any) -> Any:
        return self.client.chat.completions.create(model=RUN, messages=messages, **more)

    def streamed(self, messages: list[dict[str, str]]) -> str:
        chunks = self.ask(messages, stream=True, temperature=0, max_tokens=24)
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


@pytest.fixture(scope="module")
def server(trained: Bench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    found = Server(trained, tmp_path_factory.mktemp("state"))
    yield found
    stop_group(found.told["pid"])


def test_responses_are_those_of_chat_also_several_at_once(server: Server, trained: Bench) -> None:
    ws = Workspace(trained.root)
    partner = choose_partner(ws, ModelRequest(RUN), dict)
    content = content_of(ws, trained.engine, partner.policy, partner.args)
    assert server.client.models.list().data[0].model_extra["content"] == digest({**content, "backend": "hf"})
    with ChatSession(trained.engine, partner.args, trained.root) as session:
        expected = ["".join(session.ask(item, max_new_tokens=24, temperature=0)) for item in CONVERSATIONS]
    assert len(set(expected)) > 1
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(server.streamed, CONVERSATIONS * 3)) == expected * 3
    whole = server.ask(CONVERSATIONS[1], temperature=0, max_tokens=24)
    assert whole.choices[0].message.content == expected[1]
    assert whole.usage.completion_tokens <= 24


def test_a_seed_gives_the_same_response_whatever_else_is_served(server: Server) -> None:
    def sampled(seed: int | None) -> str:
        response = server.ask(CONVERSATIONS[1], temperature=2, top_p=1, max_tokens=24, seed=seed)
        return str(response.choices[0].message.content)

    alone = sampled(7)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(sampled, [7, None, 7, 8]))
    assert together[0] == together[2] == alone
    assert len({alone, together[1], together[3]}) == 3


def test_what_the_model_cannot_read_is_refused(server: Server) -> None:
    import openai

    for more in ({"max_tokens": 100_000}, {"messages": [{"role": "user", "content": "x y " * 100_000}]}):
        with pytest.raises(openai.BadRequestError) as caught:
            server.client.chat.completions.create(**{"model": RUN, "messages": CONVERSATIONS[0], **more})
        assert caught.value.code == "context_length_exceeded"


def test_clients_that_hang_up_leave_the_model_free(server: Server) -> None:
    where = urlsplit(server.told["address"])
    asked = {"messages": CONVERSATIONS[1], "max_tokens": 1900, "stream": True, "temperature": 0, **LONG}
    body = json.dumps(asked)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {where.hostname}\r\nAuthorization: Bearer {KEY}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    gone = []
    for _ in range(12):  # more than there are places
        connection = socket.create_connection((str(where.hostname), where.port), timeout=60)
        connection.sendall((head + body).encode())
        gone.append(connection)
    assert gone[0].recv(10).startswith(b"HTTP/1.1")
    for connection in gone:
        connection.close()
    begin = time.monotonic()
    server.ask(CONVERSATIONS[1], temperature=0, max_tokens=4)
    assert time.monotonic() - begin < 10  # the twelve would take minutes


def test_a_judge_that_says_nonsense_is_said_to_give_no_verdict(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RLGUIDE_API_KEY", KEY)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    pair = {"sft": Response("one", "stop"), "dpo": Response("two", "stop")}
    records = [Compared("file", [{"role": "user", "content": "which?"}], pair)]
    endpoint = Endpoint(server.told["address"])
    first, again = (Judging(records, "dpo", "sft", endpoint, load_judge_prompt(), 256) for _ in range(2))
    assert first.plan().startswith("2 calls of the judge, about ")
    assert "no verdict on dpo against sft: 2 of its 2 replies" in first.run().verdict
    assert again.plan().startswith("0 calls of the judge (2 more are stored)")


def test_the_key_is_not_told_and_the_end_leaves_nothing(server: Server, trained: Bench) -> None:
    assert KEY.encode() not in subprocess.run(["ps", "axww", "-o", "args"], capture_output=True).stdout
    text = Path(server.told["log"]).read_text(encoding="utf-8")
    assert KEY not in text and "Name three fruits" not in text
    begin = time.monotonic()
    trained.run("serve", "--stop", env=server.variables)
    assert time.monotonic() - begin < 8  # by its first signal
    assert not group_alive(server.told["pid"])
    assert "Traceback" not in Path(server.told["log"]).read_text(encoding="utf-8")
    listed = trained.run("serve", "--list", "--json", env=server.variables)
    assert json.loads(listed.stdout) == []
