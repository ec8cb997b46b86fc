"""Names that a hub tells: whoever publishes a dataset chooses them, and they reach the screen and the file system."""

from __future__ import annotations

from collections.abc import Iterable

from rlguide.console import UNSAFE, escaped
from rlguide.errors import HubError

LONGEST_NAME = 255  # bytes of one name in a path: the limit of the usual file systems
MOST_SHOWN = 60  # characters of a name in a message


def check_paths(where: str, paths: Iterable[str]) -> None:
    """Raises HubError for a path that leaves the repository, acts on the screen, or that no file can have."""
    for path in paths:
        fault = _fault(path)
        if fault:
            raise HubError(
                f"{where} lists a file {fault}: '{printable(path)}'",
                "tell its owner; another --revision may be free of it",
            )


def _fault(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/"):
        return "outside its repository"
    if path.isascii() and path.isprintable() and len(path) <= LONGEST_NAME:
        return ""  # nearly all of them
    if UNSAFE.search(path):
        return "whose name holds control characters"
    longest = max(len(name.encode()) for name in path.split("/"))
    return f"with a name of {longest} bytes ({LONGEST_NAME} at most)" if longest > LONGEST_NAME else ""


def printable(text: str) -> str:
    """The text with what could act on a screen escaped (\\x1b), and not longer than a line."""
    return escaped(text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}...")
