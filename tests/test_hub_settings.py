"""The settings are read as the hub's own client reads them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlguide import hub_settings
from rlguide.errors import UsageError

NAMES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_ENDPOINT")
OTHERS = ("XDG_CACHE_HOME", "HF_TOKEN_PATH", "HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT")
AS_THE_CLIENT = [
    {},
    {"HF_HUB_OFFLINE": "0", "HF_HOME": "~/x"},
    {"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "1", "HF_HOME": "/a", "HF_HUB_CACHE": "$HF_HOME/b"},
    {"HF_HUB_OFFLINE": "", "TRANSFORMERS_OFFLINE": "yes", "XDG_CACHE_HOME": "/c"},
    {"HF_HUB_OFFLINE": "on", "HUGGINGFACE_HUB_CACHE": "/d", "HF_ENDPOINT": "https://hub.example.org/x/"},
    {"HF_HUB_OFFLINE": "True", "HF_TOKEN_PATH": "/e/token", "HF_ENDPOINT": "http://127.0.0.1:80"},
    {"HF_HUB_OFFLINE": "2"},
]
CODE = (
    "import json; from huggingface_hub import constants as c\n"
    "print(json.dumps([bool(c.HF_HUB_OFFLINE), c.HF_HOME, c.HF_HUB_CACHE, c.HF_TOKEN_PATH, c.ENDPOINT]))"
)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in (*NAMES, *OTHERS):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize("given", AS_THE_CLIENT, ids=str)
def test_what_the_client_reads(given: dict[str, str], bare: pytest.MonkeyPatch) -> None:
    for name, value in given.items():
        bare.setenv(name, value)
    told = json.loads(subprocess.run([sys.executable, "-c", CODE], env=os.environ, capture_output=True).stdout)
    ours = [hub_settings.home(), hub_settings.cache(), hub_settings.token_file(), hub_settings.endpoint()]
    assert [hub_settings.is_offline(), *map(str, ours)] == told


@pytest.mark.parametrize("name", ["HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "HF_ENDPOINT"])
def test_set_to_nothing_is_unset(name: str, bare: pytest.MonkeyPatch) -> None:
    usual = (hub_settings.cache(), hub_settings.endpoint())
    bare.setenv(name, "")
    assert (hub_settings.cache(), hub_settings.endpoint()) == usual
    assert usual == (Path.home() / ".cache" / "huggingface" / "hub", "https://huggingface.co")


@pytest.mark.parametrize("given", ["hf-mirror.com", "ftp://x", "https://", "x y"])
def test_no_address(given: str, bare: pytest.MonkeyPatch) -> None:
    bare.setenv("HF_ENDPOINT", given)
    with pytest.raises(UsageError, match="HF_ENDPOINT is not an address") as error:
        hub_settings.endpoint()
    assert error.value.fix.startswith("export HF_ENDPOINT=https://")


@pytest.mark.parametrize("name", ["HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"])
def test_seconds(name: str, bare: pytest.MonkeyPatch) -> None:
    assert hub_settings.timeout() == hub_settings.TIMEOUT
    bare.setenv(name, "7")
    assert hub_settings.timeout() == (7.0 if "DOWNLOAD" in name else hub_settings.TIMEOUT)
    for wrong in ("", "1.5", "soon", "-1"):
        bare.setenv(name, wrong)
        with pytest.raises(UsageError, match=name):
            hub_settings.timeout()
