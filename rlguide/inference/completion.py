"""What the bodies and events of an OpenAI-compatible endpoint say. All of it is data: any part can be anything."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rlguide.conversation import Ended, Response, ended_of

LONGEST_LINE = 1 << 20  # bytes of a line of an event stream
_LINE_END = re.compile(rb"\r\n|\n|\r(?=[^\n])")  # a carriage return at the end may be half of a line end
_FILTERED = "content_filter"
_CHECKSUM = 64  # characters of a checksum at most
_CALLS = ("tool_calls", "function_call")
_END = {"choices": [{"finish_reason": "stop"}]}  # what `[DONE]` says


class Unfit(ValueError):
    """What came is no response; the text says why, without anything that the peer wrote."""


@dataclass(frozen=True)
class Piece:
    """A piece of a response that is streamed; `ended`: how the response ended, if this is its end."""

    text: str
    ended: Ended | None


def json_of(text: str | bytes) -> Any:
    """What a JSON text says. Raises Unfit."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Unfit("what came is not JSON") from None


def response_in(body: Any) -> Response:
    """The response in the body of a completion. Raises Unfit."""
    choice = _choice(body)
    if choice is None:
        raise Unfit("what came has no `choices`")
    message = choice.get("message")
    if not isinstance(message, Mapping):
        text = choice.get("text")
        message = {"content": text} if isinstance(text, str) else {}
    found, ended = _text(message), _ended(choice.get("finish_reason"))
    if found is None:
        if any(message.get(key) for key in _CALLS):
            raise Unfit("the model called a tool instead of responding")
        if ended not in ("length", "filtered"):
            raise Unfit("the response has no text")
    return Response(found or "", ended or "stop")


def piece_in(event: Any) -> Piece:
    """The piece in an event of a stream; an event without choices (usage, a ping) is an empty one. Raises Unfit."""
    choice = _choice(event)
    if choice is None:
        return Piece("", None)
    message = choice.get("delta", choice.get("message"))
    message = message if isinstance(message, Mapping) else {"content": choice.get("text")}
    if any(message.get(key) for key in _CALLS):
        raise Unfit("the model called a tool instead of responding")
    return Piece(_text(message) or "", _ended(choice.get("finish_reason")))


def models_in(body: Any) -> dict[str, str]:
    """The models that an endpoint lists: the name of each, and the checksum of its content that `rlguide serve` tells,
    "" elsewhere."""
    data = body.get("data") if isinstance(body, Mapping) else None
    items = [item for item in data if isinstance(item, Mapping)] if isinstance(data, list) else []
    named = [(item.get("id"), item.get("content")) for item in items]
    return {
        name: content[:_CHECKSUM] if isinstance(content, str) else ""
        for name, content in named
        if isinstance(name, str) and name
    }


def fault_in(body: Any) -> tuple[str, str]:
    """What an error says and the parameter or code that it names, "" where it says nothing.

    Three shapes are in use: {"error": {"message", "code", "param"}}, {"error": "..."}, {"detail" or "message": ...}.
    """
    if not isinstance(body, Mapping):
        return "", ""
    error = body.get("error")
    if isinstance(error, Mapping):
        named = " ".join(value for key in ("code", "type", "param") if isinstance(value := error.get(key), str))
        said = error.get("message")
    else:
        named, said = "", error or body.get("detail") or body.get("message")
    return (said if isinstance(said, str) else json.dumps(said) if said else ""), named


def events_in(chunks: Iterable[bytes]) -> Iterator[Any]:
    """The JSON values of a stream of server-sent events (WHATWG HTML, 9.2), up to its end or `[DONE]`.

    `[DONE]` comes as the event that ends a response.

    Raises:
        Unfit: a line has no end, or an event is not JSON.
    """
    data: list[str] = []
    held = 0
    for line in _lines(chunks):
        if not line and data:
            text, data, held = "\n".join(data), [], 0
            if text.strip() == "[DONE]":
                yield _END
                return
            yield json_of(text)
        elif line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
            held += len(line)
            if held > LONGEST_LINE:
                raise Unfit("an event of the stream does not end")
    text = "\n".join(data)  # the last one, where the empty line behind it is missing
    if text:
        yield _END if text.strip() == "[DONE]" else json_of(text)


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        *whole, rest = _LINE_END.split(rest + chunk)
        if len(rest) > LONGEST_LINE:
            raise Unfit("a line of the stream does not end")
        for line in whole:
            yield line.decode("utf-8", "replace").removeprefix("\ufeff")
    if rest:
        yield rest.removesuffix(b"\r").decode("utf-8", "replace")


def _choice(body: Any) -> Mapping[str, Any] | None:
    choices = body.get("choices") if isinstance(body, Mapping) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, Mapping) else None


def _text(message: Mapping[str, Any]) -> str | None:
    """The text of a message: a string, the text parts of a list, or what it refuses with; None if it has none."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [item.get("text") for item in content if isinstance(item, Mapping)]
        texts = [part for part in parts if isinstance(part, str)]
        return "".join(texts) if texts else None
    refusal = message.get("refusal")
    return refusal if isinstance(refusal, str) else None


def _ended(reason: Any) -> Ended | None:
    if reason is None:
        return None
    return "filtered" if reason == _FILTERED else ended_of(reason)
