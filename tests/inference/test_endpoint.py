"""An endpoint that works, one that fails in every way, and one that is hostile, over real connections on loopback."""

from __future__ import annotations

import email.utils
import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from rlguide.conversation import Response
from rlguide.errors import EngineError, RlguideError, UsageError
from rlguide.inference.endpoint import Endpoint
from rlguide.inference.wire import Limits
from tests.inference.server import Reply, Script, completion, delta, serving

KEY = "sk-Zq7Lw9Xk2Vb4"
PROMPTS = [[{"role": "user", "content": text}] for text in ("apples", "pears", "梨", "plums", "figs", "limes")]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "RLGUIDE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RLGUIDE_RETRY_SECONDS", "0.01")
    # A proxy that would be fatal: nothing stands between this machine and itself.
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)


def echo(body: dict[str, Any], place: int) -> Reply:
    return Reply(completion(f"{body['messages'][-1]['content']}!"))


def always(reply: Any) -> Script:
    return lambda body, place: reply() if callable(reply) else reply


def one(script: Script, limits: Limits | None = None, **options: Any) -> tuple[Response, list[dict[str, Any]]]:
    with serving(script, **options) as server, Endpoint(server.url, limits=limits) as model:
        ((_, response),) = model.responses(PROMPTS[:1], 16)
        return response, server.seen


def failed(script: Script, limits: Limits | None = None, **options: Any) -> tuple[RlguideError, int]:
    """The error, and how many requests it took."""
    with serving(script, **options) as server:
        with pytest.raises(RlguideError) as caught, Endpoint(server.url, limits=limits) as model:
            list(model.responses(PROMPTS[:1], 16))
        assert "\n" not in caught.value.what + caught.value.fix
        return caught.value, len(server.seen)


def streamed(pieces: Any, limits: Limits | None = None, **options: Any) -> tuple[str, str]:
    with (
        serving(always(lambda: Reply(pieces=pieces, **options))) as server,
        Endpoint(server.url, limits=limits) as model,
    ):
        return "".join(model.stream(PROMPTS[0], 16)), model.ended


def test_many_at_once_each_with_its_own_response() -> None:
    def script(body: dict[str, Any], place: int) -> Reply:
        return Reply(completion(f"{body['messages'][-1]['content']}!"), after=0.1 * (place % 3))

    with serving(script) as server, Endpoint(server.url, concurrency=3) as model:
        found = dict(model.responses(PROMPTS, 16))
        assert [found[at].text for at in range(6)] == [f"{prompt[0]['content']}!" for prompt in PROMPTS]
        assert server.busiest == 3
        assert {(body["model"], body["max_tokens"], body["temperature"]) for body in server.seen} == {("tiny", 16, 0.0)}


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (completion("cut", "length"), Response("cut", "length")),
        (completion("x", "eos_token"), Response("x", "stop")),
        (completion("x", None), Response("x", "stop")),
        (completion("x", ["?"]), Response("x", "stop")),
        (completion(None, "content_filter"), Response("", "filtered")),
        (completion(None, "length"), Response("", "length")),
        (completion("", "stop"), Response("", "stop")),
        (
            completion([{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]),
            Response("ab", "stop"),
        ),
        (completion(None, "stop", refusal="No."), Response("No.", "stop")),
        ({"choices": [{"text": "old", "finish_reason": "stop"}]}, Response("old", "stop")),
    ],
)
def test_what_is_a_response(body: Any, wanted: Response) -> None:
    assert one(always(Reply(body)))[0] == wanted


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(b"<html>hello</html>"), "not JSON"),
        (Reply(b"[" * 100_000), "not JSON"),
        (Reply(b""), "not JSON"),
        (Reply({"choices": []}), "choices"),
        (Reply({"choices": {"0": 1}}), "choices"),
        (Reply([1]), "choices"),
        (Reply({"choices": [{}]}), "no text"),
        (Reply(completion(None)), "no text"),
        (Reply(completion(7)), "no text"),
        (Reply(completion([{"type": "image"}])), "no text"),
        (Reply(completion(None, "tool_calls", tool_calls=[{"id": "x"}])), "called a tool"),
        (Reply(completion("x"), headers={"Content-Encoding": "gzip"}), "compressed"),
    ],
)
def test_what_is_none(reply: Reply, words: str) -> None:
    error, requests = failed(always(reply))
    assert words in error.what and isinstance(error, EngineError) and requests == 1


def test_a_body_without_end_is_left() -> None:
    error, _ = failed(
        always(lambda: Reply(pieces=itertools.repeat(b"x" * 1000), headers={"Content-Type": "application/json"})),
        Limits(body=50_000),
    )
    assert "does not end" in error.what


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 529])
def test_busy_is_tried_again(status: int) -> None:
    def script(body: dict[str, Any], place: int) -> Reply:
        return Reply({"error": {"message": "busy"}}, status) if place < 2 else Reply(completion())

    response, seen = one(script)
    assert (response.text, len(seen)) == ("fine", 3)


def test_a_cut_connection_is_tried_again_and_not_for_ever() -> None:
    response, seen = one(lambda body, place: Reply(completion(), cut=place == 0))
    assert (response.text, len(seen)) == ("fine", 2)
    error, requests = failed(always(Reply(completion(), cut=True)))
    assert "failed 5 times (connection cut)" in error.what and requests == 5


@pytest.mark.parametrize("in_words", [False, True])
def test_retry_after_is_waited(in_words: bool) -> None:
    def script(body: dict[str, Any], place: int) -> Reply:
        now = int(time.time())
        headers = {"Retry-After": "1"}
        if in_words:
            headers = {
                "Retry-After": email.utils.formatdate(now + 1, usegmt=True),
                "Date": email.utils.formatdate(now, usegmt=True),
            }
        return Reply({}, 429, headers) if place == 0 else Reply(completion())

    begun = time.monotonic()
    assert one(script)[0].text == "fine"
    assert 1.0 <= time.monotonic() - begun < 3.0


def test_what_takes_too_long_to_wait_for_is_said() -> None:
    error, requests = failed(always(Reply({}, 429, {"Retry-After": "7200"})))
    assert "7,200 s" in error.what and requests == 1
    error, requests = failed(always(Reply({"error": {"message": "pay", "code": "insufficient_quota"}}, 429)))
    assert "pay" in error.what and requests == 1


@pytest.mark.parametrize(
    ("status", "words"), [(400, "too long"), (401, "key is needed"), (403, "key is needed"), (404, "no such")]
)
def test_a_refusal_is_not_tried_again(status: int, words: str) -> None:
    error, requests = failed(always(Reply({"error": {"message": "too long"}}, status)))
    assert words in error.what and f"HTTP {status}" in error.what and requests == 1


def test_one_refused_prompt_does_not_cost_the_others() -> None:
    def script(body: dict[str, Any], place: int) -> Reply:
        return Reply({"detail": "no pears"}, 400) if "pears" in str(body) else echo(body, place)

    with serving(script) as server, Endpoint(server.url, concurrency=1) as model:
        found: list[int] = []
        with pytest.raises(EngineError, match="no pears"):
            for place, _ in model.responses(PROMPTS, 16):
                found.append(place)
        assert found == [0, 2, 3, 4, 5]


def test_other_names_of_parameters_are_learnt_once() -> None:
    def script(body: dict[str, Any], place: int) -> Reply:
        for name in ("max_tokens", "temperature"):
            if name in body:
                return Reply({"error": {"message": f"{name} is not supported", "param": name}}, 400)
        return Reply(completion())

    with serving(script) as server, Endpoint(server.url, concurrency=1) as model:
        assert len(list(model.responses(PROMPTS, 16))) == 6
        assert len(server.seen) == 8 and server.seen[-1]["max_completion_tokens"] == 16


def test_the_only_model_is_found_and_several_are_listed() -> None:
    assert one(echo)[1][0]["model"] == "tiny"
    error, requests = failed(echo, models=("a\x1b[2J", "b"))
    assert isinstance(error, UsageError) and "a\x1b[2J, b" in error.what and error.fix.endswith("#a\x1b[2J")
    assert requests == 0
    with serving(echo, models=("a", "b")) as server:  # the fix, followed
        with pytest.raises(UsageError) as caught:
            Endpoint(server.url).identity()
        address = caught.value.fix.removeprefix("name one: ")
        assert Endpoint(address).identity() == {"endpoint": server.url, "model": "a"}
    for models in (Reply({"error": "x"}, 404), (), Reply({"data": [1, {"id": 3}]}), Reply({"data": 7})):
        assert "list" in failed(echo, models=models)[0].what


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1"),
        ("HTTP://h/v1/", "http://h/v1"),
        ("https://h:8443/openai/v1//", "https://h:8443/openai/v1"),
        ("http://[::1]:8000/v1/chat/completions", "http://[::1]:8000/v1"),
    ],
)
def test_addresses(typed: str, url: str) -> None:
    found = Endpoint(typed, "m")
    assert (found.address, found.model) == (url, "m")
    assert Endpoint(f"{typed}#org/m", None).model == "org/m"


@pytest.mark.parametrize(
    "typed",
    [
        "http://",
        "http://u:p@h/v1",
        "http://h/v1?key=x",
        "http://h:99999/v1",
        "http://h\\@x/v1",
        "http://h/v 1",
        "http://h\n/v1",
    ],
)
def test_no_addresses(typed: str) -> None:
    with pytest.raises(UsageError):
        Endpoint(typed)


@pytest.mark.parametrize("named", ["", "#m"])
def test_another_model_under_the_same_name_is_another_one(named: str) -> None:
    def listed(content: Any) -> Reply:
        return Reply({"data": [{"id": "m", "object": "model", "content": content}]})

    with serving(echo, models=listed("a" * 32)) as server:
        address = f"{server.url}{named}"
        first = Endpoint(address).identity()
        assert Endpoint(address).identity() == first
        server.models = listed("b" * 32)  # served anew, after another training
        assert Endpoint(address).identity() != first
        server.models = listed(["x" * 1000])  # a checksum is a short text
        assert Endpoint(address).identity().keys() == {"endpoint", "model"}
        if named:  # the list decides nothing else
            server.models = Reply({"error": "x"}, 404)
            assert Endpoint(address).identity() == {"endpoint": server.url, "model": "m"}


def test_nobody_there() -> None:
    with serving(echo) as server:
        url = server.url
    with pytest.raises(EngineError, match=r"cannot reach .*connection refused"):
        Endpoint(url).identity()


# --- streams


@pytest.mark.parametrize("end", [b"data: [DONE]\n\n", b"data:[DONE]", b""])
@pytest.mark.parametrize("line", [b"\n", b"\r\n", b"\r"])
def test_a_stream(line: bytes, end: bytes) -> None:
    pieces = [
        b": ping\n\n",
        b"event: message\nid: 7\n" + delta("梨 "),
        delta("and "),
        b'data: {"choices": [], "usage": {}}\n\n',
        delta("plums"),
        delta(None, "length"),
        end,
    ]
    whole = b"".join(pieces).replace(b"\n", line)
    assert streamed([whole]) == ("梨 and plums", "length")
    assert streamed([whole[at : at + 7] for at in range(0, len(whole), 7)]) == ("梨 and plums", "length")


def test_a_stream_comes_as_it_is_written() -> None:
    with (
        serving(always(lambda: Reply(pieces=[delta("a"), delta("b", "stop")], gap=0.6))) as server,
        Endpoint(server.url, "m") as model,
    ):
        begun = time.monotonic()
        assert next(iter(model.stream(PROMPTS[0], 16))) == "a"
        assert time.monotonic() - begun < 0.5


def test_who_does_not_stream_is_understood() -> None:
    with serving(echo) as server, Endpoint(server.url) as model:
        assert "".join(model.stream(PROMPTS[0], 16, 0.5)) == "apples!"
        assert server.seen[0]["stream"] is True and server.seen[0]["temperature"] == 0.5
    assert streamed([delta("x"), b"data: [DONE]\n\n"]) == ("x", "stop")


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ([delta("x")], "broke off"),
        ([], "broke off"),
        ([delta("x"), b'data: {"error": {"message": "out of memory"}}\n\n'], "out of memory"),
        ([delta("x"), b"data: {half\n\n"], "not JSON"),
        ([delta("x", tool_calls=[1])], "called a tool"),
        ([b"x" * 3_000_000], "does not end"),
        ([b"data: x\n" * 1_100_000], "does not end"),
    ],
)
def test_a_stream_that_is_wrong(pieces: list[bytes], words: str) -> None:
    with pytest.raises(EngineError, match=words):
        streamed(pieces)


def test_a_stream_without_end_ends() -> None:
    with pytest.raises(EngineError, match="does not end"):
        streamed(itertools.repeat(delta("x" * 500)), Limits(body=100_000))
    begun = time.monotonic()
    with pytest.raises(EngineError, match="did not respond within 1 s"):
        streamed(itertools.repeat(delta("x")), Limits(total=1.0), gap=0.05)
    assert time.monotonic() - begun < 4


@pytest.mark.parametrize("reply", [Reply(completion(), drip=0.1), Reply(completion(), after=5.0)])
def test_a_slow_drip_ends(reply: Reply) -> None:
    begun = time.monotonic()
    with (
        pytest.raises(EngineError),
        serving(always(reply)) as server,
        Endpoint(server.url, "m", limits=Limits(total=1.0)) as model,
    ):
        list(model.responses(PROMPTS[:1], 16))
    assert time.monotonic() - begun < 10


def test_who_stops_listening_hangs_up() -> None:
    with (
        serving(always(lambda: Reply(pieces=itertools.repeat(delta("x")), gap=0.01))) as server,
        Endpoint(server.url) as model,
    ):
        for _ in zip(range(3), model.stream(PROMPTS[0], 16), strict=False):
            pass
        assert model.ended == "stopped"
        assert server.hung_up.wait(5)


def test_ctrl_c_ends_at_once() -> None:
    with serving(always(lambda: Reply(completion(), after=30))) as server:
        code = "from rlguide.inference.endpoint import Endpoint\n"
        code += f"list(Endpoint('{server.url}', 'm').responses({PROMPTS}, 9))"
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            while len(server.seen) < 4:
                time.sleep(0.05)
            begun = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert b"KeyboardInterrupt" in process.communicate(timeout=10)[1]
            assert time.monotonic() - begun < 3


# --- the key


def heads(script: Script, url: str = "") -> Iterator[dict[str, str]]:
    with serving(script) as server, Endpoint(url or server.url, "m") as model:
        list(model.responses(PROMPTS[:1], 16))
        yield from server.heads


def test_the_key_goes_where_it_was_meant_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert all("Authorization" not in head for head in heads(echo))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert [head["Authorization"] for head in heads(echo)] == [f"Bearer {KEY}"]
    monkeypatch.setenv("OPENAI_BASE_URL", "https://api.openai.com/v1")
    assert all("Authorization" not in head for head in heads(echo))
    monkeypatch.setenv("RLGUIDE_API_KEY", f"{KEY}-own\n")
    assert [head["Authorization"] for head in heads(echo)] == [f"Bearer {KEY}-own"]
    monkeypatch.setenv("RLGUIDE_API_KEY", f"{KEY}\r\nX: y")
    with pytest.raises(UsageError) as caught:
        list(heads(echo))
    assert KEY not in caught.value.what + caught.value.fix


def test_no_redirect_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLGUIDE_API_KEY", KEY)
    with serving(echo) as elsewhere:
        for status in (301, 302, 307, 308):
            where = {"Location": f"{elsewhere.url}/chat/completions"}
            assert "redirects" in failed(always(Reply({}, status, where)))[0].what
        assert not elsewhere.heads


@pytest.mark.parametrize("status", [400, 401, 404, 409, 500])
@pytest.mark.parametrize("form", [KEY, KEY[2:9], " ".join(KEY), KEY[::-1], f"sk-***{KEY[-7:]}", KEY.upper()])
def test_nothing_of_the_key_is_said(status: int, form: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("RLGUIDE_API_KEY", KEY)
    error, _ = failed(always(Reply({"error": {"message": f"bad key {form}!"}}, status)))
    said = error.what + error.fix + capsys.readouterr().err
    assert form not in said and KEY not in said


def test_a_response_that_repeats_the_key_is_kept_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLGUIDE_API_KEY", KEY)
    assert one(always(Reply(completion(f"it is {KEY}."))))[0].text == "it is (key left out)."


def test_plain_http_elsewhere_is_said_once(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from rlguide.inference import endpoint
    from rlguide.inference.address import parse_address

    monkeypatch.setattr(endpoint, "_warned", set())
    for address in ("http://gpu.example/v1", "https://gpu.example/v1", "http://127.0.0.1:1/v1"):
        endpoint._warn_of_plain_text(parse_address(address))
    assert "plain http" not in capsys.readouterr().err
    monkeypatch.setenv("RLGUIDE_API_KEY", KEY)
    for address in (
        "https://gpu.example/v1",
        "http://127.0.0.1:1/v1",
        "http://gpu.example/v1",
        "http://gpu.example/v1",
    ):
        endpoint._warn_of_plain_text(parse_address(address))
    said = capsys.readouterr().err
    assert said.count("gpu.example over plain http") == 1 and KEY not in said


def test_a_response_far_longer_than_was_asked_for_is_not_held() -> None:
    error, calls = failed(always(Reply(completion("A " * 40_000))))
    assert "sent 80,000 characters where 16 tokens were asked for" in error.what and calls == 1
    assert one(always(Reply(completion("A" * 60_000))))[0].text == "A" * 60_000
