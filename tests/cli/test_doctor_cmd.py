from __future__ import annotations

import http.server
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlguide.doctor import examine as doctor
from rlguide.doctor import host
from rlguide.doctor.examine import examine
from rlguide.doctor.finding import Finding
from rlguide.engine.find import Engine
from rlguide.engine.hardware import Gpu
from rlguide.engine.pins import mismatches, read_pins
from rlguide.workspace import Workspace
from tests.cli.command import run

PINS = read_pins()


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine as tested, by its versions."""
    bin_folder = tmp_path / "engine" / "bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "llamafactory-cli").touch()
    found = Engine(bin_folder / "python", dict(PINS))
    monkeypatch.setattr(doctor, "find_engine", lambda explicit=None: found)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))  # no engine of the person who runs the tests
    return found


def findings(root: Path, name: str) -> list[Finding]:
    return [item for item in examine(Workspace(root)) if item.name == name]


def test_the_pins_are_those_of_the_package() -> None:
    assert PINS["llamafactory"] == "0.9.5"
    assert PINS["trl"] == "0.19.1"
    assert mismatches(PINS, PINS) == []


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({"trl": "0.24.0"}, "trl", "silently train plain sigmoid"),
        ({"torch": "2.15.0"}, "torchaudio", "does not import beside torch 2.15.0"),
        ({"torch": "2.15.0"}, "torchvision", "does not fit torch 2.15.0"),
        ({"torch": "2.11.0+cpu"}, "torchvision", "torchvision::nms"),
        ({"transformers": "5.0.0"}, "transformers", "does not import beside transformers 5"),
        ({"torchaudio": None}, "torchaudio", "import torchaudio"),
        ({"llamafactory": "0.9.3"}, "llamafactory", "qwen3_nothink"),
        ({"trl": "0.15.0"}, "trl", "refuses"),
    ],
)
def test_each_known_mismatch_says_what_it_breaks(changes: dict[str, str | None], name: str, words: str) -> None:
    versions = {key: value for key, value in {**PINS, **changes}.items() if value is not None}
    [found] = [item for item in mismatches(versions, PINS) if item.name == name]
    assert found.breaks is not None and words in found.breaks


def test_a_harmless_difference_is_a_warning(engine: Engine, tmp_path: Path) -> None:
    engine.versions["datasets"] = "3.6.0"
    [found] = findings(tmp_path, "versions")
    assert found.status == "warning"
    assert found.fix == f"{engine.python} -m pip install datasets==4.0.0"


def test_builds_for_one_cuda_count_as_the_pinned_version() -> None:
    versions = {**PINS, "torch": "2.11.0+cu126", "torchvision": "0.26.0+cu126", "torchaudio": "2.11.0+cu126"}
    assert mismatches(versions, PINS) == []


def test_a_problem_makes_the_exit_code_1(engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor", "-w", str(tmp_path)) == 0
    engine.versions["trl"] = "0.15.0"
    assert run("doctor", "-w", str(tmp_path)) == 1
    out = capsys.readouterr().out
    assert "refuses" in out and "pip install trl==0.19.1" in out


def test_a_newer_trl_is_a_warning_that_names_the_losses(engine: Engine, tmp_path: Path) -> None:
    [good] = findings(tmp_path, "methods")
    assert good.status == "ok" and "dpo (sigmoid, hinge, ipo)" in good.what
    assert "rlguide engine install ppo" in good.what
    engine.versions["trl"] = "0.24.0"
    [found] = findings(tmp_path, "versions")
    assert found.status == "warning" and "pip install trl==0.19.1" in found.fix
    *wrong, rest = findings(tmp_path, "methods")
    assert [item.status for item in wrong] == ["warning", "warning"]
    assert all("silently" in item.what for item in wrong)
    assert "dpo (sigmoid), kto" in rest.what


def test_json_and_speed(engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    assert run("doctor", "--json", "-w", str(tmp_path)) == 0
    assert time.monotonic() - started < 2
    rows = json.loads(capsys.readouterr().out)
    assert {"python", "rlguide", "engine", "versions", "host", "disk", "gpu", "datasets", "hub"} <= {
        r["name"] for r in rows
    }


def test_no_engine_is_a_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor", "--engine", str(tmp_path / "nowhere"), "-w", str(tmp_path)) == 1
    assert "RLGUIDE_ENGINE" in capsys.readouterr().out


def test_the_workspace_is_looked_through(engine: Engine, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "dataset_info.json").write_text("{broken")
    [found] = findings(tmp_path, "datasets")
    assert found.status == "problem"
    (data / "dataset_info.json").write_text(json.dumps({"a": {"file_name": "gone.json"}, "b": {"hf_hub_url": "x/y"}}))
    [found] = findings(tmp_path, "datasets")
    assert found.status == "warning" and "files of a are missing" in found.what
    leftover = data / ".dataset_info.json.abc.tmp"
    leftover.write_text("half")
    assert findings(tmp_path, "leftovers") == []  # somebody may be writing it right now
    os.utime(leftover, (1, 1))
    [found] = findings(tmp_path, "leftovers")
    assert str(leftover) in found.fix
    (tmp_path / "saves" / "checkpoint-5").mkdir(parents=True)
    [found] = findings(tmp_path, "checkpoints")
    assert found.status == "warning"


def test_the_token_is_never_shown(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret ")
    monkeypatch.setenv("HF_ENDPOINT", "https://me:word@mirror.example")
    for arguments in (["doctor"], ["doctor", "--json"]):
        run(*arguments, "-w", str(tmp_path))
        out = capsys.readouterr().out
        assert "hf_secret" not in out and "me:word" not in out
        assert "mirror.example" in out and "HF_TOKEN set" in out


def test_gpus(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gib = 1 << 30
    gpus = [Gpu(0, "RTX A6000", 48 * gib, 47 * gib, (8, 6)), Gpu(1, "RTX A6000", 48 * gib, 5 * gib, (8, 6))]
    monkeypatch.setattr(doctor, "list_gpus", lambda: [*gpus, Gpu(2, "T4", 16 * gib, 16 * gib, (7, 5))])
    monkeypatch.setattr(host, "driver_version", lambda: "550.54.14")
    assert [item.status for item in findings(tmp_path, "gpu")] == ["ok", "warning", "warning"]
    [driver] = findings(tmp_path, "driver")
    assert driver.status == "problem" and "580" in driver.fix
    monkeypatch.setattr(host, "driver_version", lambda: "580.65.06")
    assert findings(tmp_path, "driver")[0].status == "ok"
    engine.versions["torch"] = "2.11.0+cu126"
    monkeypatch.setattr(host, "driver_version", lambda: "550.54.14")
    assert findings(tmp_path, "driver")[0].status == "ok"


def test_a_space_in_the_engines_path_matters_with_several_gpus(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spaced = Engine(tmp_path / "my engine" / "bin" / "python", dict(PINS))
    monkeypatch.setattr(doctor, "find_engine", lambda explicit=None: spaced)
    gpu = Gpu(0, "RTX A6000", 48 << 30, 48 << 30, (8, 6))
    monkeypatch.setattr(doctor, "list_gpus", lambda: [gpu])
    assert findings(tmp_path, "launcher") == []
    monkeypatch.setattr(doctor, "list_gpus", lambda: [gpu, gpu])
    [found] = findings(tmp_path, "launcher")
    assert found.status == "problem"


@pytest.fixture
def hub() -> Iterator[tuple[str, threading.Event]]:
    """A server that answers 404 to everything, after `slow` is no longer set."""
    slow = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            deadline = time.monotonic() + 6
            while slow.is_set() and time.monotonic() < deadline:
                time.sleep(0.05)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", slow
    slow.clear()
    server.shutdown()
    server.server_close()


def test_the_hub_answers_or_not(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: tuple[str, threading.Event]
) -> None:
    address, slow = hub
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", address)
    assert [item.status for item in findings(tmp_path, "network")] == ["ok"]
    slow.set()
    started = time.monotonic()
    [found] = findings(tmp_path, "network")
    assert time.monotonic() - started < 4
    assert found.status == "warning" and "HF_ENDPOINT" in found.fix
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    [found] = findings(tmp_path, "network")
    assert "refused" in found.what
