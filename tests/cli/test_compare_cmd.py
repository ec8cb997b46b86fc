"""`rlguide compare` on two servers of loopback: what is on a screen of any width, in a pipe and in `--json`."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.cli.command import run
from tests.cli.terminal import on_a_terminal, plain
from tests.inference.server import Reply, completion, serving

CHINESE = "旧港口在一排狭窄房屋后面，从前渔民常坐那里修补网具，直到铁路通车。"
ENGLISH = "The old harbour lies behind a row of narrow houses, where fishermen mended nets until the railway came."
PROMPTS = ["介绍一下旧港口。", "Tell me about the old harbour.", "Say a dangerous thing."]
EVIL = "\x1b]0;taken over\x07\x1b[2J and [bold]brackets[/bold]"
RESPONSES = {
    "a": [CHINESE, ENGLISH, EVIL],
    "b": [CHINESE.replace("渔民", "水手"), ENGLISH.replace("nets", "ships"), ""],
}


@pytest.fixture
def addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Two models, each behind an address of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("prompts.txt").write_text("\n".join(PROMPTS), encoding="utf-8")
    with ExitStack() as stack:
        found = []
        for name, texts in RESPONSES.items():
            by_prompt = dict(zip(PROMPTS, texts, strict=True))
            server = stack.enter_context(serving(lambda asked, _, by=by_prompt: reply(asked, by), [name]))
            found.append(f"{server.url}#{name}")
        yield found


@pytest.mark.parametrize("columns", [40, 80, 120, 200])
def test_responses_fit_a_screen(tmp_path: Path, addresses: list[str], columns: int) -> None:
    assert run("compare", *addresses, "--prompts", "prompts.txt") == 0  # so that the terminal gets no progress bar
    code, text = on_a_terminal(
        tmp_path, "compare", *addresses, "--prompts", "prompts.txt", "--show", "all", columns=columns
    )
    lines = plain(text.replace("\x1b]0;", "BELL"))
    assert code == 0 and "BELL" not in "".join(lines) and "\x1b[2J" not in text
    shown = [line for line in lines if "://" not in line and "what 3 prompts" not in line]
    assert max(map(cell_len, shown)) <= columns
    whole = re.sub(r"\s", "", "".join(lines))
    assert "[bold]brackets[/bold]" in whole
    if columns >= 80:  # side by side: Chinese of both in one line
        assert any(line.count("港口") == 2 and "旧港口" in line for line in lines)
    else:
        assert re.sub(r"\s", "", CHINESE) in whole and RESPONSES["b"][0] in whole
    assert "\x1b[33m" in text  # what differs


def test_a_pipe_has_every_word(addresses: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("compare", *addresses, "--prompts", "prompts.txt", "--show", "all") == 0
    out, err = capsys.readouterr()
    for text in (*PROMPTS, CHINESE, ENGLISH, *RESPONSES["b"][:2]):
        assert f"  {text}\n" in out
    assert "3 prompts are too few to tell any difference from chance" in err
    assert "comparisons/a-vs-b/comparison.html" in out and Path("comparisons/a-vs-b/comparison.html").is_file()
    assert run("compare", *addresses, "--prompts", "prompts.txt", "--show", "1") == 0
    out, err = capsys.readouterr()
    assert out.count("prompt (") == 1 and PROMPTS[2] in out  # the one that differs most
    assert "1 of 3 prompts shown" in err


def test_json_is_one_document(addresses: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("compare", *addresses, "--prompts", "prompts.txt", "--json", "--name", "mine", "--lang", "zh") == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["models"]) == ["a", "b"] and found["prompts"] == 3
    lines = Path(found["file"]).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["responses"]["b"]["text"] for line in lines] == RESPONSES["b"]
    figures = {line["name"]: line for line in found["against_first"][0]["figures"]}
    assert figures["empty responses"]["value"] == pytest.approx(1 / 3)
    assert 'lang="zh-Hans"' in Path(found["page"]).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--show", "few"], "--show few"),
        (["--name", "../x"], "--name ../x"),
        (["--prompts", "missing.txt"], "missing.txt"),
        (["--prompts", "empty.txt"], "holds no prompt"),
    ],
)
def test_what_is_wrong_is_said_in_two_lines(
    addresses: list[str], capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    Path("empty.txt").write_text("\n")
    usual = () if arguments[0] == "--prompts" else ("--prompts", "prompts.txt")
    assert run("compare", *addresses, *usual, *arguments) in (1, 2)
    lines = capsys.readouterr().err.rstrip("\n").split("\n")
    assert said in lines[-2] and lines[-1].startswith("  fix: ")


def test_one_address_is_no_comparison(addresses: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("compare", addresses[0]) == 2
    line = capsys.readouterr().err.rstrip("\n").split("`")[-2]
    words = [addresses[1] if word == "B" else word for word in shlex.split(line)]
    assert words[:2] == ["rlguide", "compare"]
    assert run(*words[1:], "--prompts", "prompts.txt") == 0


def reply(asked: dict[str, object], by_prompt: dict[str, str]) -> Reply:
    """The response to the last message of a request."""
    messages = asked["messages"]
    assert isinstance(messages, list)
    return Reply(completion(by_prompt[messages[-1]["content"]]))
