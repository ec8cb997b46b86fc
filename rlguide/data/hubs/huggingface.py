"""Hugging Face and its mirrors: a small client of the part of its HTTP API that datasets need.

Files lie in the cache of `huggingface_hub`, laid out as that client does it, so that others find them there. The client
itself is asked for the token and for Xet only: of a transfer that broke off its newest versions keep nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rlguide import console, hub_settings
from rlguide.data.hubs.base import Hub, HubFile, Snapshot
from rlguide.data.hubs.transfer import Remote, checked, damaged, fetch, say_damaged, size_of, watched
from rlguide.errors import HubError
from rlguide.progress import format_bytes

COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")


def hub() -> Hub:
    """The hub that the environment names, with the token of HF_TOKEN or `hf auth login`. Raises UsageError."""
    url, timeout = hub_settings.endpoint(), hub_settings.timeout()
    from huggingface_hub import get_token

    alternative = "set HF_ENDPOINT to a mirror, for example HF_ENDPOINT=https://hf-mirror.com"
    return Hub(url, timeout, get_token() or "", "HF_TOKEN", alternative)


def find_snapshot(hub_id: str, revision: str) -> Snapshot:
    """As `client.find_snapshot`."""
    if hub_settings.is_offline():
        return _cached_snapshot(hub_id, revision)
    from rlguide.data.hubs.session import open_session

    with open_session(hub()) as session:
        told = session.ask(hub_id, "GET", f"/api/datasets/{hub_id}/revision/{quote(revision, safe='')}")
        if COMMIT.fullmatch(told["sha"]) is None:
            raise session.hub.foreign("no commit")
        paths = tuple(str(sibling["rfilename"]) for sibling in told.get("siblings") or ())
    return Snapshot(hub_id, revision, told["sha"], paths)


def _cached_snapshot(hub_id: str, revision: str) -> Snapshot:
    """The newest commit in the client's cache that `revision` may mean."""
    folder = _folder(hub_id)
    snapshots = sorted((folder / "snapshots").glob("*/"), key=lambda path: path.stat().st_mtime)
    if COMMIT.fullmatch(revision):
        snapshots = [path for path in snapshots if path.name == revision]
    reference = folder / "refs" / revision
    if reference.is_file():
        snapshots = [path for path in snapshots if path.name == reference.read_text().strip()] or snapshots
    if not snapshots:
        raise HubError(
            f"{hub_id} at {revision} is not in the cache, and HF_HUB_OFFLINE forbids fetching it",
            "unset HF_HUB_OFFLINE and run the same command once with a network",
        )
    found = snapshots[-1]
    paths = tuple(sorted(path.relative_to(found).as_posix() for path in found.rglob("*") if path.is_file()))
    return Snapshot(hub_id, revision, found.name, paths)


def file_details(snapshot: Snapshot, paths: list[str]) -> list[HubFile]:
    """As `client.file_details`. In the cache a file is named after its sha256 or git id."""
    if hub_settings.is_offline():
        names = ((path, _pointer(snapshot, path).resolve().name) for path in paths)
        return [HubFile(path, sha256=_matching(SHA256, name), git_id=_matching(COMMIT, name)) for path, name in names]
    from rlguide.data.hubs.session import open_session

    asked = {"paths": paths, "expand": False}
    with open_session(hub()) as session:
        where = f"/api/datasets/{snapshot.hub_id}/paths-info/{snapshot.commit}"
        told = {entry["path"]: entry for entry in session.ask(snapshot.hub_id, "POST", where, data=asked)}
        return [_file(path, told.get(path, {})) for path in paths]


def _file(path: str, told: dict[str, Any]) -> HubFile:
    size, large = told.get("size"), told.get("lfs")
    sha256 = _matching(SHA256, large["oid"]) if large else None  # the git id of a large file is that of its pointer
    git_id = None if large else _matching(COMMIT, told.get("oid"))
    return HubFile(path, size if isinstance(size, int) else None, sha256, git_id, bool(told.get("xetHash")))


def _matching(pattern: re.Pattern[str], text: object) -> str | None:
    return text if isinstance(text, str) and pattern.fullmatch(text) else None


def fetch_file(snapshot: Snapshot, file: HubFile, force: bool) -> tuple[Path, str]:
    """As `client.fetch_file`."""
    pointer = _pointer(snapshot, file.path)
    if pointer.exists() and not force and (digest := _checked(pointer, snapshot, file)):
        return pointer, digest
    # A commit is never changed: where the hub tells no checksum, commit and path name the content as well.
    name = file.sha256 or file.git_id or hashlib.sha256(f"{snapshot.commit}\t{file.path}".encode()).hexdigest()
    blob = _folder(snapshot.hub_id) / "blobs" / name
    if file.is_xet and _by_xet(snapshot, file, blob, force) and (digest := _checked(pointer, snapshot, file)):
        return pointer, digest
    _check_size(file)
    path = f"/datasets/{snapshot.hub_id}/resolve/{snapshot.commit}/{quote(file.path)}"
    part = blob.with_name(f"{name}.rlguide.incomplete")
    digest = fetch(Remote(hub(), snapshot.hub_id, file, path, {}), blob, part, force)
    _link(pointer, blob)
    return pointer, digest


def _checked(pointer: Path, snapshot: Snapshot, file: HubFile) -> str | None:
    """The sha256 of a file in the cache. A damaged one is removed: the content and the name that points to it."""
    if digest := checked(pointer, file):
        return digest
    pointer.resolve().unlink(missing_ok=True)
    pointer.unlink(missing_ok=True)
    if hub_settings.is_offline():
        raise damaged(snapshot.hub_id, file)
    say_damaged(file)
    return None


def _by_xet(snapshot: Snapshot, file: HubFile, blob: Path, force: bool) -> bool:
    """Fetch a file through hf_xet, the client's faster transport; False if it is not there or fails."""
    from importlib.util import find_spec

    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.utils import disable_progress_bars

    if constants.HF_HUB_DISABLE_XET or find_spec("hf_xet") is None:
        return False
    disable_progress_bars()
    part = f"{blob.name}*.incomplete"
    try:
        with watched(f"fetching {file.path}", file.bytes, lambda: max(map(size_of, blob.parent.glob(part)), default=0)):
            hf_hub_download(
                snapshot.hub_id,
                file.path,
                repo_type="dataset",
                revision=snapshot.commit,
                force_download=force,
                endpoint=hub_settings.endpoint(),
                cache_dir=hub_settings.cache(),
            )
    except Exception:  # of hf_xet, or of one of the three HTTP libraries of the client's versions
        console.say("  the Xet transfer failed: fetching over plain HTTP")
        return False
    return True


def _check_size(file: HubFile) -> None:
    from huggingface_hub import constants

    if file.bytes is not None and file.bytes > constants.MAX_HTTP_DOWNLOAD_SIZE:
        raise HubError(
            f"{file.path} is larger than the {format_bytes(constants.MAX_HTTP_DOWNLOAD_SIZE)} that the hub serves "
            "over plain HTTP",
            "install hf_xet (pip install hf_xet) and unset HF_HUB_DISABLE_XET, or name other files with --file",
        )


def _folder(hub_id: str) -> Path:
    return hub_settings.cache() / f"datasets--{hub_id.replace('/', '--')}"


def _pointer(snapshot: Snapshot, path: str) -> Path:
    return _folder(snapshot.hub_id) / "snapshots" / snapshot.commit / path


def _link(pointer: Path, blob: Path) -> None:
    """Let the snapshot's name point to the content, or move it there where a file system has no links."""
    try:
        pointer.parent.mkdir(parents=True, exist_ok=True)
        pointer.unlink(missing_ok=True)
        pointer.symlink_to(os.path.relpath(blob, pointer.parent))
    except FileExistsError:
        pass  # another rlguide was faster
    except OSError:
        blob.replace(pointer)
