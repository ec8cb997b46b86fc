"""JSON read value by value (a list, lists in an object, values one after another), so that a file of any size needs the
memory of its largest value."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import IO, Any

WHITESPACE = " \t\n\r"
CHUNK = 1 << 20  # bytes
LARGEST_ELEMENT = 64 << 20  # characters; beyond it a quote is missing somewhere, and the rest would be one "string"


class StreamError(ValueError):
    """The text is not a JSON list; `line` is where that was noticed (1 is the first)."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(f"{message} at line {line}")
        self.line = line


class _Window:
    """The part of the text that is in memory: `text[at:]` is unread."""

    def __init__(self, stream: IO[bytes], chunk: int) -> None:
        self._stream = stream
        self._chunk = chunk
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self.text = ""
        self.at = 0
        self.line = 1
        self.ended = False

    def grow(self) -> None:
        """Read more: a chunk, or as much as is waiting unread, so that a long element is retried few times."""
        self.text = self.text[self.at :]
        self.at = 0
        data = self._stream.read(max(self._chunk, len(self.text)))
        self.ended = not data
        try:
            self.text += self._decoder.decode(data, final=self.ended)
        except UnicodeDecodeError:
            raise StreamError("the file is not UTF-8", self.line + self.text.count("\n")) from None

    def advance(self, position: int) -> None:
        self.line += self.text.count("\n", self.at, position)
        self.at = position

    def peek(self) -> str:
        """The next character that is not white space, or "" at the end."""
        while True:
            position = self.at
            while position < len(self.text) and self.text[position] in WHITESPACE:
                position += 1
            self.advance(position)
            if position < len(self.text):
                return self.text[position]
            if self.ended:
                return ""
            self.grow()

    def error(self, message: str) -> StreamError:
        return StreamError("the file ends too early: " + message if self.ended else message, self.line)


def iterate_array(stream: IO[bytes], chunk: int = CHUNK, line: int = 1, closing: str = "") -> Iterator[tuple[int, Any]]:
    """Yield (line number, element) of the JSON list in `stream`, reading about `chunk` bytes at a time.

    Args:
        line: the line that the stream begins in.
        closing: what must follow the list, such as the } of an object that holds it.

    Raises:
        StreamError: not a list, broken, cut short, not UTF-8, or followed by something else.
    """
    window = _Window(stream, chunk)
    window.line = line
    if window.peek() != "[":
        raise window.error("a JSON list must begin with [")
    yield from _elements(window)
    if closing:
        if window.peek() == ",":
            raise StreamError("more than the list is in its object", window.line)
        if window.peek() != closing:
            raise window.error(f"expected {closing} after the list")
        window.advance(window.at + 1)
    if window.peek():
        raise window.error("something follows the list")


def _elements(window: _Window) -> Iterator[tuple[int, Any]]:
    """The elements of the list at the window, each with its line."""
    window.advance(window.at + 1)
    if window.peek() == "]":
        window.advance(window.at + 1)
        return
    while True:
        if window.peek() == "]":
            raise StreamError("a comma stands before the ] that ends the list", window.line)
        line = window.line
        yield line, _element(window)
        mark = window.peek()
        if mark not in (",", "]"):
            raise window.error("expected , or ]")
        window.advance(window.at + 1)
        if mark == "]":
            return


NO_LIST = object()  # what an object has under a key, if that is no list


def iterate_object(stream: IO[bytes], chunk: int = CHUNK) -> Iterator[tuple[int, str, Any]]:
    """Yield (line number, key, element) of the lists in a JSON object; of anything else (line, key, NO_LIST).

    Raises StreamError as `iterate_array`.
    """
    window = _Window(stream, chunk)
    if window.peek() != "{":
        raise window.error("a JSON object must begin with {")
    mark = ","
    while mark == ",":
        window.advance(window.at + 1)
        if window.peek() != '"':
            raise window.error("expected the name of a key")
        key = _element(window, ":")
        if window.peek() != ":":
            raise window.error("expected : after a key")
        window.advance(window.at + 1)
        if window.peek() == "[":
            yield from ((line, key, value) for line, value in _elements(window))
        else:
            line = window.line
            _element(window)
            yield line, key, NO_LIST
        mark = window.peek()
        if mark not in (",", "}"):
            raise window.error("expected , or }")
    window.advance(window.at + 1)
    if window.peek():
        raise window.error("something follows the object")


def iterate_values(stream: IO[bytes], chunk: int = CHUNK) -> Iterator[tuple[int, Any]]:
    """Yield (line number, value) of JSON objects or lists that follow each other, with or without commas in between.

    Raises StreamError as `iterate_array`.
    """
    window = _Window(stream, chunk)
    while sign := window.peek():
        if sign in ",\x1e\0\ufeff":
            window.advance(window.at + 1)
        elif sign in "{[":
            line = window.line
            yield line, _element(window, "{[\x1e\0\ufeff")
        else:
            raise window.error("expected an object")


def _element(window: _Window, after: str = "") -> Any:
    """Decode the value at the window, reading on as long as it may only be cut off. `after` may follow it directly."""
    decoder = json.JSONDecoder()
    while True:
        try:
            value, end = decoder.raw_decode(window.text, window.at)
        except json.JSONDecodeError as error:
            # An open string is reported at its start, every other break where it is; one close to the edge of
            # the window may be only the edge.
            open_string = error.msg.startswith("Unterminated string")
            at_edge = error.pos >= len(window.text) - 16
            too_long = len(window.text) - window.at > LARGEST_ELEMENT
            if window.ended or too_long or not (open_string or at_edge):
                window.advance(error.pos)
                raise window.error("an element is larger than 64 MB" if too_long else _in_words(error.msg)) from None
        except ValueError as error:  # a whole number of more than 4,300 digits
            raise window.error(str(error)) from None
        except RecursionError:
            raise window.error("an element is nested too deeply") from None
        else:
            # A number at the edge may go on: only a character after it that ends every value settles it.
            if window.ended or (end < len(window.text) and window.text[end] in WHITESPACE + ",]}" + after):
                window.advance(end)
                return value
            if end < len(window.text) - 16:
                raise window.error("expected , or ]")
        window.grow()


def _in_words(message: str) -> str:
    """What Python's JSON decoder says, without the "at" that it expects a place after."""
    if message.startswith("Invalid control character"):
        return "a line break or a tab inside of quotes, which JSON writes as \\n or \\t,"
    return message.removesuffix(" at")
