"""The server as the official client sees it, and as clients that mean harm do."""

from __future__ import annotations

import http.client
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest

from tests.serving.server.conftest import KEY, Running, wait_until

MODEL = "saves/it"


def say(running: Running, text: str, **more: Any) -> Any:
    messages = [{"role": "user", "content": text}]
    return running.client().chat.completions.create(model=MODEL, messages=messages, **more)


def streamed(running: Running, text: str, **more: Any) -> str:
    chunks = list(say(running, text, stream=True, **more))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason is not None
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def raw(running: Running, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, Any]]:
    """A request as anybody can write one."""
    where = urlsplit(running.address)
    connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=30)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, {"Authorization": f"Bearer {KEY}", **named})
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def responding(running: Running) -> int:
    return int(raw(running, "GET", "/health")[1]["requests"])


def test_a_response_comes_whole_and_streamed_alike(running: Running) -> None:
    whole = say(running, "你好, you")
    assert whole.choices[0].message.content == "你好, you" == streamed(running, "你好, you")
    assert (whole.model, whole.choices[0].finish_reason) == (MODEL, "stop")
    usage = whole.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (7, 8, 15)


def test_a_stream_ends_with_the_numbers_of_tokens_where_that_is_asked(running: Running) -> None:
    *chunks, last = say(running, "abc", stream=True, stream_options={"include_usage": True})
    assert [chunk.usage for chunk in chunks] == [None] * len(chunks)
    assert (last.choices, last.usage.completion_tokens) == ([], 4)


def test_a_response_ends_at_its_limit_or_before_a_text(running: Running) -> None:
    cut = say(running, "abcdef", max_tokens=3)
    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("abc", "length")
    for stop in ("de", ["xx", "de"]):
        assert streamed(running, "abcdef", stop=stop) == "abc"
        assert say(running, "abcdef", stop=stop).choices[0].finish_reason == "stop"
    assert streamed(running, "abcd", stop="dx") == "abcd"  # what was held back comes, too


def test_the_model_has_its_own_name(running: Running) -> None:
    client = running.client()
    assert [model.id for model in client.models.list().data] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-3.5-turbo")


def test_several_stream_at_once(running: Running) -> None:
    texts = [f"{number}" * 40 for number in range(6)]
    alone = time.monotonic()
    streamed(running, texts[0])
    alone = time.monotonic() - alone
    begin = time.monotonic()
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda text: streamed(running, text), texts)) == texts
    assert time.monotonic() - begin < 5 * alone


def test_a_prompt_that_takes_long_to_encode_keeps_nobody_else_waiting(running: Running) -> None:
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(say, running, "long")
        time.sleep(0.5)
        begin = time.monotonic()
        responding(running)
        assert time.monotonic() - begin < 1
        assert slow.result().choices[0].message.content == "long"


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        (openai.BadRequestError, {"temperature": 99}),
        (openai.BadRequestError, {"extra_body": {"do_sample": True}}),
        (openai.BadRequestError, {"max_tokens": 5000}),
        (openai.NotFoundError, {"model": "gpt-3.5-turbo"}),
        (openai.BadRequestError, {"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]}),
        (openai.BadRequestError, {"messages": [{"role": "user", "content": "<image>"}]}),
    ],
)
def test_a_bad_request_raises_the_clients_own_error(
    running: Running, kind: type[Exception], more: dict[str, Any]
) -> None:
    given = {"model": MODEL, "messages": [{"role": "user", "content": "x"}], **more}
    with pytest.raises(kind):
        running.client().chat.completions.create(**given)
    assert say(running, "on").choices[0].message.content == "on"


def test_a_prompt_that_is_too_long_is_said_to_be(running: Running) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        say(running, "x" * 4000)
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.APIStatusError) as large:
        say(running, "x" * (9 << 20))
    assert (large.value.status_code, large.value.code) == (413, "request_too_large")


def test_a_key_is_needed_and_told_to_nobody(running: Running) -> None:
    for key in ("wrong", KEY + "x", KEY[:-1]):
        with pytest.raises(openai.AuthenticationError) as caught:
            running.client(key).models.list()
        assert KEY not in str(caught.value)
    assert raw(running, "GET", "/v1/models", Authorization="Bearer schl\xfcssel")[0] == 401
    assert raw(running, "GET", "/health", Authorization="")[0] == 200


def test_no_web_page_may_ask(running: Running) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": "x"}]})
    path, json_kind = "/v1/chat/completions", {"Content_Type": "application/json"}
    assert raw(running, "POST", path, body, **json_kind)[0] == 200
    assert raw(running, "POST", path, body, **json_kind, Origin="http://page.example")[0] == 403
    assert raw(running, "POST", path, body, **json_kind, Host="page.example:80")[0] == 403
    assert raw(running, "POST", path, body, Content_Type="text/plain")[0] == 415
    status, told = raw(running, "OPTIONS", path)
    assert status == 405 and told["error"]["type"] == "invalid_request_error"


def test_what_is_not_there_is_an_error_in_the_same_shape(running: Running) -> None:
    for path, body in (("/", None), ("/v1/embeddings", "{}"), ("/docs", None), ("/openapi.json", None)):
        status, told = raw(running, "GET" if body is None else "POST", path, body)
        assert status == 404 and told["error"]["message"]
    assert raw(running, "POST", "/v1/score/evaluation", "{}", Content_Type="application/json")[0] == 405


def test_a_generation_that_fails_ends_its_request_only(running: Running) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        say(running, "fail")
    assert "must not be told" not in str(caught.value)
    with pytest.raises(openai.APIError, match="the model failed"):
        streamed(running, "fail")
    assert say(running, "on").choices[0].message.content == "on"
    assert responding(running) == 0


def test_a_client_that_hangs_up_frees_its_place(running: Running) -> None:
    where = urlsplit(running.address)
    for is_stream in (True, False):
        body = json.dumps(
            {"messages": [{"role": "user", "content": "x" * 3000}], "max_tokens": 900, "stream": is_stream}
        )
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {where.hostname}\r\nAuthorization: Bearer {KEY}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.create_connection((str(where.hostname), where.port), timeout=30) as connection:
            connection.sendall((head + body).encode())
            wait_until(lambda: responding(running) == 1)
        begin = time.monotonic()
        wait_until(lambda: responding(running) == 0)
        assert time.monotonic() - begin < 3  # it would go on for nine seconds


def test_the_log_has_no_word_of_what_was_said(running: Running) -> None:
    say(running, "a secret of the user")
    with pytest.raises(openai.BadRequestError):
        say(running, "<image> of another secret")
    log = Path(running.told["log"]).read_text()
    assert "response of 21 tokens to 20" in log
    assert "secret of the user" not in log and "another secret" not in log and KEY not in log
