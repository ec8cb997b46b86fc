"""What both hubs share: files, snapshots, offline mode, progress, checksums."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rlguide.errors import UsageError
from rlguide.progress import Ticker


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
