"""A text file as UTF-8, whatever it is written in: by its first bytes, by what its bytes mean, or as a person says."""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rlguide.data.readers.packing import open_text, packing
from rlguide.data.readers.source import ReadOptions
from rlguide.errors import DataError

SAMPLE = 1 << 20  # bytes that tell the encoding, from the first one on that is not ASCII
MOST_SAMPLES, MOST_PACKED = 64, 8  # how far that byte is looked for: 64 MB are read in 20 ms, 8 MB unpacked in 50
BOM = b"\xef\xbb\xbf"
BEFORE = b" \t\r\n\0\x1e" + BOM  # what may stand before the first character of data
_MARKS = (  # those of UTF-32 begin like those of UTF-16
    *((codecs.BOM_UTF32_LE, "utf-32", "UTF-32"), (codecs.BOM_UTF32_BE, "utf-32", "UTF-32")),
    *((codecs.BOM_UTF16_LE, "utf-16", "UTF-16"), (codecs.BOM_UTF16_BE, "utf-16", "UTF-16")),
)
_BROKEN = "rlguide.broken"
_OVERRULED = "--encoding overrules it"
USUAL = "for example with --encoding gb18030 (others: big5, shift_jis, euc_kr, cp1252, cp1250)"

# What cannot be decoded becomes a byte that is not UTF-8, so that only its line is broken.
codecs.register_error(_BROKEN, lambda error: ("\udcff", getattr(error, "end", 0)))


@dataclass(frozen=True)
class Text:
    """A text file. `name` is its encoding in words; `opener` gives other text in its place, such as a repaired one."""

    path: Path
    encoding: str = "utf-8"
    name: str = "UTF-8"
    opener: Callable[[], AbstractContextManager[IO[bytes]]] | None = None

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Its bytes in UTF-8; where it cannot be decoded, a byte that is not. Raises as `open_text`."""
        if self.opener is not None:
            with self.opener() as repaired:
                yield repaired
            return
        with open_text(self.path) as file:
            if self.encoding == "utf-8":
                yield file
            else:
                with io.BufferedReader(_Transcoded(file, self.encoding), 1 << 20) as text:
                    yield text


class _Transcoded(io.RawIOBase):
    def __init__(self, file: IO[bytes], encoding: str) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder(encoding)(_BROKEN)
        self._ready = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and not self._ended:
            data = self._file.read(1 << 18)
            self._ended = not data
            text = self._decoder.decode(data, self._ended)
            self._ready = text.encode("utf-8", "surrogateescape")
        given = self._ready[: len(buffer)]
        self._ready = self._ready[len(given) :]
        buffer[: len(given)] = given
        return len(given)


def find_text(path: Path, how: ReadOptions) -> tuple[Text, tuple[str, ...]]:
    """How to read a text file, and what to say of it. Raises DataError if it is not UTF-8 and not certainly another."""
    if how.encoding is not None:
        return _as_told(path, how.encoding), ()
    with open_text(path) as file:
        head = file.read(4)
        for mark, encoding, name in _MARKS:
            if head.startswith(mark):
                return Text(path, encoding, name), (f"read as {name}; {_OVERRULED}",)
        encoding = _wide(head)
        if encoding:
            name = encoding.upper()
            return Text(path, encoding, name), (f"read as {name}; {_OVERRULED}",)
        sample, ended = _sample(file, head, MOST_PACKED if packing(path) else MOST_SAMPLES)
    return _by_content(path, sample, ended)


def _as_told(path: Path, encoding: str) -> Text:
    name = codecs.lookup(encoding).name
    if name in ("utf-8", "utf-8-sig", "ascii"):
        return Text(path)
    text = Text(path, encoding, encoding.upper())
    with text.open() as file:
        sample = file.read(SAMPLE)
    lines = sample.split(b"\n")
    bad = sum(not _is_utf8(line) for line in (lines[:-1] if len(lines) > 1 and len(sample) == SAMPLE else lines))
    if bad * 10 > len(lines):
        raise DataError(
            f"{path} is not {text.name}: {bad:,} of its first {len(lines):,} lines cannot be read so",
            "leave out --encoding to have it found, or name another one",
        )
    return text


def _wide(head: bytes) -> str:
    """UTF-16 or UTF-32 without a mark, by the zero bytes of the first character or two, which are ASCII in data."""
    zeros = bytes(byte == 0 for byte in head)
    patterns = {b"\0\1\1\1": "utf-32-le", b"\1\1\1\0": "utf-32-be", b"\0\1\0\1": "utf-16-le", b"\1\0\1\0": "utf-16-be"}
    return patterns.get(zeros, "")


def _sample(file: IO[bytes], head: bytes, most: int) -> tuple[bytes, bool]:
    """The first part that is not ASCII, as far as it is not too far on, and whether the file ends with it."""
    block = head + file.read(SAMPLE)
    ended = len(block) < SAMPLE
    for _ in range(most):
        if ended or not block.isascii():
            break
        more = file.read(SAMPLE)
        ended = len(more) < SAMPLE
        block = block[block.rfind(b"\n") + 1 :] + more
    return block, ended


def _is_utf8(data: bytes, whole: bool = True) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data, whole)
    except UnicodeDecodeError:
        return False
    return True


def _by_content(path: Path, sample: bytes, ended: bool) -> tuple[Text, tuple[str, ...]]:
    """UTF-8 unless most of what is not ASCII is something else: a damaged line does not make it Latin-1."""
    if sample.isascii() or _is_utf8(sample, ended):
        return Text(path), ()
    lines = sample.split(b"\n")
    if len(lines) > 1 and not ended:
        lines.pop()  # may be cut within a character
    beyond = [line for line in lines if not line.isascii()]
    bad = [line for line in beyond if not _is_utf8(line, whole=len(lines) > 1 or ended)]
    most = 2 * len(bad) >= sum(bool(line.strip()) for line in lines)
    if 10 * (len(beyond) - len(bad)) > len(bad) or not (most or len(bad) >= 3):
        return Text(path), ()
    from rlguide.data.readers.encoding_guess import guess

    encoding, name = guess(b"\n".join(bad))
    if encoding:
        return Text(path, encoding, name.partition(" (")[0]), (f"not UTF-8: read as {name}; {_OVERRULED}",)
    if not most:
        return Text(path), (f"some lines are not UTF-8; if that is another encoding, name it, {USUAL}",)
    raise DataError(f"{path} is not UTF-8, and its encoding is not certain", f"name it, {USUAL}, or save it as UTF-8")
