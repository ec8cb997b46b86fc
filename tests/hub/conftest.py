from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hub.hub_server import HubServer, publish_all, rlguide_command

Rlguide = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    """A running hub with the four datasets of the catalog."""
    server = HubServer(tmp_path_factory.mktemp("hub"))
    publish_all(server)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "my work 工作"
    folder.mkdir()
    return folder


@pytest.fixture
def environment(hub: HubServer, tmp_path: Path) -> dict[str, str]:
    """The environment of a user on a fresh machine whose hub is the one on loopback."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "RLGUIDE_"))}
    return kept | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf home"), "HF_HUB_DISABLE_TELEMETRY": "1"}


@pytest.fixture
def rlguide(environment: dict[str, str], workspace: Path) -> Rlguide:
    """Run the real executable in the workspace; keyword arguments are added to the environment."""

    def run(*arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [rlguide_command(), *arguments],
            cwd=workspace,
            env=environment | extra,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run
