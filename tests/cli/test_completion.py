"""What a shell completes: in the shells themselves where they are installed, and never with a word of an error."""

from __future__ import annotations

import json
import os
import pty
import select
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlguide.cli import COMMANDS
from rlguide.workspace import Workspace
from tests.cli.terminal import RLGUIDE
from tests.policy.checkpoint_files import write_lora
from tests.runs.manage.run_files import write_run

SHELLS = ("bash", "zsh", "fish")
PATIENCE = 120  # seconds, of a busy machine


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of awkward names, a checkpoint, datasets, and an engine's table in the cache."""
    ws = Workspace(tmp_path_factory.mktemp("completed"))
    write_lora(write_run(ws, "first (old) run") / "checkpoint-4")
    write_run(ws, "二号 run's")
    ws.data.mkdir()
    ws.dataset_info.write_text(json.dumps({name: {"file_name": "x"} for name in ("polite", "pairs", "多轮 data")}))
    table = {
        "pref_beta": {"kinds": ["float"], "choices": [], "default": 0.1},
        "pref_loss": {"kinds": ["str"], "choices": ["sigmoid", "ipo"], "default": "sigmoid"},
        "packing": {"kinds": ["bool"], "choices": [], "default": None},
        "hub_model_id": {"kinds": ["str"], "choices": [], "default": None},
    }
    cache = ws.root / "cache/rlguide/engines"
    cache.mkdir(parents=True)
    (cache / "x.json").write_text(json.dumps({"fields": table}))
    return ws.root


def environment(folder: Path, **others: str) -> dict[str, str]:
    found = {key: value for key, value in os.environ.items() if not key.startswith(("RLGUIDE", "COMP_", "_"))}
    path = f"{Path(RLGUIDE).parent}{os.pathsep}{os.environ['PATH']}"
    return {**found, "PATH": path, "XDG_CACHE_HOME": str(folder / "cache"), "HOME": str(folder), **others}


def asked(folder: Path, line: str, shell: str = "bash") -> subprocess.CompletedProcess[str]:
    """The answer to a shell that completes the end of this line."""
    words = line.split(" ")
    bash = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    said = bash if shell == "bash" else {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    given = environment(folder, _RLGUIDE_COMPLETE=f"complete_{shell}", **said)
    return subprocess.run([RLGUIDE], cwd=folder, env=given, capture_output=True, text=True)


def completed(folder: Path, line: str) -> list[str]:
    done = asked(folder, line)
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1]


RUNS = [r"saves/first\ \(old\)\ run", r"saves/二号\ run\'s"]
CHECKPOINT = r"saves/first\ \(old\)\ run/checkpoint-4"


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("rlguide tr", ["train"]),
        ("rlguide runs ", ["compare", "log", "remove"]),
        ("rlguide stop ", RUNS),
        ("rlguide watch ", RUNS),
        ("rlguide runs compare ", RUNS),
        ("rlguide runs remove saves/f", RUNS[:1]),
        ("rlguide eval saves/二", RUNS[1:]),
        ("rlguide chat saves/", [*RUNS, CHECKPOINT]),
        ("rlguide train --from ", RUNS),
        ("rlguide train --replay ", RUNS),
        ("rlguide watch ", RUNS),
        ("rlguide report ", RUNS),
        ("rlguide runs log ", RUNS),
        ("rlguide train --stop-on nan,over", ["nan,overfitted", "nan,over_optimised"]),
        ("rlguide train --sft-ckpt ", ["latest", RUNS[0], CHECKPOINT, RUNS[1]]),
        ("rlguide configure --dataset ", ["polite", "pairs", r"多轮\ data"]),
        ("rlguide train -d polite,p", ["polite,pairs"]),
        ("rlguide show p", ["polite", "pairs"]),
        ("rlguide remove ", ["polite", "pairs", r"多轮\ data"]),
        ("rlguide download ul", ["ultrafeedback"]),
        ("rlguide train --method k", ["kto"]),
        ("rlguide train --method dpo --loss ", ["sigmoid", "hinge", "ipo"]),
        ("rlguide train --best-by ", ["loss", "accuracy", "margin"]),
        ("rlguide train --set pref_be", ["pref_beta=0.1"]),
        ("rlguide plan --set pref_l", ["pref_loss=sigmoid", "pref_loss=ipo"]),
        ("rlguide eval --set packing", ["packing=true", "packing=false"]),
        ("rlguide configure --set hub_m", ["hub_model_id="]),
        ("rlguide configure --set cutoff", ["cutoff_len="]),  # of the guide, and not in this engine's table
        ("rlguide explain orp", ["orpo"]),
        ("rlguide explain lora_r", ["lora_rank"]),
        ("rlguide recipes show qwen3-0.6b-base-s", ["qwen3-0.6b-base-sft-1x24gb"]),
        ("rlguide recipes copy x --dataset po", ["polite"]),
    ],
)
def test_a_name_is_completed(folder: Path, line: str, wanted: list[str]) -> None:
    assert completed(folder, line) == wanted


def test_the_workspace_is_the_one_that_is_named(folder: Path, tmp_path: Path) -> None:
    assert completed(tmp_path, "rlguide stop ") == [""]
    assert completed(tmp_path, f"rlguide stop -w {folder} ") == RUNS
    given = environment(folder, RLGUIDE_WORKSPACE=str(folder), _RLGUIDE_COMPLETE="complete_bash")
    given |= {"COMP_WORDS": "rlguide stop ", "COMP_CWORD": "2"}
    done = subprocess.run([RLGUIDE], cwd=tmp_path, env=given, capture_output=True, text=True)
    assert done.stdout.split("\n")[:-1] == RUNS


def test_a_damaged_workspace_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/dataset_info.json").write_text("{")
    (tmp_path / "cache/rlguide/engines").mkdir(parents=True)
    (tmp_path / "cache/rlguide/engines/x.json").write_text('{"fields": [1]}')
    for line in ("rlguide show ", "rlguide chat ", "rlguide train --set pref_beta"):
        assert completed(tmp_path, line) in ([""], ["pref_beta="])


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([*COMMANDS, "--debug", "x"]),
    st.text("abz-=' \"\\$`(,:\n", max_size=12),
    st.sampled_from(SHELLS),
)
def test_no_line_makes_it_say_an_error(folder: Path, command: str, rest: str, shell: str) -> None:
    done = asked(folder, f"rlguide {command} {rest}", shell)
    assert done.stderr == "" and "Traceback" not in done.stdout


@pytest.mark.parametrize("given", [{}, {"COMP_WORDS": "rlguide st"}, {"COMP_WORDS": "rlguide st", "COMP_CWORD": "x"}])
@pytest.mark.parametrize("kind", ["complete_bash", "complete_none", "nonsense", ""])
def test_a_shell_that_asks_in_another_way_gets_no_error(folder: Path, given: dict[str, str], kind: str) -> None:
    done = subprocess.run(
        [RLGUIDE], cwd=folder, env=environment(folder, _RLGUIDE_COMPLETE=kind, **given), capture_output=True, text=True
    )
    assert done.stderr == "" and "Traceback" not in done.stdout


def test_it_is_fast(folder: Path) -> None:
    def seconds(*command: str, **given: str) -> float:
        started = time.perf_counter()
        subprocess.run(command, cwd=folder, env=environment(folder, **given), capture_output=True)
        return time.perf_counter() - started

    line = {"_RLGUIDE_COMPLETE": "complete_bash", "COMP_WORDS": "rlguide chat saves/", "COMP_CWORD": "2"}
    # In turns, so that what else the machine does slows down both.
    took = [(seconds(sys.executable, "-c", "import typer, rich"), seconds(RLGUIDE, **line)) for _ in range(5)]
    least, ours = map(min, zip(*took, strict=True))
    assert ours < 4 * least


def typed(folder: Path, shell: str, lines: list[str]) -> list[str]:
    """What a shell has on its line after a tab behind each of these, as it passes it on: words in angle brackets."""
    begin = {"bash": ["--norc", "-i"], "zsh": ["-i"]}[shell]
    set_up = {
        "bash": b"bind 'set enable-bracketed-paste off'\n",
        "zsh": b"autoload -Uz compinit; compinit -u -D; bindkey -e\n",
    }[shell]
    parent, child = pty.openpty()
    answered = folder / f"answered {shell}"
    given = environment(folder, TERM="dumb", PS1="> ", INPUTRC="/dev/null")
    given["PATH"] = f"{counting(folder, answered)}{os.pathsep}{given['PATH']}"
    found = []
    with subprocess.Popen(
        [shell, *begin], cwd=folder, env=given, stdin=child, stdout=child, stderr=child, start_new_session=True
    ) as process:
        os.close(child)
        os.write(parent, set_up + b"source ./completion.sh; printf 'R''EADY\\n'\n")
        until(parent, b"READY")
        for number, line in enumerate(lines):
            os.write(parent, f"{line}\t".encode())
            wait_for_lines(answered, number + 1)
            os.write(parent, f"\x01printf '<%s>' \x05 'E''ND{number}'\n".encode())
            found.append(until(parent, f"<END{number}>".encode()))
        process.kill()
    os.close(parent)
    return found


def counting(folder: Path, told: Path) -> Path:
    """A folder with an rlguide that adds a line to `told` when it has answered."""
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    program = tools / "rlguide"
    program.write_text(f'#!/bin/sh\n{shlex.quote(RLGUIDE)} "$@"\necho >> {shlex.quote(str(told))}\n')
    program.chmod(0o755)
    return tools


def wait_for_lines(path: Path, count: int) -> None:
    """Until the shell has its answer: what is typed before may be taken for a part of the line."""
    deadline = time.monotonic() + PATIENCE
    while not path.exists() or path.read_text().count("\n") < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def until(terminal: int, mark: bytes) -> str:
    got, deadline = b"", time.monotonic() + PATIENCE
    while mark not in got:
        ready = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0]
        assert ready, got.decode(errors="replace")
        got += os.read(terminal, 65536)
    return got.decode(errors="replace")


COMPLETED = {
    "rlguide stop saves/fir": "<rlguide><stop><saves/first (old) run>",
    "rlguide train --set pref_be": "<rlguide><train><--set><pref_beta=0.1>",
    "rlguide train --method or": "<rlguide><train><--method><orpo>",
    "rlguide recip": "<rlguide><recipes>",
}


@pytest.mark.parametrize("shell", [shell for shell in SHELLS if shutil.which(shell)])
def test_in_the_shell_itself(folder: Path, shell: str) -> None:
    given = environment(folder, _RLGUIDE_COMPLETE=f"source_{shell}")
    script = subprocess.run([RLGUIDE], env=given, capture_output=True, text=True).stdout
    (folder / "completion.sh").write_text(script)
    if shell != "fish":
        for got, words in zip(typed(folder, shell, list(COMPLETED)), COMPLETED.values(), strict=True):
            assert words in got
        return
    for line, words in COMPLETED.items():
        asking = ["fish", "--no-config", "-c", f"source ./completion.sh; complete -C '{line}'"]
        done = subprocess.run(asking, cwd=folder, env=environment(folder), capture_output=True, text=True)
        assert [row.split("\t")[0] for row in done.stdout.splitlines()] == [words.split("<")[-1][:-1]]
