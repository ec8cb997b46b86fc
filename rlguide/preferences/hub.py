"""The hub, through the `huggingface_hub` client: which commit, which files, and the files themselves.

HF_ENDPOINT, HF_TOKEN, HF_HOME and HF_HUB_OFFLINE are the client's own; nothing of them is copied here.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rlguide import console
from rlguide.errors import HubError
from rlguide.preferences.progress import Ticker, format_bytes

COMMIT = re.compile(r"[0-9a-f]{40}")
SHARD = re.compile(r"(.*-)(\d{5})-of-(\d{5})(\.\w+)$")
TIMEOUT = 20.0  # seconds until a hub that does not answer is given up


@dataclass(frozen=True)
class HubFile:
    """A file of a repository. `bytes` and `sha256` are None where the hub does not tell them."""

    path: str
    bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Snapshot:
    """One commit of a dataset repository and the paths in it."""

    hub_id: str
    revision: str
    commit: str
    paths: tuple[str, ...]


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids the network."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def find_snapshot(hub_id: str, revision: str) -> Snapshot:
    """Resolve a revision (branch, tag or commit) to a commit and list its files; offline, from the cache.

    A revision is always named: mirrors serve the named ones only.

    Raises:
        HubError: not reachable, not found, not allowed, or offline and not in the cache.
    """
    if is_offline():
        return _cached_snapshot(hub_id, revision)
    from huggingface_hub import HfApi

    with _errors(hub_id):
        info = HfApi().repo_info(hub_id, repo_type="dataset", revision=revision, timeout=TIMEOUT)
    paths = tuple(sibling.rfilename for sibling in info.siblings or ())
    return Snapshot(hub_id, revision, str(info.sha), paths)


def _cached_snapshot(hub_id: str, revision: str) -> Snapshot:
    """The newest commit in the client's cache that `revision` may mean."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=hub_id, repo_type="dataset")
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
            _check_shards(snapshot, found)
            return found
    raise HubError(
        f"{snapshot.hub_id} at {snapshot.commit[:12]} has no file {' or '.join(patterns)}",
        "its layout may have changed: name an older commit with --revision, or fetch a file and `rlguide register` it",
    )


def _check_shards(snapshot: Snapshot, paths: list[str]) -> None:
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
    if is_offline():
        return [HubFile(path) for path in paths]
    from huggingface_hub import HfApi

    with _errors(snapshot.hub_id):
        found = HfApi().get_paths_info(snapshot.hub_id, paths, repo_type="dataset", revision=snapshot.commit)
    details = {info.path: info for info in found}
    result = []
    for path in paths:
        info = details.get(path)
        large = getattr(info, "lfs", None)
        result.append(HubFile(path, getattr(info, "size", None), large.sha256 if large else None))
    return result


def fetch_file(snapshot: Snapshot, file: HubFile, force: bool = False) -> tuple[Path, str]:
    """Fetch one file into the client's cache, resuming a download that was cut off; return it and its sha256.

    Args:
        force: fetch it again although the cache has it.

    Raises:
        HubError: it cannot be fetched, or is not what the hub says it is.
    """
    from huggingface_hub import hf_hub_download

    size = f" ({format_bytes(file.bytes)})" if file.bytes is not None else ""
    console.say(f"  {file.path}{size}")
    with _errors(snapshot.hub_id), _progress(snapshot.hub_id, file):
        path = Path(
            hf_hub_download(
                snapshot.hub_id, file.path, repo_type="dataset", revision=snapshot.commit, force_download=force
            )
        )
    digest = _sha256(path)
    size_is = path.stat().st_size
    if (file.sha256 and file.sha256 != digest) or (file.bytes is not None and file.bytes != size_is):
        raise HubError(
            f"{file.path} of {snapshot.hub_id} is not what the hub says it is", "fetch it again with --force"
        )
    return path, digest


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with Ticker(f"checking {path.name}", "bytes", path.stat().st_size) as ticker, path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            ticker.update(file.tell())
    return digest.hexdigest()


@contextmanager
def _progress(hub_id: str, file: HubFile) -> Iterator[None]:
    """The client's own bar on a terminal; elsewhere a plain line now and then, from the growth of its part file."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name
    from huggingface_hub.utils import disable_progress_bars

    if sys.stderr.isatty():
        yield
        return
    disable_progress_bars()
    blobs = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=hub_id, repo_type="dataset") / "blobs"
    ended = threading.Event()

    def watch() -> None:
        with Ticker(f"fetching {file.path}", "bytes", file.bytes) as ticker:
            while not ended.wait(1.0):
                ticker.update(_largest_part(blobs))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join(2.0)


def _largest_part(blobs: Path) -> int:
    newest, size = 0.0, 0
    for part in blobs.glob("*.incomplete"):
        try:
            status = part.stat()
        except OSError:
            continue  # finished in between
        if status.st_mtime >= newest:
            newest, size = status.st_mtime, status.st_size
    return size


@contextmanager
def _errors(hub_id: str) -> Iterator[None]:
    """Turn what the client raises into a sentence; the URL, which may hold a token, is left out."""
    import requests
    from huggingface_hub import errors

    started = time.monotonic()
    try:
        yield
    except errors.OfflineModeIsEnabled as error:
        raise HubError(
            f"{hub_id} is not in the cache, and HF_HUB_OFFLINE forbids fetching it", "unset HF_HUB_OFFLINE once"
        ) from error
    except errors.GatedRepoError as error:
        raise HubError(
            f"{hub_id} is gated: the hub wants to know who asks",
            f"accept its terms at {_endpoint()}/datasets/{hub_id}, then set HF_TOKEN to a token of that account",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise HubError(f"{hub_id} has no such revision", "name a branch, tag or commit with --revision") from error
    except errors.LocalEntryNotFoundError as error:
        raise _unreachable(error, started) from error
    except errors.EntryNotFoundError as error:
        raise HubError(f"a file of {hub_id} is not on the hub any more", "name another --revision") from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(
            f"{_endpoint()} knows no dataset {hub_id} at that revision, or does not show it to you",
            "check --revision; set HF_TOKEN if the dataset is private; unset HF_ENDPOINT if that mirror lacks it",
        ) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            raise HubError(
                f"{_endpoint()} refuses {hub_id} (HTTP {status})", "set HF_TOKEN to a valid token"
            ) from error
        if status == 429:
            raise HubError(f"{_endpoint()} asks to wait (HTTP 429)", "wait some minutes, or set HF_TOKEN") from error
        raise HubError(
            f"{_endpoint()} failed on {hub_id} (HTTP {status})", "try again later, or another mirror"
        ) from error
    except (requests.RequestException, ConnectionError, TimeoutError) as error:
        raise _unreachable(error, started) from error
    except OSError as error:
        if error.errno is None:  # the client's own: the file that came is shorter or longer than announced
            raise HubError(
                f"a download from {_endpoint()} broke off ({str(error).splitlines()[0]})",
                "run the same command again; add --force if that does not help",
            ) from error
        raise HubError(
            f"cannot store {hub_id} in the cache of the hub's client: {error.strerror or type(error).__name__}",
            "free some disk space, or set HF_HOME to a folder on another disk",
        ) from error


def _unreachable(error: Exception, started: float) -> HubError:
    after = time.monotonic() - started
    return HubError(
        f"cannot reach the hub at {_endpoint()} ({type(error).__name__} after {after:.0f} s)",
        "check the network, or set HF_ENDPOINT to a mirror, for example HF_ENDPOINT=https://hf-mirror.com",
    )


def _endpoint() -> str:
    """The hub's address without a password that somebody may have put into it."""
    from huggingface_hub import constants

    return re.sub(r"//[^/@]*@", "//", str(constants.ENDPOINT))
