"""Hugging Face and its mirrors, through the `huggingface_hub` client and its cache.

HF_ENDPOINT, HF_TOKEN (or the token that `hf auth login` stored), HF_HOME and HF_HUB_OFFLINE are the client's own;
nothing of them is copied here.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlguide import console
from rlguide.data.hubs.base import HubFile, Snapshot, digests, is_offline, watched
from rlguide.data.hubs.retry import Backoff, GaveUp
from rlguide.errors import HubError
from rlguide.progress import format_bytes

COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")
TIMEOUT = 20.0  # seconds until a hub that does not answer is given up, unless HF_HUB_DOWNLOAD_TIMEOUT says otherwise


def find_snapshot(hub_id: str, revision: str) -> Snapshot:
    """As `hub.find_snapshot`."""
    if is_offline():
        return _cached_snapshot(hub_id, revision)
    from huggingface_hub import HfApi

    with _errors(hub_id):
        info = HfApi().repo_info(hub_id, repo_type="dataset", revision=revision)
    if COMMIT.fullmatch(str(info.sha)) is None:
        raise _foreign("no commit")
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


def file_details(snapshot: Snapshot, paths: list[str]) -> list[HubFile]:
    """As `hub.file_details`."""
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


def fetch_file(snapshot: Snapshot, file: HubFile, force: bool) -> tuple[Path, str]:
    """As `hub.fetch_file`."""
    path = _fetch(snapshot, file, force)
    digest = _checked(path, file)
    if digest is None and not is_offline():
        console.say(f"  {file.path} is not what the hub says it is: fetching it once more")
        path = _fetch(snapshot, file, True)
        digest = _checked(path, file)
    if digest is None:
        _remove(path)
        raise HubError(
            f"{file.path} of {snapshot.hub_id} is not what the hub says it is (wrong size or checksum)",
            "the damaged file is removed: try again later, or another mirror",
        )
    return path, digest


def _fetch(snapshot: Snapshot, file: HubFile, force: bool) -> Path:
    """The file in the cache. What breaks off in a way that the session cannot continue is asked for anew."""
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    from rlguide.data.hubs.session import BrokenTransfer

    patience = Backoff()
    with _errors(snapshot.hub_id), _progress(snapshot.hub_id, file):
        while True:
            try:
                return Path(
                    hf_hub_download(
                        snapshot.hub_id,
                        file.path,
                        repo_type="dataset",
                        revision=snapshot.commit,
                        force_download=force,
                    )
                )
            except BrokenTransfer as error:
                fault = f"the transfer cannot be continued ({error})"
            except HfHubHTTPError as error:
                if error.response is None or error.response.status_code != 416:
                    raise
                fault, force = "what was fetched earlier does not fit", True
            except ValueError:
                if file.bytes is None or file.bytes <= constants.MAX_HTTP_DOWNLOAD_SIZE:
                    raise
                raise _too_large(file) from None
            except (RuntimeError, ConnectionError):
                if constants.HF_HUB_DISABLE_XET:
                    raise
                # Only hf_xet raises these: its own transport, beside the session. Plain HTTP serves the same file.
                constants.HF_HUB_DISABLE_XET = True
                fault = "the Xet transfer failed, so plain HTTP is used"
            except OSError as error:
                if type(error) is not OSError or error.errno is not None:
                    raise
                # The client's own: what came has another size than announced. A second time, begin anew.
                fault, force = "the file came with a wrong size", force or patience.failed
            try:
                patience.wait(fault)
            except GaveUp as gave_up:
                raise HubError(
                    f"{file.path} of {snapshot.hub_id} did not come whole in {gave_up.tries} tries ({fault})",
                    "run the same command again later, or use another mirror with HF_ENDPOINT",
                ) from None


def _too_large(file: HubFile) -> HubError:
    from huggingface_hub import constants

    most = format_bytes(constants.MAX_HTTP_DOWNLOAD_SIZE)
    return HubError(
        f"{file.path} is larger than the {most} that the hub serves over plain HTTP",
        "install hf_xet (pip install hf_xet) and unset HF_HUB_DISABLE_XET, or name other files with --file",
    )


def _checked(path: Path, file: HubFile) -> str | None:
    """The sha256 of a fetched file, None if it is not what the hub says.

    The cache names a file after its ETag, which is the sha256 of a large file and the git id of a small one.
    """
    name = path.resolve().name
    digest, blob = digests(path, git=file.sha256 is None and COMMIT.fullmatch(name) is not None)
    wanted = file.sha256 or (name if SHA256.fullmatch(name) else None)
    if file.bytes is not None and path.stat().st_size != file.bytes:
        return None
    if (wanted is not None and digest != wanted) or (blob is not None and blob != name):
        return None
    return digest


def _remove(path: Path) -> None:
    """Take a damaged file out of the client's cache: the content and the name that points to it."""
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)


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
    with watched(f"fetching {file.path}", file.bytes, lambda: _largest_part(blobs)):
        yield


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
    """Let the client use the patient session, and turn what it raises into a sentence.

    The cause is left out of the error: its text holds the address, which may hold a token or a signature.
    """
    import requests
    from huggingface_hub import configure_http_backend, constants

    from rlguide.data.hubs.session import HubName, RetryingSession

    if not is_offline():  # offline the client's own session refuses to connect
        name = HubName(_endpoint(), "set HF_ENDPOINT to a mirror, for example HF_ENDPOINT=https://hf-mirror.com")
        configure_http_backend(lambda: RetryingSession(name, _timeout()))
    # It would fetch beside the session, which then could handle no fault; and it is another package.
    constants.HF_HUB_ENABLE_HF_TRANSFER = False
    try:
        yield
    except (requests.RequestException, OSError) as error:
        raise _sentence(hub_id, error) from None
    except ValueError as error:
        if isinstance(error.__cause__, OSError):  # the client's words for a refusal where it was told to fetch again
            raise _sentence(hub_id, error.__cause__) from None
        raise _foreign(type(error).__name__) from None
    except (RuntimeError, LookupError, TypeError, AttributeError) as error:  # an answer that the client cannot read
        raise _foreign(type(error).__name__) from None
    finally:
        configure_http_backend()


def _timeout() -> float:
    """Seconds of silence that are borne."""
    from huggingface_hub import constants

    return float(constants.HF_HUB_DOWNLOAD_TIMEOUT) if os.environ.get("HF_HUB_DOWNLOAD_TIMEOUT") else TIMEOUT


def _sentence(hub_id: str, error: Exception) -> HubError:
    import requests
    from huggingface_hub import errors

    if isinstance(error, errors.OfflineModeIsEnabled):
        return HubError(
            f"{hub_id} is not in the cache, and HF_HUB_OFFLINE forbids fetching it", "unset HF_HUB_OFFLINE once"
        )
    if isinstance(error, errors.GatedRepoError):
        return HubError(
            f"{hub_id} is gated: the hub wants to know who asks",
            f"accept its terms at {_endpoint()}/datasets/{hub_id}, then set HF_TOKEN to a token of that account",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return HubError(f"{hub_id} has no such revision", "name a branch, tag or commit with --revision")
    if isinstance(error, errors.LocalEntryNotFoundError):  # the client's answer to any refusal of the file's header
        return _sentence(hub_id, error.__cause__) if isinstance(error.__cause__, OSError) else _foreign()
    if isinstance(error, errors.EntryNotFoundError):
        return HubError(f"a file of {hub_id} is not on the hub any more", "name another --revision")
    if isinstance(error, errors.RepositoryNotFoundError):
        return HubError(
            f"{_endpoint()} knows no dataset {hub_id} at that revision, or does not show it to you",
            "check the id and --revision; set HF_TOKEN if it is private; unset HF_ENDPOINT if that mirror lacks it",
        )
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            return HubError(f"{_endpoint()} refuses {hub_id} (HTTP {status})", "set HF_TOKEN to a valid token")
        return HubError(f"{_endpoint()} failed on {hub_id} (HTTP {status})", "try again later, or another mirror")
    network = isinstance(error, (requests.RequestException, ConnectionError, TimeoutError))
    if isinstance(error, OSError) and error.errno is not None and not network:
        return HubError(
            f"cannot store {hub_id} in the cache of the hub's client: {error.strerror or type(error).__name__}",
            "free some disk space, or set HF_HOME to a folder on another disk",
        )
    return _foreign(type(error).__name__)


def _foreign(what: str = "no file") -> HubError:
    return HubError(
        f"{_endpoint()} does not answer as a hub does ({what})",
        "check the network, or set HF_ENDPOINT to a mirror, for example HF_ENDPOINT=https://hf-mirror.com",
    )


def _endpoint() -> str:
    """The hub's address without a password that somebody may have put into it."""
    from huggingface_hub import constants

    return re.sub(r"//[^/@]*@", "//", str(constants.ENDPOINT))
