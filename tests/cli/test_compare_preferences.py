"""`rlguide compare --judge` and `--vote` as a person types them, models and judge behind a server on loopback."""

from __future__ import annotations

import json
import os
import pty
import shlex
import signal
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyte
import pytest

from rlguide.evaluation.comparison.record import read_compared
from rlguide.evaluation.preference.voting import Booth
from tests.cli.terminal import RLGUIDE
from tests.evaluation.preference.test_judging import perfect
from tests.inference.server import Reply, Scripted, completion, serving


def respond(body: dict[str, Any], place: int) -> Reply:
    if body["model"] == "judge":
        return perfect(body, place)
    text = body["messages"][-1]["content"]
    number = int(text.split()[-1])
    good = (body["model"] == "dpo") == bool(number % 3)
    return Reply(completion(f"{'good' if good else 'bad'} {text}\x1b[31m{'x' * (number * 7 % 11)}"))


@pytest.fixture
def server() -> Iterator[Scripted]:
    with serving(respond, models=("sft", "dpo", "judge")) as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "RLGUIDE_API_KEY", "RLGUIDE_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    place = tmp_path / "a workspace"
    place.mkdir()
    return place


def prompts(folder: Path, count: int) -> list[str]:
    (folder / "prompts.txt").write_text("".join(f"question {at}\n" for at in range(count)))
    return ["--prompts", "prompts.txt", "-n", str(count), "--name", "both"]


def compare(folder: Path, server: Scripted, *more: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    command = [RLGUIDE, "compare", f"{server.url}#sft", f"{server.url}#dpo", *more]
    return subprocess.run(command, cwd=folder, input=typed, capture_output=True, text=True, timeout=120)


def test_a_judge_that_is_not_named_well_is_said_before_any_model_is_asked(folder: Path, server: Scripted) -> None:
    done = compare(folder, server, *prompts(folder, 2), "--judge-endpoint", server.url)
    assert done.returncode == 2 and "serves several models" in done.stderr and not server.seen
    fix = done.stderr.split("fix: name one: ")[1].strip()
    assert fix == f"{server.url}#sft"
    assert compare(folder, server, *prompts(folder, 2), "--judge", fix.replace("sft", "judge")).returncode == 0


def test_a_judge_in_a_pipe(folder: Path, server: Scripted) -> None:
    asked = [*prompts(folder, 60), "--judge", "judge", "--judge-endpoint", server.url]
    done = compare(folder, server, *asked, "--json")
    assert done.returncode == 0, done.stderr
    assert "120 calls of the judge, about" in done.stderr and "prices of the endpoint" in done.stderr
    assert "a win rate of" in done.stderr and "what 60 prompts can show" in done.stderr
    found = json.loads(done.stdout)["preferences"]["judge"][0]
    assert (found["wins"], found["losses"], found["position_bias"]["value"]) == (40, 20, 0)
    assert abs(found["length_controlled"]["win_rate"]["value"] - 2 / 3) < 0.1
    kept = json.loads((folder / "comparisons/both/preferences.json").read_text())
    assert kept["judge"][0] == found and len(next(iter(kept["verdicts"].values()))) == 60
    before = len(server.seen)
    again = compare(folder, server, *asked, "--show", "0")
    assert again.returncode == 0 and len(server.seen) == before
    page = (folder / "comparisons/both/comparison.html").read_text()
    assert '<h2 id="preferences">' in page and "win rate at equal lengths" in page and "66.7 %" in page
    assert (
        "win rate at equal lengths" in again.stdout and "the judge prefers" in again.stdout
    ) or "beyond chance" in again.stdout


def test_many_calls_are_confirmed_and_the_fix_works(folder: Path, server: Scripted) -> None:
    asked = [*prompts(folder, 260), "--show", "0", "--judge", f"{server.url}#judge"]
    refused = compare(folder, server, *asked)
    assert refused.returncode == 2 and not any(body["model"] == "judge" for body in server.seen)
    fix = shlex.split(refused.stderr.rstrip().split("fix: ")[-1])
    done = subprocess.run([RLGUIDE, *fix[1:]], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and sum(body["model"] == "judge" for body in server.seen) == 520


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--judge", "nobody"], "--judge-endpoint"),
        (["--judge-prompt", "x"], "--judge MODEL"),
        (["--judge", "judge", "--judge-endpoint", "ftp://x"], "http://127.0.0.1:8000/v1"),
        (["--judge", "judge", "--judge-endpoint", "http://h", "--judge-prompt", "none.yaml"], "fix"),
    ],
)
def test_no_judge(folder: Path, server: Scripted, options: list[str], words: str) -> None:
    done = compare(folder, server, *prompts(folder, 3), *options)
    assert done.returncode in (1, 2) and words in done.stderr and not server.seen
    assert len(done.stderr.strip().splitlines()) == 2


def test_votes_in_a_pipe_and_with_a_judge(folder: Path, server: Scripted) -> None:
    asked = prompts(folder, 12)
    assert compare(folder, server, *asked).returncode == 0
    kept = folder / "comparisons/both"
    found = Booth(kept, read_compared(kept), "dpo", "sft", "ann", 5)
    lines = ["left" if (found.left(record) == "model") else "right" for record in found.ballot()]
    options = ["--vote", "--voter", "ann", "--seed", "5", "--judge", f"{server.url}#judge"]
    first = compare(folder, server, *asked, *options, typed="nonsense\n" + "\n".join(lines[:5]) + "\n")
    assert "7 pairs are left" in first.stderr
    done = compare(folder, server, *asked, *options, "--json", typed="\n".join(lines[5:]) + "\n")
    assert done.returncode == 0, done.stderr
    votes = json.loads(done.stdout)["preferences"]
    assert (votes["votes"][0]["wins"], votes["votes"][0]["voters"]) == (12, ["ann"])
    assert votes["agreement"][0]["value"] == pytest.approx(8 / 12)


def screen_of(folder: Path, server: Scripted, keys: list[str], columns: int) -> tuple[int, list[list[str]]]:
    """Exit code, and the screen before each key."""
    parent, child = pty.openpty()
    screen = pyte.Screen(columns, 200)
    stream = pyte.ByteStream(screen)
    seen: list[list[str]] = []
    environment = {**os.environ, "COLUMNS": str(columns), "LINES": "200", "TERM": "xterm"}
    command = [RLGUIDE, "compare", f"{server.url}#sft", f"{server.url}#dpo", *prompts(folder, 6), "--vote"]
    process = subprocess.Popen(command, cwd=folder, stdin=child, stdout=child, stderr=child, env=environment)
    os.close(child)
    os.set_blocking(parent, False)

    def settle(count: int) -> None:
        deadline, quiet = time.monotonic() + 20, 0
        while time.monotonic() < deadline:
            try:
                if not (part := os.read(parent, 65536)):
                    return
                stream.feed(part)
                quiet = 0
            except BlockingIOError:
                quiet += sum(" of 6 " in line for line in screen.display) >= count or process.poll() is not None
                if quiet > 5:
                    return
                time.sleep(0.05)
            except OSError:
                return

    for number, key in enumerate(keys):
        settle(number + 1)
        seen.append(list(screen.display))
        os.write(parent, key.encode())
    settle(99)
    process.wait(20)
    settle(99)
    seen.append(list(screen.display))
    os.close(parent)
    return process.returncode, seen


@pytest.mark.parametrize("columns", [120, 50])
def test_votes_on_a_terminal(folder: Path, server: Scripted, columns: int) -> None:
    code, seen = screen_of(folder, server, ["\x1b[D", "r", "t", "u", "q"], columns)
    assert code == 0
    start = next(at for at, line in enumerate(seen[0]) if "1 of 6" in line)
    shown = [line for line in seen[0][start:] if line.strip()]
    assert not any("sft" in line or "dpo" in line or "win" in line for line in shown)
    beside = any("left" in line and "right" in line for line in shown)
    assert beside == (columns == 120)
    assert any("good question" in line for line in shown) and any("bad question" in line for line in shown)
    votes = (folder / "comparisons/both/votes.jsonl").read_text().split("\n")
    assert [json.loads(line)["choice"] for line in votes if line][2:] == ["tie", "undo"]
    assert any("4 pairs are left" in line for line in seen[-1])
    assert any("votes:" in line for line in seen[-1])


def test_ctrl_c_leaves_the_terminal_as_it_was(folder: Path, server: Scripted) -> None:
    parent, child = pty.openpty()
    before = termios.tcgetattr(child)
    command = [RLGUIDE, "compare", f"{server.url}#sft", f"{server.url}#dpo", *prompts(folder, 6), "--vote"]
    process = subprocess.Popen(command, cwd=folder, stdin=child, stdout=child, stderr=child)
    votes = folder / "comparisons/both/votes.jsonl"
    deadline = time.monotonic() + 30
    while not votes.exists() and time.monotonic() < deadline:
        if termios.tcgetattr(child) != before:
            os.write(parent, b"t")
        time.sleep(0.1)
    assert termios.tcgetattr(child) != before
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert termios.tcgetattr(child) == before and '"tie"' in votes.read_text()
    os.close(parent)
    os.close(child)
