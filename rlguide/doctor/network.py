"""Findings about the hub: settings, and whether it can be reached."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from rlguide.doctor.finding import Finding, Later

_HUB = "https://huggingface.co"
_MIRROR = "set a mirror: export HF_ENDPOINT=https://hf-mirror.com"
_HUB_PATIENCE = 3.0  # seconds


def check_hub_settings() -> Iterator[Finding]:
    token = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN")
    home = Path(
        os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    ).expanduser()
    stored = (home / "token").is_file()
    said = "set" if token else "stored by `hf auth login`" if stored else "not set (only gated models need it)"
    yield Finding("ok", "hub", f"endpoint {_public(_endpoint())}, HF_TOKEN {said}, HF_HOME {home}")
    if token and token != token.strip():
        yield Finding("warning", "hub", "HF_TOKEN has a blank or line break at its end", "set it again without")


def check_hub(answer: Later[str | None]) -> Finding:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        fix = "unset HF_HUB_OFFLINE to download models or datasets"
        return Finding("warning", "network", "HF_HUB_OFFLINE is set: nothing is downloaded", fix)
    problem = answer.wait(_HUB_PATIENCE)
    name = _public(_endpoint())
    if problem == "":
        return Finding("ok", "network", f"{name} answers")
    return Finding(
        "warning",
        "network",
        f"{name} does not answer: {problem or 'no reply in 3 s'}",
        f"check the network, or {_MIRROR}",
    )


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT") or _HUB


def _public(endpoint: str) -> str:
    """The address without a user name or password in it."""
    return re.sub(r"//[^/@]*@", "//", endpoint)


def hub_answer() -> str | None:
    """'' if the hub answers at all, else why not. Sends nothing but a request for its front page's headers."""
    import urllib.error
    import urllib.request

    if os.environ.get("HF_HUB_OFFLINE"):
        return None
    try:
        request = urllib.request.Request(_endpoint(), method="HEAD")
        with urllib.request.urlopen(request, timeout=_HUB_PATIENCE):
            return ""
    except urllib.error.HTTPError:
        return ""  # an answer, if not a friendly one
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))
