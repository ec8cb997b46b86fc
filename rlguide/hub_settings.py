"""What the environment says of the hub, read as `huggingface_hub` reads it but without importing it (0.2 s).

A variable that is set to nothing counts as unset.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from rlguide.errors import UsageError

HUGGING_FACE = "https://huggingface.co"
MIRROR = "export HF_ENDPOINT=https://hf-mirror.com"
TIMEOUT = 20.0  # seconds; the client's own 10 is short for a mirror that fetches the file first


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE, or else TRANSFORMERS_OFFLINE, forbids the network."""
    given = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return given.upper() in ("1", "ON", "YES", "TRUE")


def home() -> Path:
    """The folder of the hub's client: HF_HOME, or `huggingface` in the user's cache."""
    return _folder("HF_HOME") or (_folder("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"


def cache() -> Path:
    """Where the client keeps models and datasets: HF_HUB_CACHE, or `hub` in its home."""
    return _folder("HF_HUB_CACHE") or _folder("HUGGINGFACE_HUB_CACHE") or home() / "hub"


def token_file() -> Path:
    """Where `hf auth login` stores the token."""
    return _folder("HF_TOKEN_PATH") or home() / "token"


def endpoint() -> str:
    """The hub's address, without a slash at its end. Raises UsageError if HF_ENDPOINT is not an address."""
    given = os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or HUGGING_FACE
    if re.match(r"https?://[^/]", given) is None:
        raise UsageError(f"HF_ENDPOINT is not an address of http or https: '{given}'", MIRROR)
    return given


def without_password(address: str) -> str:
    """The address without the user name and password that it may hold."""
    return re.sub(r"//[^/@]*@", "//", address)


def timeout() -> float:
    """Seconds without an answer or a byte: HF_HUB_DOWNLOAD_TIMEOUT, or 20.

    Raises:
        UsageError: this or HF_HUB_ETAG_TIMEOUT is not a whole number; the client cannot be imported then.
    """
    for name in ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"):
        given = os.environ.get(name)
        if given is not None and re.fullmatch(r"\s*\d+\s*", given) is None:
            raise UsageError(f"{name} is not a whole number of seconds: '{given}'", f"export {name}={TIMEOUT:.0f}")
    return float(os.environ.get("HF_HUB_DOWNLOAD_TIMEOUT") or 0) or TIMEOUT


def _folder(name: str) -> Path | None:
    given = os.environ.get(name)
    return Path(os.path.expandvars(given)).expanduser() if given else None
