"""Put an exported model into a repository of the Hugging Face hub, in one commit, with the hub's own client.

The token is that of `hf auth login` or HF_TOKEN, the hub that of HF_ENDPOINT. A large file that the hub has already, of
an upload that was cut off, is not sent again. A repository that holds anything but this very export is left alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlguide import hub_settings
from rlguide.errors import DataError, RlguideError, UsageError
from rlguide.policy.base import model_name
from rlguide.policy.merge_fingerprint import MANIFEST
from rlguide.progress import format_bytes
from rlguide.serving.card import of_repository
from rlguide.serving.on_record import CARD
from rlguide.workspace import read_json, read_text

LOGIN = "log in with `hf auth login`, or set HF_TOKEN to a token that may write"
LARGEST = 1 << 20  # bytes of a manifest that is read from a hub
_NOTHING = {".gitattributes"}  # what a hub puts into a new repository itself
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class PushError(RlguideError):
    """The hub refused, or could not be reached."""


@dataclass(frozen=True)
class Target:
    """A repository to push to.

    Attributes:
        is_private: whether it is, or would be made so.
        exists: it is there, and empty or of this export.
        user: whose token it is.
    """

    name: str
    is_private: bool
    exists: bool
    user: str

    @property
    def address(self) -> str:
        """Of its page."""
        return f"{hub_settings.without_password(hub_settings.endpoint())}/{self.name}"


def check_name(name: str) -> None:
    """Refuse what cannot be a repository, before anything is merged. Raises UsageError."""
    if not _ID.fullmatch(name) or ".." in name or "--" in name or len(name) > 96 or name.endswith((".git", ".", "-")):
        raise UsageError(f"--push {name} is not the name of a repository", "give --push ORG/NAME")
    if hub_settings.is_offline():
        raise UsageError("--push needs the hub, and HF_HUB_OFFLINE is set", "unset HF_HUB_OFFLINE")
    hub_settings.endpoint()


def find_target(name: str, is_private: bool, folder: Path | None = None) -> Target:
    """Ask the hub who pushes, and what is in the repository.

    Args:
        folder: the export; None: not made yet, so that any export in the repository may be this one.

    Raises:
        UsageError: the repository holds something else, or the name is none.
        PushError: the hub refuses or cannot be reached.
    """
    check_name(name)
    with _explained(name):
        user = str(_api().whoami().get("name", ""))
    found = _look_at(name)
    files = found.files - _NOTHING if found else set()
    if files and (MANIFEST not in files or (folder is not None and not _is_own(name, folder))):
        raise UsageError(
            f"{name} holds something else than this export, which is never overwritten",
            "name another repository with --push, or empty that one on the hub first",
        )
    return Target(name, found.is_private if found else is_private, found is not None, user)


def summary(target: Target, folder: Path) -> list[str]:
    """What would be uploaded, a line each."""
    files = to_upload(folder)
    size = sum(path.stat().st_size for path in files.values())
    kind = f"{'exists' if target.exists else 'new'}, {'private' if target.is_private else 'PUBLIC'}"
    return [
        f"repository  {target.address} ({kind}), as {target.user}",
        f"files       {len(files)}, {format_bytes(size)}: {', '.join(sorted(files))}",
        "licence     see README.md there: a model may be shared only as the licences of its base and its data allow",
    ]


def to_upload(folder: Path) -> dict[str, Path]:
    """The files of an export by their names in the repository; nothing hidden, nothing that a link leads to."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*"))}
    return {
        name: path
        for name, path in found.items()
        if path.is_file() and not path.is_symlink() and not any(part.startswith(".") for part in name.split("/"))
    }


def push(target: Target, folder: Path) -> str:
    """Upload an export in one commit, so that a repository is never half of one; gives the address of the commit.

    Raises:
        PushError: the hub refuses or cannot be reached. What was sent of large files is not sent again.
    """
    from huggingface_hub import CommitOperationAdd

    operations = [
        CommitOperationAdd(name, _for_the_hub(target, folder, name) or str(path))
        for name, path in to_upload(folder).items()
    ]
    with _explained(target.name):
        api = _api()
        if not target.exists:
            api.create_repo(target.name, private=target.is_private, exist_ok=True)
        done = api.create_commit(target.name, operations, commit_message="Export by rlguide")
        return str(done.commit_url)


def _api() -> Any:
    from huggingface_hub import HfApi

    return HfApi(endpoint=hub_settings.endpoint(), library_name="rlguide")


@dataclass(frozen=True)
class _Found:
    """What a repository is: the names of its files, and who may read them."""

    files: set[str]
    is_private: bool


def _look_at(name: str) -> _Found | None:
    """What is in a repository; None if there is none."""
    from huggingface_hub.errors import RepositoryNotFoundError

    with _explained(name):
        try:
            found = _api().model_info(name, timeout=hub_settings.timeout())
        except RepositoryNotFoundError:
            return None
    files = {str(file.rfilename) for file in found.siblings or ()}
    return _Found(files, found.private is True)  # what does not say so is taken for public: nobody is surprised then


def _is_own(name: str, folder: Path) -> bool:
    """Whether a repository holds the export of the same stack: its manifest names the same adapters."""
    import requests
    from huggingface_hub.utils import build_hf_headers

    address = f"{hub_settings.endpoint()}/{name}/resolve/main/{MANIFEST}"
    with _explained(name):
        found = requests.get(address, headers=build_hf_headers(), timeout=hub_settings.timeout(), stream=True)
        with found:
            if found.status_code == 404:
                return False
            found.raise_for_status()
            raw = found.raw.read(LARGEST + 1, decode_content=True)
    try:
        return len(raw) <= LARGEST and _identity(json.loads(raw)) == _identity(read_json(folder / MANIFEST))
    except (ValueError, RecursionError, KeyError, TypeError, DataError):
        return False


def _identity(manifest: Mapping[str, Any]) -> tuple[Any, ...]:
    adapters = [str(item["sha256"]) for item in manifest["adapters"]]
    return (model_name(str(manifest["base"])), manifest["dtype"], manifest["template"], adapters)


def _for_the_hub(target: Target, folder: Path, name: str) -> bytes | None:
    """The content of a file that is another one on the hub: what names folders of this machine; None for all others."""
    if name == MANIFEST:
        return _without_paths(folder / name)
    return of_repository(read_text(folder / name), folder.name, target.name).encode() if name == CARD else None


def _without_paths(path: Path) -> bytes:
    """The manifest, its models named by the last part of their folders and without the times of files."""
    values = read_json(path)
    values["base"] = values["base"] if _ID.fullmatch(str(values["base"])) else model_name(str(values["base"]))
    values["base_files"] = {name: [size[0]] for name, size in values.get("base_files", {}).items()}
    values["adapters"] = [{**item, "path": model_name(str(item["path"]))} for item in values["adapters"]]
    return json.dumps(values, ensure_ascii=True, indent=2).encode()


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """What the hub or the network says, in two lines; no token is in them."""
    import requests
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    hub = hub_settings.without_password(hub_settings.endpoint())
    try:
        yield
    except LocalTokenNotFoundError:
        raise PushError(f"no token for {hub}", LOGIN) from None
    except (HfHubHTTPError, requests.HTTPError) as error:
        status = getattr(error.response, "status_code", None)
        said = {
            401: ("does not accept the token", LOGIN),
            403: (f"does not let this token write to {name}", f"{LOGIN}, to an organization that you belong to"),
            404: (f"has no {name.split('/')[0]} to write to", "check the name after --push"),
            409: (f"says that {name} is being changed", "run the same command again"),
            413: ("takes no files of this size", "look at the limits of the hub"),
            429: ("is asked too often", "wait a minute, then run the same command again"),
        }
        what, fix = said.get(status or 0, (f"failed ({status})", "run the same command again: it goes on from there"))
        raise PushError(f"{hub} {what}", fix) from None
    except (OSError, _transport_error()) as error:
        raise PushError(
            f"{hub} cannot be reached ({type(error).__name__})",
            "check the network and HF_ENDPOINT, then run the same command again: it goes on from there",
        ) from None


def _transport_error() -> type[Exception]:
    """What the client's HTTP library raises: httpx from huggingface_hub 1 on, before that requests (an OSError)."""
    try:
        from httpx import TransportError
    except ImportError:
        return OSError
    return TransportError
