"""The real `rlguide serve`, on a worker that loads no model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

KEY = "sk-thisIsTheKeyOfTheServer"
WORKER = Path(__file__).with_name("fake_worker.py")
CODE = f"""
import json, sys
from pathlib import Path
from rlguide import cli
from rlguide.cli.models import serve_cmd
from rlguide.engine import find, server
from rlguide.serving.server.serve import Offer
args = json.loads(sys.argv.pop(1))
server.worker_command = lambda engine, name, *arguments: [sys.executable, {str(WORKER)!r}]
find.find_engine = lambda named=None: find.Engine(Path(sys.executable), {{}})
serve_cmd._offer = lambda *_: Offer("saves/it", "a model", args, "hf")
sys.exit(cli.main())
"""


@dataclass
class Rlguide:
    """Runs commands in a workspace, with the user's state in a folder of its own."""

    root: Path

    def start(self, *arguments: str, key: str = "", **args: Any) -> subprocess.Popen[str]:
        """Start `rlguide` with these arguments; `args` go to the fake model."""
        variables = {"XDG_STATE_HOME": str(self.root / "state"), "XDG_CACHE_HOME": str(self.root / "cache")}
        environment = {**os.environ, **variables, "RLGUIDE_API_KEY": key}
        command = [sys.executable, "-c", CODE, json.dumps(args), *arguments]
        return subprocess.Popen(
            command, cwd=self.root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, *arguments: str, code: int = 0, key: str = "", **args: Any) -> subprocess.CompletedProcess[str]:
        """Run it to its end and check its exit code."""
        process = self.start(*arguments, key=key, **args)
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, out + err
        assert "Traceback" not in err
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def workers(self) -> list[int]:
        """The workers that run in this workspace."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                is_here = (folder / "cwd").resolve() == self.root.resolve()
                if is_here and os.fsencode(WORKER) in (folder / "cmdline").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:
                continue
        return found

    def logs(self) -> list[Path]:
        """The logs that were left."""
        return sorted((self.root / "cache/rlguide/logs").glob("*"))


@dataclass
class Running:
    """A server that is ready."""

    rlguide: Rlguide
    process: subprocess.Popen[str]
    told: dict[str, Any]

    @property
    def address(self) -> str:
        """Up to `/v1`."""
        return str(self.told["address"])

    def client(self, key: str = KEY) -> Any:
        """The official client, which does not try again."""
        import openai

        return openai.OpenAI(base_url=self.address, api_key=key, max_retries=0, timeout=30)


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def ready(rlguide: Rlguide, *arguments: str, key: str = KEY) -> Running:
    """Start a server and wait until it is ready."""
    process = rlguide.start("serve", "--port", "0", "--json", *arguments, key=key)
    assert process.stdout is not None
    text = ""
    while not text.rstrip().endswith("}"):
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        text += line
    return Running(rlguide, process, json.loads(text))


@pytest.fixture
def rlguide(tmp_path: Path) -> Iterator[Rlguide]:
    found = Rlguide(tmp_path)
    yield found
    for pid in found.workers():
        os.kill(pid, 9)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server for tests that leave it as it is."""
    found = ready(Rlguide(tmp_path_factory.mktemp("serve 工作区")))
    yield found
    found.process.terminate()
    found.process.communicate(timeout=30)
