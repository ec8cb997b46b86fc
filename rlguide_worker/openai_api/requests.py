"""What a client may ask for, and what is wrong with it: every value is checked, none is passed over in silence.

The names are those of OpenAI's chat completions; `top_k` and `repetition_penalty` are vLLM's, for what the engine calls
so (LLaMA-Factory's own server reads `presence_penalty` as its `repetition_penalty`, which is another thing).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

MOST_MESSAGES, MOST_STOPS, LONGEST_STOP, MOST_TEXTS = 10_000, 16, 200, 4096
# A value that changes nothing is served; another one is refused, because the response would not be what was asked for.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
}
# Of the account or of the service, not of the response.
IGNORED = (
    *("user", "metadata", "store", "service_tier", "parallel_tool_calls", "safety_identifier"),
    *("prompt_cache_key", "prompt_cache_retention"),
)
# (lowest, highest, whether it is a whole number) of each setting of the engine, by the name that a client gives.
NUMBERS = {
    "temperature": (0.0, 10.0, False),
    "top_p": (1e-6, 1.0, False),
    "top_k": (0, 1_000_000, True),
    "repetition_penalty": (1e-3, 10.0, False),
    "max_tokens": (1, 1_000_000, True),
    "max_completion_tokens": (1, 1_000_000, True),
    "seed": (-(2**63), 2**63 - 1, True),
}
LENGTHS = ("max_completion_tokens", "max_tokens")
KNOWN = {"model", "messages", "stream", "stream_options", "stop", *NUMBERS, *NEUTRAL, *IGNORED}
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


class BadRequest(Exception):
    """What is wrong with a request, in the terms of OpenAI's errors."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.message, self.param, self.code, self.status = message, param, code, status


@dataclass(frozen=True)
class ChatRequest:
    """A response that is asked for.

    Attributes:
        messages: one of the system at most, in front; then user and assistant in turn, the user first and last.
        settings: keys of the engine's generation that were given.
        max_new_tokens: as it was given.
        stops: texts before which the response ends.
        has_usage: whether a stream ends with the numbers of tokens.
    """

    messages: list[dict[str, str]]
    settings: dict[str, Any] = field(default_factory=dict)
    max_new_tokens: int | None = None
    seed: int | None = None
    stops: tuple[str, ...] = ()
    is_stream: bool = False
    has_usage: bool = False


def read_body(raw: bytes) -> dict[str, Any]:
    """The JSON object of a body. Raises BadRequest."""
    try:
        body = json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest("the body is not valid JSON in UTF-8", code="invalid_json") from error
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object", code="invalid_json")
    return body


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def chat_request(body: dict[str, Any], served: str) -> ChatRequest:
    """What a body asks for.

    Args:
        served: name of the only model there is.

    Raises:
        BadRequest: something in it is unknown, of a wrong type, out of its range, or not served.
    """
    check_model(body, served)
    for name in body:
        if name not in KNOWN:
            raise BadRequest(f"unknown parameter: {_short(name)}", _short(name), "unknown_parameter")
    for name, values in NEUTRAL.items():
        given = body.get(name)
        if given is not None and not any(given == value and type(given) is type(value) for value in _alike(values)):
            raise BadRequest(f"{name} is not served; leave it out", name, "unsupported_parameter")
    numbers = {name: _number(body, name) for name in NUMBERS}
    is_stream = _flag(body, "stream")
    settings = {key: numbers[key] for key in ("temperature", "top_p", "top_k", "repetition_penalty")}
    return ChatRequest(
        messages(body.get("messages")),
        {key: value for key, value in settings.items() if value is not None},
        next((int(numbers[name]) for name in LENGTHS if numbers[name] is not None), None),
        None if numbers["seed"] is None else int(numbers["seed"]),
        _stops(body.get("stop")),
        is_stream,
        is_stream and _has_usage(body),
    )


def check_model(body: dict[str, Any], served: str) -> None:
    """Refuse another model than the one that is served; a request may leave it out. Raises BadRequest."""
    name = body.get("model")
    if name is not None and not isinstance(name, str):
        raise BadRequest("model must be a string", "model", "invalid_type")
    if name is not None and name != served:
        raise BadRequest(
            f"the model {_short(name)} does not exist; this server has {served}", "model", "model_not_found", 404
        )


def texts_to_score(body: dict[str, Any]) -> tuple[list[str], int | None]:
    """The texts of a request to a reward model, and the tokens after which each is cut. Raises BadRequest.

    The name of the model is not looked at: LLaMA-Factory's own client, PPO with `reward_model_type: api`, says "model".
    """
    texts = body.get("messages")
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise BadRequest("messages must be a list of texts, none of them empty", "messages", "invalid_type")
    if len(texts) > MOST_TEXTS:
        raise BadRequest(f"messages may hold at most {MOST_TEXTS} texts", "messages", "invalid_value")
    longest = body.get("max_length")
    if longest is not None and not (_is_whole(longest) and 1 <= longest <= 1_000_000):
        raise BadRequest("max_length must be a whole number above 0", "max_length", "invalid_value")
    return texts, longest


def messages(value: Any) -> list[dict[str, str]]:
    """The messages of a conversation that a user has said the last word in. Raises BadRequest."""
    if not isinstance(value, list) or not value:
        raise BadRequest("messages must be a list that is not empty", "messages", "invalid_type")
    if len(value) > MOST_MESSAGES:
        raise BadRequest(f"messages may hold at most {MOST_MESSAGES}", "messages", "invalid_value")
    found = [_message(item, f"messages[{index}]") for index, item in enumerate(value)]
    first = 1 if found[0]["role"] == "system" else 0
    for index, item in enumerate(found[first:], first):
        expected = "user" if (index - first) % 2 == 0 else "assistant"
        if item["role"] != expected:
            raise BadRequest(
                f"messages[{index}] must be of the {expected}: the template writes one message of the system at most, "
                "in front, then user and assistant in turn",
                f"messages[{index}].role",
                "invalid_value",
            )
    if found[-1]["role"] != "user":
        raise BadRequest("the last message must be of the user", "messages", "invalid_value")
    return found


def _message(item: Any, where: str) -> dict[str, str]:
    if not isinstance(item, dict):
        raise BadRequest(f"{where} must be an object", where, "invalid_type")
    role = item.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise BadRequest(
            f"{where}.role must be one of {', '.join(ROLES)}; tools are not served", f"{where}.role", "invalid_value"
        )
    for name in ("tool_calls", "function_call", "audio", "refusal"):
        if item.get(name):
            raise BadRequest(f"{where}.{name} is not served", f"{where}.{name}", "unsupported_parameter")
    return {"role": ROLES[role], "content": _content(item.get("content"), f"{where}.content")}


def _content(value: Any, where: str) -> str:
    """A text, or the texts of its parts joined. Images and files are refused: nothing is ever fetched or opened."""
    if isinstance(value, str):
        return _utf8(value, where)
    if not isinstance(value, list) or not value:
        raise BadRequest(f"{where} must be a text or a list of parts", where, "invalid_type")
    for index, part in enumerate(value):
        is_text = isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
        if not is_text:
            raise BadRequest(
                f"{where}[{index}] must be a part of the type text; others are not served",
                f"{where}[{index}]",
                "unsupported_content",
            )
    return _utf8("".join(part["text"] for part in value), where)


def _utf8(text: str, where: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadRequest(f"{where} holds half a surrogate pair", where, "invalid_value") from error
    return text


def _alike(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values, whole numbers also as they come from a client that writes 0.0."""
    return (*values, *(float(value) for value in values if _is_whole(value)))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(body: dict[str, Any], name: str) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    low, high, is_whole = NUMBERS[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or (is_whole and not isinstance(value, int)):
        raise BadRequest(f"{name} must be a {'whole ' * is_whole}number", name, "invalid_type")
    if not low <= value <= high or not (is_whole or math.isfinite(value)):
        raise BadRequest(f"{name} must be from {low:g} to {high:g}", name, "invalid_value")
    return value if is_whole else float(value)  # transformers refuses a temperature of 2 that is no float


def _flag(body: dict[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise BadRequest(f"{name} must be true or false", name, "invalid_type")
    return bool(value)


def _has_usage(body: dict[str, Any]) -> bool:
    options = body.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, dict):
        raise BadRequest("stream_options must be an object", "stream_options", "invalid_type")
    return _flag(options, "include_usage")


def _stops(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list) or not all(isinstance(text, str) and text for text in given):
        raise BadRequest("stop must be a text or a list of texts, none of them empty", "stop", "invalid_type")
    if len(given) > MOST_STOPS or any(len(text) > LONGEST_STOP for text in given):
        raise BadRequest(f"stop may hold {MOST_STOPS} texts of {LONGEST_STOP} characters", "stop", "invalid_value")
    return tuple(given)


def _short(text: str) -> str:
    return repr(text if len(text) <= 100 else f"{text[:100]}...")
