"""The bytes of a file, unpacked if it is compressed: gzip, zstd, bzip2, xz, or a zip with one data file."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from rlguide.data.readers.source import ABOUT, LATE_SUFFIXES, SUFFIXES, data_suffix, named, text_suffix
from rlguide.errors import DataError

MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"PK\x03\x04": "zip"}
# Text packs to a fifth, repetitive JSON to a hundredth. What unpacks to more than both of these is made to fill memory.
MOST_UNPACKED = 1 << 30  # bytes
MOST_TIMES = 200
AHEAD = 1 << 18  # bytes read at a time: lines of several kB come in half of the time that they take with Python's 8 kB
_SYSTEM = ("__MACOSX/", "Thumbs.db", "desktop.ini")  # what file managers put into archives


def packing(path: Path) -> str:
    """How a file is compressed, by its first bytes: "gzip", "zstd", "bzip2", "xz", "zip" or ""."""
    with path.open("rb") as file:
        head = file.read(6)
    return next((name for magic, name in MAGIC.items() if head.startswith(magic)), "")


@contextmanager
def open_text(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked if it is compressed. Nothing is written to disk.

    Raises:
        DataError: in the block, when a compressed file is cut short, broken, or a zip with more than one data file.
        OSError: like `open`.
    """
    packed = packing(path)
    if not packed:
        with path.open("rb", AHEAD) as file:
            yield file
        return
    import lzma

    broken = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError, OSError)
    try:
        with _unpacked(path, packed) as raw, io.BufferedReader(_Bounded(raw, path), 1 << 20) as file:
            yield file  # buffered: their own way to find a line is slow
    except broken as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk, not the contents
            raise
        raise DataError(
            f"{path} is not a complete {packed} file: {error or 'it is cut short'}", "fetch or compress the file again"
        ) from error


@contextmanager
def _unpacked(path: Path, packed: str) -> Iterator[Any]:
    if packed == "zip":
        with zipfile.ZipFile(path) as archive, archive.open(zip_member(path, archive)) as inner:
            yield inner
    elif packed == "zstd":
        import pyarrow as pa

        with pa.input_stream(str(path), compression="zstd") as stream:
            yield stream
    else:
        import bz2
        import gzip
        import lzma

        kinds: dict[str, Any] = {"gzip": gzip.GzipFile, "bzip2": bz2.BZ2File, "xz": lzma.LZMAFile}
        with kinds[packed](path) as file:
            yield file


class _Bounded(io.RawIOBase):
    """A stream that refuses to become absurdly larger than the file it is unpacked from."""

    def __init__(self, raw: Any, path: Path) -> None:
        self._raw, self._path, self._given = raw, path, 0
        self._most = max(MOST_UNPACKED, MOST_TIMES * path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = int(self._raw.readinto(buffer))
        self._given += count
        if self._given > self._most:
            raise DataError(
                f"{self._path} unpacks to more than {MOST_TIMES} times its size, as no text does",
                "if you trust it, unpack it yourself and name what comes out",
            )
        return count


def zip_member(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """The one data file in a zip; its name is never used as a path. Raises DataError if there is none, or several."""
    inside = [one for one in archive.infolist() if not one.is_dir() and not _is_aside(one.filename)]
    by_kind = ([one for one in inside if _suffix(one) in kinds] for kinds in (SUFFIXES, LATE_SUFFIXES))
    data = next(filter(None, by_kind), inside)
    if len(data) != 1:
        several = f"holds {len(data)} data files: {named([one.filename for one in data])}"
        what = several if data else "holds no data file"
        fix = "unpack it and register the folder, or one file of it" if data else "name an archive with one data file"
        raise DataError(f"{path} {what}", fix)
    if data[0].flag_bits & 1:
        raise DataError(f"{path} is protected with a password", "unpack it and name the file in it")
    return data[0]


def inner_suffix(path: Path, packed: str) -> str:
    """The suffix that tells the kind of text: of a zip, that of the file in it. Raises as `open_text`."""
    if packed != "zip":
        return text_suffix(path) if packed else path.suffix.lower()
    try:
        with zipfile.ZipFile(path) as archive:
            return _suffix(zip_member(path, archive))
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise DataError(f"{path} is not a complete zip file: {error}", "fetch or compress the file again") from error


def _suffix(member: zipfile.ZipInfo) -> str:
    return data_suffix(Path(PurePosixPath(member.filename).name or "-"))


def _is_aside(name: str) -> bool:
    parts = name.split("/")
    return (
        name.startswith(_SYSTEM)
        or parts[-1] in (*_SYSTEM, *ABOUT)
        or any(part.startswith(".") and part.strip(".") for part in parts)
    )


def is_spreadsheet(path: Path) -> bool:
    """Whether a zip is an Excel workbook. Raises DataError for other office files, and for PyTorch's pickles."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False  # said when it is opened
    if any(name.endswith("/data.pkl") or name == "data.pkl" for name in names):
        raise DataError(
            f"{path} is a file of PyTorch, which may run any code when it is loaded", "save its rows as JSON lines"
        )
    if "content.xml" in names and "mimetype" in names:
        raise DataError(f"{path} is an OpenDocument file", "save the table as .xlsx or .csv")
    if "word/document.xml" in names or "ppt/presentation.xml" in names:
        raise DataError(f"{path} is an office document, not a table", "save its table as .xlsx or .csv")
    return "xl/workbook.xml" in names or "xl/workbook.bin" in names
