"""Findings about the hub: settings, and whether it can be reached."""

from __future__ import annotations

import os
from collections.abc import Iterator

from rlguide import hub_settings
from rlguide.doctor.finding import Finding, Later
from rlguide.errors import UsageError

_ALLOWED = 3.0  # seconds


def check_hub_settings() -> Iterator[Finding]:
    token = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN")
    stored = hub_settings.token_file().is_file()
    said = "set" if token else "stored by `hf auth login`" if stored else "not set (only gated models need it)"
    try:
        address = hub_settings.without_password(hub_settings.endpoint())
        hub_settings.timeout()
        yield Finding("ok", "hub", f"endpoint {address}, HF_TOKEN {said}, HF_HOME {hub_settings.home()}")
    except UsageError as error:
        yield Finding("warning", "hub", error.what, error.fix)
    if token and token != token.strip():
        fix = "export HF_TOKEN=$(echo $HF_TOKEN)"
        yield Finding("warning", "hub", "HF_TOKEN has a space or line break at its beginning or end", fix)


def check_hub(answer: Later[str]) -> Finding:
    if hub_settings.is_offline():
        fix = "unset HF_HUB_OFFLINE TRANSFORMERS_OFFLINE"
        return Finding("warning", "network", "HF_HUB_OFFLINE is set: no model or dataset is downloaded", fix)
    problem = answer.wait(_ALLOWED)
    name = hub_settings.without_password(os.environ.get("HF_ENDPOINT") or hub_settings.HUGGING_FACE)
    if problem == "":
        return Finding("ok", "network", f"{name} responds")
    fix = "unset HF_ENDPOINT" if os.environ.get("HF_ENDPOINT") else hub_settings.MIRROR
    what = f"{name} does not respond ({problem or 'no reply in 3 s'}): check the network, or use another address"
    return Finding("warning", "network", what, fix)


def hub_answer() -> str:
    """'' if the hub answers at all, else why not. Sends nothing but a request for its front page's headers."""
    import urllib.error
    import urllib.request

    if hub_settings.is_offline():
        return ""
    try:
        request = urllib.request.Request(hub_settings.endpoint(), method="HEAD")
        with urllib.request.urlopen(request, timeout=_ALLOWED):
            return ""
    except urllib.error.HTTPError:
        return ""  # an answer, if not a friendly one
    except UsageError as error:
        return error.what
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))
