"""The hubs: which version, which files, and the files themselves; `huggingface.py` and `modelscope.py` ask."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from pathlib import Path

from rlguide import console
from rlguide.console import UNSAFE, escaped
from rlguide.data.hubs import huggingface, modelscope
from rlguide.data.hubs.base import HubFile, Snapshot
from rlguide.data.names import missing_part
from rlguide.errors import HubError, UsageError, did_you_mean
from rlguide.hub_settings import is_offline
from rlguide.progress import format_bytes

HUBS = {"hf": "main", "modelscope": "master"}  # name -> branch that is meant where none is named
CLIENTS = {"hf": huggingface, "modelscope": modelscope}
CACHES = {"hf": "HF_HOME", "modelscope": "XDG_CACHE_HOME"}  # the variable that says where
SHARD = re.compile(r"(.*-)\d{5}-of-(\d{5})(\.\w+)$")
CARD = "README.md"
LONGEST_NAME = 255  # bytes of one name in a path: the limit of the usual file systems
MOST_SHOWN = 60  # characters of a name in a message


def check_hub(hub: str) -> None:
    """Raises UsageError unless the hub is one that is known."""
    if hub not in HUBS:
        raise UsageError(
            f"there is no hub {hub}{did_you_mean(hub, list(HUBS))}",
            f"choose one of {', '.join(HUBS)} with --hub, or unset RLGUIDE_HUB",
        )


def find_snapshot(hub_id: str, revision: str, hub: str = "hf") -> Snapshot:
    """Resolve a revision (branch, tag or commit) to a commit and list its files; offline, from the cache.

    A revision is always named: mirrors serve the named ones only. Raises HubError: not reachable, not found, not
    allowed, offline and not in the cache, or a file's name is not safe.
    """
    found: Snapshot = CLIENTS[hub].find_snapshot(hub_id, revision)
    check_paths(hub_id, found.paths)
    return found


def check_paths(where: str, paths: Iterable[str]) -> None:
    """Raises HubError for a path that leaves the repository, acts on the screen, or that no file can have.

    Whoever publishes a dataset chooses the names, and they reach the screen and the file system.
    """
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


def match_files(snapshot: Snapshot, patterns: tuple[str, ...]) -> list[str]:
    """The paths of the first pattern that matches any, sorted; none for no patterns.

    Raises HubError if none of the patterns matches, or as `check_shards`.
    """
    if not patterns:
        return []
    for pattern in patterns:
        # fnmatch's * crosses folders; only a pattern that says so (**) should.
        found = sorted(
            path
            for path in snapshot.paths
            if fnmatch.fnmatchcase(path, pattern) and ("**" in pattern or path.count("/") == pattern.count("/"))
        )
        if found:
            check_shards(snapshot, found)
            return found
    raise HubError(
        f"{snapshot.hub_id} at {snapshot.commit[:12]} has no file {' or '.join(patterns)}",
        "its layout may have changed: name an older commit with --revision, or fetch a file and `rlguide register` it",
    )


def check_shards(snapshot: Snapshot, paths: list[str]) -> None:
    """Raises HubError if a numbered part (`-00001-of-00003`) of one of the files is not among them."""
    if part := missing_part(SHARD, paths):
        raise HubError(
            f"{snapshot.hub_id} at {snapshot.commit[:12]}: the part {part} is not there",
            "unset HF_HUB_OFFLINE and download again" if is_offline() else "name another --revision",
        )


def file_details(snapshot: Snapshot, paths: list[str]) -> list[HubFile]:
    """Sizes and checksums of files, as far as the hub tells them. Raises HubError like `find_snapshot`."""
    details: list[HubFile] = CLIENTS[snapshot.hub].file_details(snapshot, paths)
    return details


def fetch_file(snapshot: Snapshot, file: HubFile, force: bool = False) -> tuple[Path, str]:
    """Fetch one file into the cache, resuming a download that was cut off; return it and its sha256.

    Retries with exponential backoff; a file with a wrong checksum is fetched once more, and with `force` one that the
    cache has. Raises HubError: it cannot be fetched or stored, or is not what the hub says it is.
    """
    size = f" ({format_bytes(file.bytes)})" if file.bytes is not None else ""
    console.say(f"  {file.path}{size}")
    try:
        fetched: tuple[Path, str] = CLIENTS[snapshot.hub].fetch_file(snapshot, file, force)
    except OSError as error:
        raise HubError(
            f"cannot store {snapshot.hub_id} in {error.filename or 'the cache'}: {error.strerror or error}",
            f"free some disk space, or set {CACHES[snapshot.hub]} to a folder on another disk",
        ) from None
    return fetched


def read_card(snapshot: Snapshot) -> str:
    """The text of the dataset's card (README.md), "" if it has none. Raises HubError like `fetch_file`."""
    if CARD not in snapshot.paths:
        return ""
    path, _ = fetch_file(snapshot, file_details(snapshot, [CARD])[0])
    return path.read_text(encoding="utf-8", errors="replace")
