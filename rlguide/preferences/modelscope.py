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
from rlguide.errors import HubError
from rlguide.preferences.hub import HubFile, Snapshot, digests, is_offline
from rlguide.preferences.progress import Ticker
from rlguide.preferences.retry import GaveUp, Patience
from rlguide.workspace import locked, user_cache

if TYPE_CHECKING:
    import requests

    from rlguide.preferences.hub_session import PatientSession

ADDRESS = "https://modelscope.cn"
PAGE = 200  # entries of one page of the tree, as its own client asks for
MOST_PAGES = 1000
CONNECT = 10.0  # seconds
SILENCE = 20.0  # seconds without a byte, unless MODELSCOPE_DOWNLOAD_TIMEOUT says otherwise


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


def _page(session: PatientSession, hub_id: str, revision: str, number: int) -> list[dict[str, Any]]:
    import requests

    query = {"Revision": revision, "Recursive": "True", "PageNumber": str(number), "PageSize": str(PAGE)}
    response = session.get(_address(hub_id, "repo/tree"), params=query, timeout=_timeout())
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
    if path.startswith("/") or ".." in path.split("/"):
        raise HubError(f"{_name()} lists a file outside its repository: {path!r}", "report it to the hub")
    size, digest = entry.get("Size"), str(entry.get("Sha256") or "").lower()
    return HubFile(
        path, size if isinstance(size, int) else None, digest if re.fullmatch(r"[0-9a-f]{64}", digest) else None
    )


def fetch_file(snapshot: Snapshot, file: HubFile, force: bool) -> tuple[Path, str]:
    """As `hub.fetch_file`; the cache is a folder of rlguide's own."""
    # What the content is decides the folder, so a changed file never meets an older one.
    content = file.sha256 or hashlib.sha256(f"{snapshot.commit}\t{file.path}".encode()).hexdigest()
    target = user_cache() / "modelscope" / snapshot.hub_id.replace("/", "--") / content[:32] / Path(file.path).name
    with _storing(snapshot.hub_id), locked(target):
        part = target.with_name(f"{target.name}.part")
        if force:
            target.unlink(missing_ok=True)
            part.unlink(missing_ok=True)
        for again in (True, False):
            if not target.exists():
                _transfer(snapshot, file, part)
                part.replace(target)
            digest, _ = digests(target)
            if file.sha256 in (None, digest) and file.bytes in (None, target.stat().st_size):
                return target, digest
            target.unlink()
            if again:
                console.say(f"  {file.path} is not what the hub says it is: fetching it once more")
    raise HubError(
        f"{file.path} of {snapshot.hub_id} is not what the hub says it is (wrong size or checksum)",
        "the damaged file is removed: try again later",
    )


def _transfer(snapshot: Snapshot, file: HubFile, part: Path) -> None:
    """Fetch the bytes that `part` lacks."""
    from rlguide.preferences.hub_session import BrokenTransfer

    patience = Patience()
    with _session() as session, Ticker(f"fetching {file.path}", "bytes", file.bytes) as ticker:
        while True:
            if part.exists() and file.bytes is not None and part.stat().st_size > file.bytes:
                part.unlink()
            try:
                _append(session, snapshot, file, part, ticker)
                if file.bytes is None or part.stat().st_size >= file.bytes:
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


def _append(session: PatientSession, snapshot: Snapshot, file: HubFile, part: Path, ticker: Ticker) -> None:
    have = part.stat().st_size if part.exists() else 0
    if have and have == file.bytes:
        return
    query = {"Revision": snapshot.revision, "FilePath": file.path}
    headers = {"Range": f"bytes={have}-"} if have else {}
    with session.get(
        _address(snapshot.hub_id, "repo"), params=query, headers=headers, stream=True, timeout=_timeout()
    ) as response:
        if response.status_code == 416:  # what is here is not the beginning of what is there
            part.unlink()
            return
        _check(response, snapshot.hub_id, snapshot.revision)
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab" if response.status_code == 206 else "wb") as written:
            for block in response.iter_content(1 << 20):
                written.write(block)
                ticker.update(written.tell())


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
def _session() -> Iterator[PatientSession]:
    """A session that carries the token: as a header, and as the cookie that older parts of the API read."""
    from urllib.parse import urlsplit

    import requests

    from rlguide.preferences.hub_session import HubName, PatientSession

    session = PatientSession(HubName(_name(), "name another hub with --hub hf"))
    session.headers["User-Agent"] = "rlguide"
    token = os.environ.get("MODELSCOPE_API_TOKEN", "").strip()
    if token:
        session.headers["Authorization"] = f"Bearer {token}"
        session.cookies.set("m_session_id", token, domain=urlsplit(endpoint()).hostname or "", path="/")
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
