"""Files that hold no rows that can be read, told by their first bytes, and what to do with each."""

from __future__ import annotations

import re
from pathlib import Path

from rlguide.errors import DataError

_UNPACK = "unpack it and register the folder, or one file of it"
_NEVER_LOADED = "save its rows as JSON lines or Parquet: loading such a file may run any code that is in it"
# At which byte what stands there, what that is, and what to do.
MAGIC: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"version https://git-lfs.github.com/spec/", "a Git LFS pointer, not the data itself", "git lfs pull"),
    (0, b"/annex/objects/", "a git-annex pointer, not the data itself", "git annex get"),
    (0, b"SQLite format 3\0", "an SQLite database", "export the table as CSV"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (0, b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old or a protected Excel file", "save the table as .xlsx or .csv"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file", "save its rows as JSON lines or Parquet"),
    (0, b"\x93NUMPY", "a NumPy array", "save its rows as JSON lines or Parquet"),
    (0, b"FEA1", "a Feather file of version 1", "write it again with a newer pandas or Arrow"),
    (0, b"ORC", "an ORC file", "save its rows as Parquet"),
    (0, b"Obj\x01", "an Avro file", "save its rows as Parquet"),
    (0, b"%PDF-", "a PDF file", "name a file with rows of data"),
    (0, b"\x89PNG", "a picture", "name a file with rows of data"),
    (0, b"\xff\xd8\xff", "a picture", "name a file with rows of data"),
)
_PICKLE = re.compile(rb"\x80[\x02-\x05](?:\x95|[\]}()\x8a\x8c]|c)")  # protocols 2 to 5 and what they begin with
_WEB_PAGE = re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)?<(?:!doctype html|html|head|body)\b", re.I | re.S)
_TITLE = re.compile(rb"<title[^>]*>([^<]{1,80})", re.I)


def refuse_foreign(path: Path, head: bytes) -> None:
    """Raises DataError for a file that begins so and holds no rows that can be read."""
    for at, magic, what, fix in MAGIC:
        if head.startswith(magic, at):
            raise DataError(f"{path} is {what}", fix)
    if _PICKLE.match(head):
        raise DataError(f"{path} is a pickle of Python, which is never loaded", _NEVER_LOADED)
    text = head.removeprefix(b"\xef\xbb\xbf")
    if _WEB_PAGE.match(text):
        title = _TITLE.search(head)
        called = f" ({' '.join(title[1].decode('utf-8', 'replace').split())})" if title else ""
        raise DataError(
            f"{path} is a web page{called}, not data",
            "fetch the file itself: of a hub's file, the address has /resolve/ in place of /blob/, "
            "or use rlguide download ORG/NAME",
        )
    if re.match(rb"\s*<\?xml\b", text):
        raise DataError(f"{path} is XML", "convert it to JSON lines: one object with a pair a line")
