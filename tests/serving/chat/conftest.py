"""A workspace with a run, an engine whose worker is scripted, and a chat in a terminal."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.policy.checkpoint_files import DPO_RECORD, write_lora, write_model
from tests.terminal import Terminal

WORKER = Path(__file__).with_name("fake_worker.py")


@pytest.fixture(scope="session")
def chat_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, an SFT adapter, a finished DPO run on top of it, and an engine that only chats, in `engine/`."""
    root = tmp_path_factory.mktemp("chat 工作区")
    write_model(root / "models" / "tiny-base")
    write_lora(root / "saves" / "sft")
    write_lora(root / "saves" / "dpo")
    (root / "saves/dpo/run.json").write_text(json.dumps(DPO_RECORD), encoding="utf-8")
    said = {"base": "/usr/bin/python3", "folders": [], "versions": {"llamafactory": "0.9.5"}, "python": "3.11.0"}
    script = f"""#!/bin/sh
if [ "$1" = -c ]; then echo {shlex.quote(json.dumps(said))}; else exec {shlex.quote(sys.executable)} {WORKER}; fi
"""
    python = root / "engine/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(script)
    python.chmod(0o755)
    return root


@pytest.fixture
def chat_arguments(chat_workspace: Path) -> list[str]:
    """`rlguide chat` on this workspace, with the scripted engine."""
    return ["chat", "-w", str(chat_workspace), "--engine", str(chat_workspace / "engine")]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folders, and the current folder of the chat."""
    for name in ("STATE", "CACHE", "DATA"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def chat(home: Path, chat_arguments: list[str]) -> Iterator[Callable[..., Terminal]]:
    """Starts a chat in a terminal, and waits for its prompt."""
    terminals: list[Terminal] = []

    def start(*options: str, **values: object) -> Terminal:
        terminal = Terminal([*chat_arguments, *options], **values)  # type: ignore[arg-type]
        terminals.append(terminal)
        terminal.until("you:")
        return terminal

    yield start
    for terminal in terminals:
        terminal.close()
