"""The header of a GGUF file, read back as llama.cpp reads it (ggml's docs/gguf.md, versions 2 and 3; little-endian)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rlguide.errors import DataError

_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9
MOST = 10_000_000  # entries of an array, tensors or keys: more than any tokenizer has
LONGEST = 1 << 24  # bytes of a text
_ALIGNMENT = 32  # of tensor data, unless the file says another


@dataclass(frozen=True)
class Header:
    """What a GGUF file says of itself.

    Attributes:
        values: its metadata by key.
        tensors: the shapes of its tensors by name, as the file has them (the fastest dimension first).
    """

    values: dict[str, Any]
    tensors: dict[str, tuple[int, ...]]

    def text(self, key: str) -> str:
        """A text of the metadata, "" where there is none."""
        value = self.values.get(key)
        return value if isinstance(value, str) else ""


def read_gguf(path: Path) -> Header:
    """Read the header and check that the file is as long as it says.

    Raises:
        DataError: it is no GGUF file, damaged, or cut short.
    """
    try:
        with path.open("rb") as file:
            reader = _Reader(file)
            if file.read(4) != b"GGUF" or reader.number("I") not in (2, 3):
                raise ValueError("not a GGUF file of version 2 or 3")
            tensors, keys = reader.count(), reader.count()
            values = {reader.text(): reader.value() for _ in range(keys)}
            shapes, last = {}, 0
            for _ in range(tensors):
                name = reader.text()
                shapes[name] = tuple(reader.number("Q") for _ in range(reader.count(8)))
                reader.number("I")
                last = max(last, reader.number("Q"))
            alignment = values.get("general.alignment", _ALIGNMENT)
            start = -(-file.tell() // alignment) * alignment
            if tensors and path.stat().st_size <= start + last:
                raise ValueError("it is cut short")
            return Header(values, shapes)
    except (OSError, ValueError, TypeError, struct.error, RecursionError, ZeroDivisionError) as error:
        raise DataError(f"{path} is no whole GGUF file: {error}", "convert the model again") from error


class _Reader:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def number(self, kind: str) -> Any:
        size = struct.calcsize(f"<{kind}")
        return struct.unpack(f"<{kind}", self._file.read(size))[0]

    def count(self, most: int = MOST) -> int:
        found = int(self.number("I" if most == 8 else "Q"))
        if found > most:
            raise ValueError(f"it claims {found:,} entries")
        return found

    def text(self) -> str:
        length = int(self.number("Q"))
        raw = self._file.read(length) if length <= LONGEST else b""
        if len(raw) < length:
            raise ValueError("a text is cut short")
        return raw.decode("utf-8", "replace")

    def value(self, kind: int | None = None) -> Any:
        kind = int(self.number("I")) if kind is None else kind
        if kind == _TEXT:
            return self.text()
        if kind == _ARRAY:
            inner, length = int(self.number("I")), self.count()
            return [self.value(inner) for _ in range(length)]
        if kind not in _NUMBERS:
            raise ValueError(f"a value of the unknown type {kind}")
        return self.number(_NUMBERS[kind])
