"""The hubs: which version, which files, and the files themselves; `huggingface.py` and `modelscope.py` ask."""

from __future__ import annotations

import fnmatch
import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rlguide import console
from rlguide.errors import HubError, UsageError, did_you_mean
from rlguide.preferences.hub_names import check_paths
from rlguide.preferences.progress import Ticker, format_bytes

HUBS = {"hf": "main", "modelscope": "master"}  # name -> branch that is meant where none is named
SHARD = re.compile(r"(.*-)(\d{5})-of-(\d{5})(\.\w+)$")
CARD = "README.md"


@dataclass(frozen=True)
class HubFile:
    """A file of a repository. `bytes` and `sha256` are None where the hub does not tell them."""

    path: str
    bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Snapshot:
    """One commit of a dataset repository and the paths in it. `details` is what the listing already told of them."""

    hub_id: str
    revision: str
    commit: str
    paths: tuple[str, ...]
    hub: str = "hf"
    details: tuple[HubFile, ...] = ()


def check_hub(hub: str) -> None:
    """Raises UsageError unless the hub is one that is known."""
    if hub not in HUBS:
        raise UsageError(
            f"there is no hub {hub}{did_you_mean(hub, list(HUBS))}",
            f"choose one of {', '.join(HUBS)} with --hub, or unset RLGUIDE_HUB",
        )


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids the network. Raises UsageError if a setting that the client reads is broken."""
    try:
        from huggingface_hub import constants
    except ValueError as error:  # raised as it is imported
        raise UsageError(
            f"a setting of the hub's client is not a whole number ({error})",
            "check HF_HUB_DOWNLOAD_TIMEOUT and HF_HUB_ETAG_TIMEOUT: seconds, for example 20",
        ) from error
    return bool(constants.HF_HUB_OFFLINE)


def find_snapshot(hub_id: str, revision: str, hub: str = "hf") -> Snapshot:
    """Resolve a revision (branch, tag or commit) to a commit and list its files; offline, from the cache.

    A revision is always named: mirrors serve the named ones only.

    Raises:
        HubError: not reachable, not found, not allowed, offline and not in the cache, or a file's name is not safe.
    """
    if hub == "modelscope":
        from rlguide.preferences import modelscope

        found = modelscope.find_snapshot(hub_id, revision)
    else:
        from rlguide.preferences import huggingface

        found = huggingface.find_snapshot(hub_id, revision)
    check_paths(hub_id, found.paths)
    return found


def match_files(snapshot: Snapshot, patterns: tuple[str, ...]) -> list[str]:
    """The paths of the first pattern that matches any, sorted.

    Raises:
        HubError: no pattern matches, or a numbered part (`-00001-of-00003`) is not there.
    """
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
    for path in paths:
        match = SHARD.match(path)
        if match:
            prefix, _, total, suffix = match.groups()
            for number in range(int(total)):
                part = f"{prefix}{number:05d}-of-{total}{suffix}"
                if part not in paths:
                    raise HubError(
                        f"{snapshot.hub_id} at {snapshot.commit[:12]}: the part {part} is not there",
                        "unset HF_HUB_OFFLINE and download again" if is_offline() else "name another --revision",
                    )


def file_details(snapshot: Snapshot, paths: list[str]) -> list[HubFile]:
    """Sizes and checksums of files, as far as the hub tells them. Raises HubError like `find_snapshot`."""
    if snapshot.hub == "modelscope":
        known = {file.path: file for file in snapshot.details}
        return [known[path] for path in paths]
    from rlguide.preferences import huggingface

    return huggingface.file_details(snapshot, paths)


def fetch_file(snapshot: Snapshot, file: HubFile, force: bool = False) -> tuple[Path, str]:
    """Fetch one file into the cache, resuming a download that was cut off; return it and its sha256.

    Faults of the hub and of the network are waited out; a file with a wrong checksum is fetched once more.

    Args:
        force: fetch it again although the cache has it.

    Raises:
        HubError: it cannot be fetched, or is not what the hub says it is.
    """
    size = f" ({format_bytes(file.bytes)})" if file.bytes is not None else ""
    console.say(f"  {file.path}{size}")
    if snapshot.hub == "modelscope":
        from rlguide.preferences import modelscope

        return modelscope.fetch_file(snapshot, file, force)
    from rlguide.preferences import huggingface

    return huggingface.fetch_file(snapshot, file, force)


def read_card(snapshot: Snapshot) -> str:
    """The text of the dataset's card (README.md), "" if it has none. Raises HubError like `fetch_file`."""
    if CARD not in snapshot.paths:
        return ""
    path, _ = fetch_file(snapshot, file_details(snapshot, [CARD])[0])
    return path.read_text(encoding="utf-8", errors="replace")


@contextmanager
def watched(what: str, total: int | None, size: Callable[[], int]) -> Iterator[None]:
    """Show how many bytes there are, now and then, while the block fetches them: also while none come."""
    ended = threading.Event()

    def watch() -> None:
        with Ticker(what, "bytes", total) as ticker:
            while not ended.wait(0.25):
                ticker.update(size())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join(2.0)


def digests(path: Path, git: bool = False) -> tuple[str, str | None]:
    """The sha256 of a file and, if asked for, its id as a git blob (sha1 of a header and the content)."""
    size = path.stat().st_size
    digest = hashlib.sha256()
    blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False) if git else None
    with Ticker(f"checking {path.name}", "bytes", size) as ticker, path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            if blob is not None:
                blob.update(block)
            ticker.update(file.tell())
    return digest.hexdigest(), blob.hexdigest() if blob is not None else None
