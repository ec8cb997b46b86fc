"""ModelScope: a small client of the part of its HTTP API that datasets need.

What its own client (`modelscope_hub`) asks for, too: the tree, in pages, and a file, by revision and path. That client
is not used here because it reads its stored login with pickle, and because it would be one more dependency. So a token
comes from MODELSCOPE_API_TOKEN only; MODELSCOPE_ENDPOINT (older: MODELSCOPE_DOMAIN) names another address.

There is no commit in the responses. What stands for it is a checksum over all paths, sizes and sha256 of the revision.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from rlguide.data.hubs.base import Hub, HubFile, Snapshot
from rlguide.data.hubs.transfer import Remote, fetch
from rlguide.errors import HubError
from rlguide.hub_settings import TIMEOUT, is_offline
from rlguide.locks import Locked, locked
from rlguide.workspace import user_cache

ADDRESS = "https://modelscope.cn"
PAGE = 200  # entries of one page of the tree, as its own client asks for
MOST_PAGES = 1000
LONGEST_NAME = 60  # characters of a name in the cache, beside which its lock and its part have longer ones


def hub() -> Hub:
    """The hub at MODELSCOPE_ENDPOINT, MODELSCOPE_DOMAIN or modelscope.cn. Older parts of it read a cookie."""
    given = (os.environ.get("MODELSCOPE_ENDPOINT") or os.environ.get("MODELSCOPE_DOMAIN") or ADDRESS).strip()
    url = (given if "://" in given else f"https://{given}").rstrip("/")
    seconds = os.environ.get("MODELSCOPE_DOWNLOAD_TIMEOUT", "")
    timeout = float(seconds) if seconds.isascii() and seconds.isdigit() and int(seconds) else TIMEOUT
    token = os.environ.get("MODELSCOPE_API_TOKEN", "").strip()
    alternative = "name another hub with --hub hf, or another address with MODELSCOPE_ENDPOINT"
    return Hub(url, timeout, token, "MODELSCOPE_API_TOKEN", alternative, cookie="m_session_id")


def find_snapshot(hub_id: str, revision: str) -> Snapshot:
    """As `client.find_snapshot`. Offline nothing can be resolved: this hub has no commits that a cache could keep."""
    from rlguide.data.hubs.session import open_session

    if is_offline():
        raise HubError(
            f"HF_HUB_OFFLINE forbids asking {hub().address} for {hub_id}",
            "unset HF_HUB_OFFLINE and run the same command",
        )
    files: list[HubFile] = []
    with open_session(hub()) as session:
        for number in range(1, MOST_PAGES + 1):
            query = {"Revision": revision, "Recursive": "True", "PageNumber": str(number), "PageSize": str(PAGE)}
            told = session.ask(hub_id, "GET", f"/api/v1/datasets/{hub_id}/repo/tree", params=query)
            if told.get("Success") is False:
                raise session.hub.unknown(hub_id)
            data = told["Data"]
            entries = data["Files"] if isinstance(data, dict) else data
            files += [_file(entry) for entry in entries if entry.get("Type") != "tree"]
            if len(entries) < PAGE:
                break
    files.sort(key=lambda file: file.path)
    listing = "\n".join(f"{file.path}\t{file.bytes}\t{file.sha256}" for file in files)
    commit = _hash(listing)[:40]
    return Snapshot(hub_id, revision, commit, tuple(file.path for file in files), "modelscope", tuple(files))


def _file(entry: dict[str, Any]) -> HubFile:
    size, digest = entry.get("Size"), str(entry.get("Sha256") or "").lower()
    sha256 = digest if re.fullmatch(r"[0-9a-f]{64}", digest) else None
    return HubFile(str(entry["Path"]), size if isinstance(size, int) else None, sha256)


def file_details(snapshot: Snapshot, paths: list[str]) -> list[HubFile]:
    """As `client.file_details`: the listing has told them already."""
    known = {file.path: file for file in snapshot.details}
    return [known[path] for path in paths]


def fetch_file(snapshot: Snapshot, file: HubFile, force: bool) -> tuple[Path, str]:
    """As `client.fetch_file`; the cache is a folder of rlguide's own."""
    # A folder for the file and in it one for its content, so a changed file never meets an older one.
    content = file.sha256 or _hash(f"{snapshot.commit}\t{file.path}")
    versions = user_cache() / "modelscope" / snapshot.hub_id.replace("/", "--") / _hash(file.path)[:16]
    target = versions / content[:32] / Path(file.path).name[-LONGEST_NAME:]
    query = {"Revision": snapshot.revision, "FilePath": file.path}
    remote = Remote(hub(), snapshot.hub_id, file, f"/api/v1/datasets/{snapshot.hub_id}/repo", query)
    # Without a checksum nothing tells whether what is here is what is there now.
    part = target.with_name(f"{target.name}.part")
    digest = fetch(remote, target, part, force or file.sha256 is None)
    _remove_other_parts(versions, part)
    return target, digest


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _remove_other_parts(versions: Path, part: Path) -> None:
    """Delete what was fetched of other versions of a file that now is here whole, unless somebody is fetching them."""
    for other in set(versions.glob("*/*.part")) - {part}:
        with suppress(Locked), locked(other.with_suffix(""), timeout=0.0):
            other.unlink(missing_ok=True)
