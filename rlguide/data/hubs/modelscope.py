"""ModelScope: a small client of the part of its HTTP API that datasets need.

What its own client (`modelscope_hub`) asks for, too: the tree, in pages, and a file, by revision and path. That client
is not used here because it reads its stored login with pickle, and because it would be one more dependency. So a token
comes from MODELSCOPE_API_TOKEN only; MODELSCOPE_ENDPOINT (older: MODELSCOPE_DOMAIN) names another address.

There is no commit in the answers. What stands for it is a checksum over all paths, sizes and sha256 of the revision.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rlguide import console
from rlguide.data.hubs.base import HubFile, Snapshot, digests, is_offline, watched
from rlguide.data.hubs.retry import Backoff, GaveUp
from rlguide.errors import HubError
from rlguide.locks import Locked, in_turn, locked
from rlguide.workspace import user_cache

if TYPE_CHECKING:
    import requests

    from rlguide.data.hubs.session import RetryingSession


ADDRESS = "https://modelscope.cn"
PAGE = 200  # entries of one page of the tree, as its own client asks for
MOST_PAGES = 1000
CONNECT = 10.0  # seconds
SILENCE = 20.0  # seconds without a byte, unless MODELSCOPE_DOWNLOAD_TIMEOUT says otherwise
LONGEST_NAME = 60  # characters of a name in the cache, beside which its lock and its part have longer ones


def endpoint() -> str:
    """The hub's address: MODELSCOPE_ENDPOINT, MODELSCOPE_DOMAIN, or modelscope.cn."""
    given = os.environ.get("MODELSCOPE_ENDPOINT") or os.environ.get("MODELSCOPE_DOMAIN") or ADDRESS
    return (given if "://" in given else f"https://{given}").strip().rstrip("/")


def _timeout() -> tuple[float, float]:
    given = os.environ.get("MODELSCOPE_DOWNLOAD_TIMEOUT", "")
    return CONNECT, float(given) if given.isascii() and given.isdigit() and int(given) else SILENCE


def _name() -> str:
    return re.sub(r"//[^/@]*@", "//", endpoint())


def find_snapshot(hub_id: str, revision: str) -> Snapshot:
    """As `hub.find_snapshot`. Offline nothing can be resolved: this hub has no commits that a cache could keep."""
    if is_offline():
        raise HubError(
            f"HF_HUB_OFFLINE forbids asking {_name()} for {hub_id}", "unset HF_HUB_OFFLINE and run the same command"
        )
    entries: list[dict[str, Any]] = []
    with _session() as session:
        for number in range(1, MOST_PAGES + 1):
            page = _page(session, hub_id, revision, number)
            entries += page
            if len(page) < PAGE:
                break
    files = sorted((_file(entry) for entry in entries if entry.get("Type") != "tree"), key=lambda file: file.path)
    listing = "\n".join(f"{file.path}\t{file.bytes}\t{file.sha256}" for file in files)
    commit = hashlib.sha256(listing.encode()).hexdigest()[:40]
    return Snapshot(hub_id, revision, commit, tuple(file.path for file in files), "modelscope", tuple(files))


def _page(session: RetryingSession, hub_id: str, revision: str, number: int) -> list[dict[str, Any]]:
    import requests

    query = {"Revision": revision, "Recursive": "True", "PageNumber": str(number), "PageSize": str(PAGE)}
    response = session.get(_address(hub_id, "repo/tree"), params=query)
    _check(response, hub_id, revision)
    try:
        body = response.json()
    except requests.RequestException:
        body = None
    data = body.get("Data") if isinstance(body, dict) else None
    entries = data.get("Files") if isinstance(data, dict) else data
    if isinstance(body, dict) and body.get("Success") is False:
        raise _unknown(hub_id, revision)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) and entry.get("Path") for entry in entries):
        raise _foreign("no list of files")
    return entries


def _file(entry: dict[str, Any]) -> HubFile:
    path = str(entry["Path"])
    size, digest = entry.get("Size"), str(entry.get("Sha256") or "").lower()
    return HubFile(
        path, size if isinstance(size, int) else None, digest if re.fullmatch(r"[0-9a-f]{64}", digest) else None
    )


def fetch_file(snapshot: Snapshot, file: HubFile, force: bool) -> tuple[Path, str]:
    """As `hub.fetch_file`; the cache is a folder of rlguide's own."""
    # A folder for the file and in it one for its content, so a changed file never meets an older one.
    content = file.sha256 or _hash(f"{snapshot.commit}\t{file.path}")
    versions = user_cache() / "modelscope" / snapshot.hub_id.replace("/", "--") / _hash(file.path)[:16]
    target = versions / content[:32] / Path(file.path).name[-LONGEST_NAME:]
    busy = f"  another rlguide is fetching {file.path}: waiting for that to end"
    with _storing(snapshot.hub_id), in_turn(target, busy):
        part = target.with_name(f"{target.name}.part")
        if force or file.sha256 is None:  # without a checksum nothing tells whether what is here is what is there now
            part.unlink(missing_ok=True)
        elif target.exists():
            digest = _checked(target, file)
            if digest is not None:
                return target, digest
            target.unlink()
            _say_damaged(file)
        for again in (True, False):
            _transfer(snapshot, file, part)
            digest = _checked(part, file)
            if digest is not None:
                part.replace(target)  # another rlguide may be reading the one that was there
                _remove_other_parts(versions, target)
                return target, digest
            part.unlink()
            if again:
                _say_damaged(file)
    raise HubError(
        f"{file.path} of {snapshot.hub_id} is not what the hub says it is (wrong size or checksum)",
        "the damaged file is removed: try again later",
    )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _say_damaged(file: HubFile) -> None:
    console.say(f"  {file.path} is not what the hub says it is: fetching it once more")


def _remove_other_parts(versions: Path, target: Path) -> None:
    """Delete what was fetched of other versions of a file that now is here whole, unless somebody is fetching them."""
    for part in versions.glob("*/*.part"):
        if part.parent == target.parent:
            continue
        try:
            with locked(part.with_name(part.name.removesuffix(".part")), timeout=0.0):
                part.unlink(missing_ok=True)
        except Locked:
            continue


def _checked(path: Path, file: HubFile) -> str | None:
    """The sha256 of a fetched file, None if it is not what the hub says."""
    digest, _ = digests(path)
    return digest if file.sha256 in (None, digest) and file.bytes in (None, path.stat().st_size) else None


def _transfer(snapshot: Snapshot, file: HubFile, part: Path) -> None:
    """Fetch the bytes that `part` lacks."""
    from rlguide.data.hubs.session import BrokenTransfer

    patience = Backoff()
    with _session() as session, watched(f"fetching {file.path}", file.bytes, lambda: _size(part)):
        while True:
            if file.bytes is not None and _size(part) > file.bytes:
                part.unlink()
            try:
                _append(session, snapshot, file, part)
                if file.bytes is None or _size(part) >= file.bytes:
                    return
                fault = "the file came too short"
            except BrokenTransfer as error:
                fault = f"the transfer cannot be continued ({error})"
            try:
                patience.wait(fault)
            except GaveUp as gave_up:
                raise HubError(
                    f"{file.path} of {snapshot.hub_id} did not come whole in {gave_up.tries} tries ({fault})",
                    "run the same command again later",
                ) from None


def _append(session: RetryingSession, snapshot: Snapshot, file: HubFile, part: Path) -> None:
    """Ask for what `part` lacks, and add what comes; without a checksum ask for all: it may be another file by now."""
    from rlguide.data.hubs.session import BrokenTransfer

    have = _size(part) if file.sha256 is not None else 0
    if have and have == file.bytes:
        return
    query = {"Revision": snapshot.revision, "FilePath": file.path}
    headers = {"Range": f"bytes={have}-"} if have else {}
    with session.get(_address(snapshot.hub_id, "repo"), params=query, headers=headers, stream=True) as response:
        if response.status_code == 416:  # what is here is not the beginning of what is there
            part.unlink(missing_ok=True)
            raise BrokenTransfer("HTTP 416")
        _check(response, snapshot.hub_id, snapshot.revision)
        with part.open("ab" if have and response.status_code == 206 else "wb") as written:
            for block in response.iter_content(1 << 20):
                written.write(block)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _address(hub_id: str, what: str) -> str:
    return f"{endpoint()}/api/v1/datasets/{quote(hub_id)}/{what}"


def _check(response: requests.Response, hub_id: str, revision: str) -> None:
    if response.status_code in (401, 403):
        raise HubError(
            f"{_name()} refuses {hub_id} (HTTP {response.status_code})",
            "set MODELSCOPE_API_TOKEN to a token of an account that may read it",
        )
    if response.status_code == 404:
        raise _unknown(hub_id, revision)
    if not response.ok:
        raise HubError(f"{_name()} failed on {hub_id} (HTTP {response.status_code})", "try again later")


def _foreign(what: str) -> HubError:
    return HubError(
        f"{_name()} does not answer as ModelScope does ({what})", "check MODELSCOPE_ENDPOINT and MODELSCOPE_DOMAIN"
    )


def _unknown(hub_id: str, revision: str) -> HubError:
    return HubError(
        f"{_name()} knows no dataset {hub_id} at revision {revision}, or does not show it to you",
        "check the id and --revision; set MODELSCOPE_API_TOKEN if the dataset is private",
    )


@contextmanager
def _session() -> Iterator[RetryingSession]:
    """A session that carries the token: as a header, and as the cookie that older parts of the API read."""
    import requests

    from rlguide.data.hubs.session import HubName, RetryingSession

    token = os.environ.get("MODELSCOPE_API_TOKEN", "").strip()
    cookie = f"m_session_id={token}" if token else ""
    session = RetryingSession(HubName(_name(), "name another hub with --hub hf"), _timeout(), cookie, endpoint())
    session.headers["User-Agent"] = "rlguide"
    if token:
        session.headers["Authorization"] = f"Bearer {token}"
    try:
        with session:
            yield session
    except requests.RequestException as error:
        raise _foreign(type(error).__name__) from None


@contextmanager
def _storing(hub_id: str) -> Iterator[None]:
    """Turn a failure of the disk into a sentence."""
    try:
        yield
    except OSError as error:
        raise HubError(
            f"cannot store {hub_id} in {user_cache()}: {error.strerror or type(error).__name__}",
            "free some disk space, or set XDG_CACHE_HOME to a folder on another disk",
        ) from None
