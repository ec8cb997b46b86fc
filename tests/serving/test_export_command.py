"""`rlguide export` with --ollama and --push, over the scripted engine of test_export.py and a hub on loopback."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rlguide.cli import main
from rlguide.engine.find import Engine
from rlguide.workspace import Workspace
from tests.hub.upload_server import TOKEN, UploadHub
from tests.serving.test_export import SCORER, calls, script, ws

__all__ = ["script", "ws"]

PARTS = {
    "prefix": "",
    **{name: [f"<{name}>", "\n"] for name in ("system", "user", "assistant")},
    "system_in_user": False,
    "default_system": "",
    "thought": "",
    "stops": ["<end>"],
    "positions": 4096,
}
NAME = "org/my-model"


@pytest.fixture
def engine(
    ws: Workspace, script: Callable[..., Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    """An engine that also tells the texts of a template, those in the file `parts`."""
    made = script()
    (tmp_path / "parts").write_text(json.dumps(PARTS))
    told = f'{{"same": True, "changed": False, "parts": json.loads(Path({str(tmp_path / "parts")!r}).read_text())}}'
    worker = SCORER.format(python=sys.executable, merged=str(tmp_path / "merged"))
    worker = worker.replace("    sys.exit(1)\n", f"    print(json.dumps({told}))\n    sys.exit()\n")
    made.python.write_text(worker)
    record = ws.root / "saves/tiny/lora/dpo/run.json"
    values = json.loads(record.read_text())
    values["config"].pop("trust_remote_code")
    record.write_text(json.dumps(values))
    monkeypatch.setattr("rlguide.engine.find.find_engine", lambda given: made)
    yield made


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[UploadHub]:
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with UploadHub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        yield server


def run(*arguments: str) -> int:
    """The command line's exit code."""
    try:
        return main(arguments)
    except SystemExit as end:
        return int(end.code or 0)


def test_ollama_gets_a_modelfile_and_the_merge_is_made_once(
    engine: Engine, ws: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("export", "--ollama") == 0
    said = capsys.readouterr()
    command = shlex.split(next(line for line in said.err.splitlines() if line.startswith("next: "))[6:])
    assert command[:4] == ["ollama", "create", "dpo", "-f"]
    assert 'TEMPLATE """{{ if .System }}<system>' in (ws.root / command[4]).read_text()
    assert said.out == "saves/tiny/merged/dpo\n"
    card = ws.root / "saves/tiny/merged/dpo/README.md"
    assert card.read_text().startswith("---\nlibrary_name: transformers\n")
    card.write_text("mine")
    assert run("export", "--ollama", "--json") == 0  # it is there already, and is taken as it is
    assert json.loads(capsys.readouterr().out)["ollama"] == shlex.join(command)
    assert len(calls(tmp_path)) == 1 and card.read_text() == "mine"
    assert run("export") == 2  # without a wish for more, an existing folder is refused as ever


def test_a_template_that_ollama_cannot_say_is_said(
    engine: Engine, ws: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "parts").write_text(json.dumps({**PARTS, "prefix": "{{ x }}"}))
    assert run("export", "--ollama") == 1
    said = capsys.readouterr().err
    assert "no Modelfile can say the template qwen3_nothink" in said and "ollama create" not in said
    assert not (ws.root / "saves/tiny/merged/dpo/Modelfile").exists()


def test_a_push_asks_and_without_a_terminal_needs_yes(
    engine: Engine,
    hub: UploadHub,
    ws: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["rlguide", "export", "saves/tiny/lora/dpo", "--push", NAME, "-o", "my models/x"])
    assert run(*sys.argv[1:]) == 2
    fix = capsys.readouterr().err.splitlines()[-1]
    assert hub.repositories == {} and calls(tmp_path) == []  # nothing was merged for nothing
    again = shlex.split(fix.split("`")[1])
    assert run(*again[1:], "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["path"] == "my models/x"  # all that was typed stands in the fix
    assert json.loads(said.out)["pushed"].startswith(f"{hub.url}/{NAME}/commit/")
    assert "new, private" in said.err and "licence" in said.err
    assert {"model.safetensors", "README.md", "rlguide.json", "Modelfile"} <= set(hub.repositories[NAME])
    assert hub.private == {NAME: True}
    everything = b"".join(hub.repositories[NAME].values())
    assert str(tmp_path).encode() not in everything and TOKEN.encode() not in everything
    assert TOKEN not in said.err + said.out
    hub.repositories["org/theirs"] = {"model.safetensors": b"theirs"}
    assert run("export", "saves/tiny/lora/dpo", "--push", "org/theirs", "--yes") == 2
    assert hub.repositories["org/theirs"] == {"model.safetensors": b"theirs"}


@pytest.mark.parametrize(("answer", "pushed"), [("y", True), ("", False), ("n", False)])
def test_the_answer_counts(
    engine: Engine, hub: UploadHub, monkeypatch: pytest.MonkeyPatch, answer: str, pushed: bool
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda question, default, err: answer == "y" or (not answer and default))
    assert run("export", "--push", NAME, "--public") == (0 if pushed else 1)
    assert (NAME in hub.repositories) is pushed
    assert hub.private.get(NAME, False) is False


def test_what_is_wrong_is_known_before_anything_is_merged(
    engine: Engine, hub: UploadHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    hub.refusals["whoami"] = 401
    assert run("export", "--push", NAME, "--yes") == 1
    assert "hf auth login" in capsys.readouterr().err
    hub.repositories["org/theirs"] = {"model.safetensors": b"theirs"}
    assert run("export", "--push", "org/theirs", "--yes") == 2
    assert run("export", "--gguf", "q8_0") == 2
    assert run("export", "--gguf", "q9") == 2
    assert run("export", "--push", "nobody") == 2
    capsys.readouterr()
    assert run("export", "--public") == 2 and "--push ORG/NAME" in capsys.readouterr().err
    assert calls(tmp_path) == []
