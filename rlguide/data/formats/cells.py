"""A cell to a text or a conversation: a message, a list of them, an object with them, JSON or Python in a text."""

from __future__ import annotations

import ast
import io
import json
import math
import re
import tokenize
from decimal import Decimal
from typing import Any

from rlguide.catalog.columns import vocabulary
from rlguide.data.example import GPT, HUMAN, BadRow, Turn, turn, turns

EMPTY: tuple[Any, ...] = (None, "", [], {}, ())
NOTHING = ("", "none", "nan", "null", "<na>", "n/a", "<noinput>", "[]")  # as Python, pandas, SQL and Alpaca write it
LONGEST = 1 << 20  # characters of a text that is read as Python
MESSAGES = ("messages", "message", "dialogue")  # kinds of cells that hold conversations
CONVERSATIONS = ("messages", "dialogue", "exchanges")  # kinds that hold several turns
NUMBERS = ("number", "digits")  # digits: a number as text
_SEVERAL = (list, tuple)  # made once: `list | tuple` takes longer than the question whether a value is one
TEXTS = ("text", "digits", *MESSAGES, "object", "one text")  # kinds that may be a prompt or a response
_SIGNATURES = ("author", "sender")  # of an answer in a list; a speaker only if it is a known one
_NO_COMMA = re.compile(r"\}\s*\n\s*\{")  # between the messages of a numpy array that was printed


def is_empty(value: Any) -> bool:
    """Whether a cell holds nothing; NaN is what pandas writes for that."""
    return value in EMPTY or (isinstance(value, float) and math.isnan(value))


def is_word(value: Any) -> bool:
    """Whether a cell says what kind a row is, or where it is from: nothing, one word, an address, a number."""
    return (
        value is None
        or isinstance(value, bool | int | float)
        or (isinstance(value, str) and value.isascii() and len(value.split()) == 1)
    )


def is_nothing(value: Any) -> bool:
    """Whether a cell beside the prompt (system, input, context, history) holds nothing, or a word that says so."""
    return is_empty(value) or (isinstance(value, str) and value.strip().lower() in NOTHING)


def kind(value: Any) -> str:
    """What a cell holds: flag, number, digits, text, message(s), texts, numbers, exchanges, object(s), ..."""
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, int | float | Decimal):
        return "number"
    if isinstance(value, str):
        return "text" if number(value) is None else "digits"
    if isinstance(value, dict):
        if _is_message(value):
            return "message"
        return "messages" if _held_messages(value) is not None else "object"
    if isinstance(value, tuple):
        return "dialogue"
    if not isinstance(value, list):
        return "other"
    if all(isinstance(entry, str) for entry in value):
        return "one text" if len(value) == 1 else "texts"
    if all(_is_message(entry) for entry in value):
        return "messages"
    if all(entry is None or number(entry) is not None or isinstance(entry, bool) for entry in value):
        return "numbers"
    if all(isinstance(entry, dict) for entry in value):
        return "exchanges" if all(_exchange(entry) for entry in value) else "objects"
    return "exchanges" if all(isinstance(entry, list | tuple) and len(entry) == 2 for entry in value) else "objects"


def unpacked(text: str) -> Any:
    """The list or object that a text holds as JSON or as Python's repr; None if it holds neither."""
    stripped = text.strip()
    if not is_packed(stripped):
        return None
    for candidate in (stripped, _NO_COMMA.sub("}, {", stripped)):
        for read in (json.loads, _printed, _python):
            try:
                value = read(candidate)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            return value if isinstance(value, list | dict) else None
    return None


def is_packed(text: str) -> bool:
    """Whether a text may be a list or an object as JSON, or as Python or numpy print it."""
    return text.lstrip().startswith(("[", "{", "array(["))


def _python(text: str) -> Any:
    if len(text) > LONGEST:
        raise ValueError
    if "array(" not in text:
        return ast.literal_eval(text)
    return ast.literal_eval(_Arrays().visit(ast.parse(text, mode="eval")))


class _Arrays(ast.NodeTransformer):
    """`array([...], dtype=object)`, as numpy prints itself inside of something, to the list."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        is_array = isinstance(node.func, ast.Name) and node.func.id == "array" and len(node.args) == 1
        inner: ast.AST = self.visit(node.args[0]) if is_array else node
        return inner


def _printed(text: str) -> list[Any]:
    """A numpy array of texts or numbers, printed: no commas, which Python would read as one text. Raises ValueError."""
    if len(text) > LONGEST or not (text.startswith("[") and text.endswith("]")):
        raise ValueError
    found: list[Any] = []
    sign = 1
    try:
        for token in tokenize.generate_tokens(io.StringIO(text[1:-1].replace("\n", " ").strip()).readline):
            if token.type in (tokenize.STRING, tokenize.NUMBER):
                value = ast.literal_eval(token.string)
                found.append(-value if sign < 0 else value)
            elif token.string not in ("", "-"):
                raise ValueError
            sign = -1 if token.string == "-" else 1
    except (tokenize.TokenError, SyntaxError, TypeError) as error:
        raise ValueError from error
    if not found or sign < 0:
        raise ValueError
    return found


def holds_messages(value: Any) -> bool:
    """Whether this is a message, or messages."""
    return value not in EMPTY and kind(value) in ("message", "messages")


def conversation(value: Any) -> tuple[Turn, ...]:
    """Text (of the user), messages in any form, exchanges, or turns already -> turns. Raises BadRow."""
    if isinstance(value, tuple):
        return value
    if isinstance(value, list):
        if value and type(value[0]) is dict and "role" in value[0]:  # nearly always
            return turns(value)
        if value and isinstance(value[0], str) and len(value) == 1:
            return (Turn(HUMAN, value[0]),)
        if value and (isinstance(value[0], list | tuple) or (isinstance(value[0], dict) and _exchange(value[0]))):
            return exchanges(value)
        return turns(value)
    if isinstance(value, dict):
        inner = _held_messages(value)
        if inner is not None:
            return turns(inner)
        return (turn(value) if _is_message(value) else Turn(HUMAN, _only_text(value)),)
    return (Turn(HUMAN, text(value, "the prompt")),)


def _only_text(value: dict[str, Any]) -> str:
    """The text of an object that is no message, as WebGPT's questions. Raises BadRow where it holds another, too."""
    texts = {key: part for key, part in value.items() if isinstance(part, str) and len(part.split()) > 1}
    found = [str(value[key]) for key in vocabulary().text_keys if isinstance(value.get(key), str)]
    if len(found) != 1 or set(texts.values()) - {found[0]}:
        raise BadRow("the prompt is an object, and it is not clear which text of it is the prompt")
    return found[0]


def exchanges(value: Any) -> tuple[Turn, ...]:
    """[prompt, response] pairs, or objects with one of each -> turns; of messages these. Raises BadRow."""
    if isinstance(value, tuple):
        return value
    if not isinstance(value, list):
        raise BadRow("history is not a list of [prompt, response]")
    if value and all(_is_message(entry) for entry in value):
        return turns(value)
    found: list[Turn] = []
    for entry in value:
        pair = _exchange(entry) if isinstance(entry, dict) else entry
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(one, str) for one in pair):
            raise BadRow("history is not a list of [prompt, response]")
        found += [Turn(HUMAN, pair[0]), Turn(GPT, pair[1])]
    return tuple(found)


def response(value: Any, column: str) -> str:
    """One response as text: text, a number, one message, a list of exactly one of these, an object with a text."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple) and not isinstance(value, Turn):
        if len(value) != 1:
            texts = value and all(isinstance(entry, str) for entry in value)
            raise BadRow(f"{column} is a list of texts, not one response" if texts else f"{column} is not one message")
        value = value[0]
        if isinstance(value, str):
            return value
    if isinstance(value, Turn):
        message = value
    elif isinstance(value, dict):
        inner = _held_messages(value)
        if inner is not None:
            return response(inner, column)
        if not _is_message(value):
            found = [value[key] for key in vocabulary().text_keys if isinstance(value.get(key), str | list)]
            if not found:
                raise BadRow(f"{column} is an object without a text")
            return response(found[0], column)
        message = turn(value)
    else:
        return text(value, column)
    if message.role != GPT:
        raise BadRow(f"{column} is not a message of the assistant")
    return message.value


def text(value: Any, column: str) -> str:
    """A text; a number as it is written. Raises BadRow."""
    if isinstance(value, str):
        return value
    if is_empty(value):
        raise BadRow(f"{column} is missing")
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise BadRow(f"{column} is not text")
    try:
        return str(value)
    except ValueError:  # an integer of more digits than Python turns into text
        raise BadRow(f"{column} is not text") from None


def is_conversation(value: Any) -> bool:
    """Whether this is more than one message: with the response, there is a prompt in it."""
    if isinstance(value, dict):
        inner = _held_messages(value)
        return inner is not None and len(inner) > 1
    return isinstance(value, _SEVERAL) and len(value) > 1 and not isinstance(value[0], str)


def number(value: Any) -> float | None:
    """A score as a number, also where it is text; None for anything else, NaN and infinity."""
    if type(value) is not float:  # what nearly all are
        if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
            return None
        try:
            value = float(value)
        except (ValueError, OverflowError):
            return None
    return value if math.isfinite(value) else None


def _is_message(value: Any) -> bool:
    """Whether an object has a speaker and a text; a list of parts counts as a text."""
    if not isinstance(value, dict):
        return False
    if "content" in value or "value" in value:
        return "role" in value or "from" in value
    words = vocabulary()
    said = [(key, value[key]) for key in words.role_keys if isinstance(value.get(key), str)]
    return any(key not in _SIGNATURES or who.lower() in words.speakers for key, who in said) and any(
        isinstance(value.get(key), str | list) for key in words.text_keys
    )


def _held_messages(value: dict[str, Any]) -> Any:
    """The messages in an object that is not one itself, None if it holds none."""
    if "role" in value or "from" in value:
        return None
    return next((value[key] for key in vocabulary().messages_keys if isinstance(value.get(key), list)), None)


def _exchange(value: Any) -> tuple[Any, Any] | None:
    """The prompt and the response in an object that has one of each and no speaker: {"human":, "assistant":}."""
    if not isinstance(value, dict) or _is_message(value):
        return None
    names = vocabulary().names
    prompts = [key for key in value if str(key).lower() in names["prompt"] or str(key).lower() == "input"]
    responses = [key for key in value if str(key).lower() in names["response"]]
    if len(prompts) == len(responses) == 1:
        return value[prompts[0]], value[responses[0]]
    return None
