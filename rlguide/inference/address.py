"""The address of an OpenAI-compatible endpoint, and the key that it gets."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from rlguide.engine.server import KEY as OWN_KEY
from rlguide.errors import UsageError

OPENAI_KEY, OPENAI_ADDRESS = "OPENAI_API_KEY", "OPENAI_BASE_URL"
# So narrow that every reader of addresses reads the same host in it.
_SHAPE = re.compile(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?(/[A-Za-z0-9._~%/+-]*)?")
_KEY = re.compile(r"[\x21-\x7e]+")
_PATHS = ("/chat/completions", "/completions", "/models")  # what people paste behind the base


def is_address(name: str) -> bool:
    """Whether a name is an address and not a run or a folder."""
    return name.lower().startswith(("http://", "https://"))


@dataclass(frozen=True)
class Address:
    """Where an endpoint is.

    Attributes:
        url: scheme, host, port and path, without a slash at the end.
        model: which of its models is meant; None: the only one.
    """

    url: str
    model: str | None

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port: what must be the same for a key to be sent along."""
        return _origin(urlsplit(self.url))

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine."""
        host = self.origin[1]
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def key(self) -> str | None:
        """The key for it, from the environment only.

        RLGUIDE_API_KEY is for whatever endpoint is named. OPENAI_API_KEY is not sent to another origin than that of
        OPENAI_BASE_URL, where that is set.

        Raises:
            UsageError: the key cannot stand in a header.
        """
        name = OWN_KEY if os.environ.get(OWN_KEY, "").strip() else OPENAI_KEY
        key = os.environ.get(name, "").strip()
        base = os.environ.get(OPENAI_ADDRESS, "").strip()
        if name == OPENAI_KEY and base and parse_address(base).origin != self.origin:
            return None
        if key and not _KEY.fullmatch(key):
            raise UsageError(f"the key in {name} has characters that no key has", f"set {name} again, without quotes")
        return key or None


def parse_address(text: str, model: str | None = None) -> Address:
    """The address that a person typed: `http://host:8000`, `https://host/v1/`, `http://host/v1#MODEL`.

    Raises:
        UsageError: it is none, or holds what does not belong there.
    """
    base, _, named = text.strip().partition("#")
    if "@" in base or "?" in base:
        raise UsageError(
            "the address of an endpoint holds no user name, key or query",
            f"leave that out, and set {OWN_KEY} in the environment",
        )
    scheme, colon, rest = base.partition(":")
    base = scheme.lower() + colon + rest
    if not _SHAPE.fullmatch(base):
        raise UsageError(f"{text!r} is not the address of an endpoint", "write it such as http://127.0.0.1:8000/v1")
    base = base.rstrip("/")
    for path in _PATHS:
        base = base.removesuffix(path)
    parts = urlsplit(base)
    try:
        _origin(parts)
    except ValueError:
        raise UsageError(f"{text!r} has no such port", "write it such as http://127.0.0.1:8000/v1") from None
    return Address(base if parts.path else f"{base}/v1", model or named or None)


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}[parts.scheme]
