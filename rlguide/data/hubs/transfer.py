"""A file of either hub into a cache: parts are resumed, checksums compared, one rlguide fetches it at a time."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rlguide import console
from rlguide.data.hubs.base import Hub, HubFile
from rlguide.errors import HubError
from rlguide.locks import in_turn
from rlguide.network.retry import Backoff
from rlguide.progress import Ticker

if TYPE_CHECKING:
    import requests

    from rlguide.data.hubs.session import RetryingSession

BLOCK = 1 << 17  # bytes: what a cut connection can lose at most


@dataclass(frozen=True)
class Remote:
    """A file as a hub serves it: what is asked for, and the dataset it belongs to."""

    hub: Hub
    hub_id: str
    file: HubFile
    path: str  # of the address
    query: dict[str, str]


def fetch(remote: Remote, target: Path, part: Path, force: bool) -> str:
    """Fetch a file to `target`, resuming what is already in `part`; return its sha256.

    What is at `target` already is kept if it is what the hub says it is; with `force` nothing of what is there is
    used. Raises HubError: it cannot be fetched, or is not what the hub says it is. OSError: it cannot be stored.
    """
    file = remote.file
    with in_turn(target, f"  another rlguide is fetching {file.path}: waiting for that to end"):
        if force:
            part.unlink(missing_ok=True)
        elif target.exists():
            if digest := checked(target, file):
                return digest
            target.unlink()
            say_damaged(file)
        for again in (True, False):
            _transfer(remote, part)
            if digest := checked(part, file):
                part.replace(target)  # another rlguide may be reading the one that was there
                return digest
            part.unlink()
            if again:
                say_damaged(file)
    raise damaged(remote.hub_id, file)


def checked(path: Path, file: HubFile) -> str | None:
    """The sha256 of a fetched file, None if it is not what the hub says."""
    size = path.stat().st_size
    digest = hashlib.sha256()
    blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False) if file.git_id else None
    with Ticker(f"checking {path.name}", "bytes", size) as ticker, path.open("rb") as content:
        while block := content.read(1 << 20):
            digest.update(block)
            if blob is not None:
                blob.update(block)
            ticker.update(content.tell())
    told = (file.bytes, file.sha256, file.git_id)
    found = (size, digest.hexdigest(), blob.hexdigest() if blob is not None else None)
    return digest.hexdigest() if all(a in (None, b) for a, b in zip(told, found, strict=True)) else None


def say_damaged(file: HubFile) -> None:
    """Say that a file is fetched anew, and why."""
    console.say(f"  {file.path} is not what the hub says it is: fetching it once more")


def damaged(hub_id: str, file: HubFile) -> HubError:
    """The error for a file whose content is wrong again."""
    return HubError(
        f"{file.path} of {hub_id} is not what the hub says it is (wrong size or checksum)",
        "the damaged file is removed: try again later, or another mirror",
    )


def size_of(path: Path) -> int:
    """Bytes of a file, 0 if it is not there."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


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


def _transfer(remote: Remote, part: Path) -> None:
    """Fetch the bytes that `part` lacks, request after request, each from the byte on that was reached."""
    from rlguide.data.hubs.session import open_session
    from rlguide.network.faults import FAULTS, fault_name

    file, backoff, tags = remote.file, Backoff(), set[str]()
    reached = size_of(part)
    with open_session(remote.hub) as session, watched(f"fetching {file.path}", file.bytes, lambda: size_of(part)):
        while True:
            try:
                fault = _append(session, remote, part, backoff, tags)
            except FAULTS as error:
                fault = fault_name(error)
            if not fault:
                return
            if size_of(part) > reached:
                backoff.progress()
                reached = size_of(part)
            session.wait(backoff, f"the transfer broke off ({fault})", fault)


def _append(session: RetryingSession, remote: Remote, part: Path, backoff: Backoff, tags: set[str]) -> str:
    """Ask for what `part` lacks and add what comes; returns why there must be another request, "" if it is whole.

    `tags` holds the strong ETag of the first response: two responses with the same one have the same bytes.
    """
    file = remote.file
    if file.bytes is not None and size_of(part) > file.bytes:
        part.unlink()
    have = size_of(part)
    if have and have == file.bytes:
        return ""
    # A range counts the bytes of what is sent: compressed bodies could not be resumed.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    url = f"{remote.hub.url}{remote.path}"
    with session.request("GET", url, backoff, params=remote.query, headers=headers, stream=True) as response:
        if response.status_code != 416:
            session.check(response, remote.hub_id)
        if problem := _misfit(response, have, tags):
            part.unlink(missing_ok=True)
            return problem
        with part.open("ab" if response.status_code == 206 else "wb") as written:
            for block in response.iter_content(BLOCK):
                written.write(block)
    return "" if file.bytes is None or size_of(part) >= file.bytes else "the file came too short"


def _misfit(response: requests.Response, have: int, tags: set[str]) -> str:
    """Why a response cannot be added to the first `have` bytes, "" if it can."""
    tag = response.headers.get("ETag", "")
    if tag and not tag.startswith("W/"):
        tags.add(tag)
    if len(tags) > 1:
        tags.clear()
        return "the file was changed meanwhile"
    given = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if response.status_code == 416 or (response.status_code == 206 and not (given and int(given[1]) == have)):
        return f"HTTP {response.status_code}"
    return ""
