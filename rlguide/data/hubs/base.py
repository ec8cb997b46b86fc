"""What both hubs share: their files, their snapshots, and what is known of a hub itself."""

from __future__ import annotations

from dataclasses import dataclass

from rlguide.errors import HubError
from rlguide.hub_settings import without_password


@dataclass(frozen=True)
class HubFile:
    """A file of a repository. `bytes` and the checksums are None where the hub does not tell them."""

    path: str
    bytes: int | None = None
    sha256: str | None = None
    git_id: str | None = None  # its id as a git blob, which Hugging Face tells of small files in place of their sha256
    is_xet: bool = False  # in Xet storage, which has a transport of its own


@dataclass(frozen=True)
class Snapshot:
    """One commit of a dataset repository and the paths in it. `details` is what the listing already told of them."""

    hub_id: str
    revision: str
    commit: str
    paths: tuple[str, ...]
    hub: str = "hf"
    details: tuple[HubFile, ...] = ()


@dataclass(frozen=True)
class Hub:
    """A hub that is asked."""

    url: str  # may hold a password; messages show `address`
    timeout: float  # seconds until it must respond, and without a byte
    token: str  # sent to the origin of `url` only, as a header and as the cookie of that name if there is one
    token_variable: str  # of the environment, that it comes from
    alternative: str  # how to use another hub or mirror
    cookie: str = ""

    @property
    def address(self) -> str:
        """Its address for the screen."""
        return without_password(self.url)

    def foreign(self, what: str) -> HubError:
        """The error for a response that cannot be understood."""
        return HubError(
            f"not a valid response from the hub at {self.address} ({what})",
            f"check the network, or {self.alternative}",
        )

    def refusal(self, hub_id: str, status: int, code: str) -> HubError:
        """The error for an HTTP status of 400 or more; `code` is what Hugging Face adds in X-Error-Code."""
        if code == "GatedRepo":
            return HubError(
                f"{hub_id} is gated: its terms must be accepted first",
                f"accept them at {self.address}/datasets/{hub_id}, then set {self.token_variable} to a token of "
                "that account",
            )
        if code == "RevisionNotFound":
            return HubError(f"{hub_id} has no such revision", "name a branch, tag or commit with --revision")
        if code == "EntryNotFound":
            return HubError(f"a file of {hub_id} is not on the hub any more", "name another --revision")
        if code == "RepoNotFound" or status == 404:
            return self.unknown(hub_id)
        if status in (401, 403):
            return HubError(
                f"{self.address} refuses {hub_id} (HTTP {status})",
                f"set {self.token_variable} to a valid token of an account that may read it",
            )
        return HubError(f"{self.address} failed on {hub_id} (HTTP {status})", f"try again later, or {self.alternative}")

    def unknown(self, hub_id: str) -> HubError:
        """The error for a dataset or revision that is not there, or only for others."""
        return HubError(
            f"{self.address} has no dataset {hub_id} at that revision, or it is private",
            f"check the id and --revision; set {self.token_variable} if it is private; or {self.alternative}",
        )
