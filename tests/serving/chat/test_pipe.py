"""A chat in a pipe: a line for a line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import run
from tests.terminal import ROOT


def piped(arguments: list[str], text: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rlguide", *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, cwd=ROOT)


def test_each_line_is_a_prompt_of_its_own(home: Path, chat_arguments: list[str]) -> None:
    done = piped([*chat_arguments, "--json", "--system", "s"], "你好\n\nsay a\\nb\nexit\nnever\n")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["prompt"] for row in rows] == ["你好", "say a\\nb"]
    assert rows[0]["response"] == "saves/dpo heard '你好' as message 2 with 's'"
    assert rows[1] == {"prompt": "say a\\nb", "response": "a\nb", "finish_reason": "stop"}


def test_one_conversation_if_that_is_asked_for(home: Path, chat_arguments: list[str]) -> None:
    text = "one\ntwo\n/clear\nsay a\\nb\\e[2J\n"
    lines = [piped([*chat_arguments, *more], text).stdout.splitlines() for more in ([], ["--conversation"])]
    assert [line[-1] for line in lines[0][:2]] == ["1", "1"]
    assert [line[-1] for line in lines[1][:2]] == ["1", "3"]
    assert lines[0][2] == lines[1][2] == "a\\nb[2J"


def test_a_reader_that_leaves_ends_it_without_a_word(home: Path, chat_arguments: list[str]) -> None:
    command = [sys.executable, "-m", "rlguide", *chat_arguments]
    log = home / "prompts"
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True
    )
    assert process.stdin and process.stdout and process.stderr
    process.stdin.write("say one\n")
    process.stdin.flush()
    assert process.stdout.readline() == "one\n"
    process.stdout.close()
    try:
        process.stdin.write("endless\n" * 3)  # each would take a thousand seconds
        process.stdin.close()
    except BrokenPipeError:
        pass
    assert process.wait(20) == 0
    assert "Traceback" not in process.stderr.read()
    assert not log.exists()


@pytest.mark.parametrize(
    "option",
    [
        *(["--sft"], ["--base", "x"], ["--template", "x"], ["--step", "3"], ["--last"]),
        *(["--trust-base"], ["--trust-remote-code"]),
    ],
)
def test_an_address_has_loaded_its_own_model(home: Path, capsys: pytest.CaptureFixture[str], option: list[str]) -> None:
    assert run("chat", "http://127.0.0.1:1/v1", *option) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert option[0] in first and second == f"  fix: remove {option[0]}"
