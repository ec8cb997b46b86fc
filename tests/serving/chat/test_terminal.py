"""A chat as a person has it: a real terminal, keys, and what is on the screen. The model's side is scripted."""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from tests.inference.server import Reply, delta, serving
from tests.terminal import Terminal

Start = Callable[..., Terminal]


def lines_from(lines: list[str], start: str) -> list[str]:
    """Those from the last line that begins so."""
    return lines[max(at for at, line in enumerate(lines) if line.startswith(start)) :]


def last_prompt(terminal: Terminal) -> None:
    """Wait until an empty prompt stands at the end."""
    end = time.monotonic() + 20
    while (terminal.everything() or [""])[-1].strip() != "you:":
        assert time.monotonic() < end, "\n".join(terminal.everything())


def typed(terminal: Terminal, text: str, shown: str) -> None:
    """Type a line, and wait until this comes after it and the next prompt stands there."""
    before = len(terminal.everything())
    terminal.type(text + "\r")
    end = time.monotonic() + 20
    while True:
        new = " ".join(" ".join(terminal.everything()[before - 1 :]).split())
        if shown in new and new.endswith("you:"):
            return
        assert time.monotonic() < end, (text, terminal.everything())


def assert_ends(terminal: Terminal, keys: str, workspace: Path) -> None:
    """These keys, typed right after a response, end the chat; nothing is left, and the terminal is as before."""
    last_prompt(terminal)
    assert len(workers(workspace)) == 1
    terminal.type(keys)
    assert terminal.wait() == 0
    assert workers(workspace) == []
    assert terminal.modes() == terminal.modes_before


def test_a_paste_is_one_prompt_and_the_keys_for_new_lines_do_the_same(chat: Start, chat_workspace: Path) -> None:
    terminal = chat()
    terminal.paste("one\n二\nthree")
    shown = terminal.until("three")
    assert lines_from(shown, "you:")[:3] == ["you: one", "...  二", "...  three"]
    terminal.type("\r")
    terminal.until("heard 'one\\n二\\nthree' as message 1")
    last_prompt(terminal)
    terminal.type("a\\\rb\x1b\rc\nd\r")  # a backslash and Enter, Alt+Enter, Ctrl-J
    terminal.until("heard 'a\\nb\\nc\\nd' as message 3")
    assert_ends(terminal, "\x04", chat_workspace)


def test_wide_characters_are_edited_where_they_stand(chat: Start, chat_workspace: Path) -> None:
    terminal = chat()
    terminal.type("你好世界")
    terminal.until("你好世界")
    terminal.type("\x1b[D\x1b[D")  # left, twice
    terminal.type("x\x7f\x7f吗")  # a letter, and back over it and a wide character
    terminal.until("你吗世界")
    assert terminal.screen.cursor.x == cell_len("you: 你吗")
    terminal.type("\r")
    terminal.until("heard '你吗世界'")
    assert_ends(terminal, "exit\r", chat_workspace)


def test_history_is_kept_for_its_owner_alone_and_comes_back(chat: Start, home: Path, chat_workspace: Path) -> None:
    terminal = chat()
    terminal.type("first 一\r")
    terminal.until("heard 'first 一'")
    last_prompt(terminal)
    terminal.paste("two\nlines")
    terminal.type("\r")
    terminal.until("as message 3")
    assert_ends(terminal, "/exit\r", chat_workspace)
    file = home / "state/rlguide/chat_history"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = chat()
    again.type("\x1b[A\x1b[A\x1b[A\x1b[A")  # up over /exit and both lines of `two`, `lines`
    again.until("you: first 一")
    again.type("\r")
    again.until("heard 'first 一' as message 1")
    assert_ends(again, "\x03", chat_workspace)


def test_ctrl_c_stops_the_response_and_what_came_stays(chat: Start, home: Path) -> None:
    terminal = chat()
    terminal.type("endless\r")
    terminal.until("word30")
    terminal.type("\x03")
    last_prompt(terminal)
    terminal.type("/save 我的 chat.json\r")
    terminal.until("1 prompt, 1 response")
    saved = json.loads((home / "我的 chat.json").read_text())
    assert saved["messages"][0] == {"role": "user", "content": "endless"}
    response = saved["messages"][1]["content"]
    assert response.startswith("word0\n") and "word30" in response
    everything = " ".join(" ".join(terminal.everything()).split())
    assert " ".join(response.split()) in everything  # all that came is on the screen or above it, once
    assert everything.count("word7 ") == 1
    terminal.type("and now\r")
    terminal.until("as message 3")
    last_prompt(terminal)
    terminal.type("half a prompt\x03")
    terminal.read(0.5)
    assert terminal.process.poll() is None
    terminal.type("\x03")
    assert terminal.wait() == 0
    assert b"Traceback" not in terminal.raw


def test_what_is_typed_and_pasted_during_a_response_waits_for_the_next_prompt(chat: Start) -> None:
    terminal = chat()
    terminal.type("slowly one two three four five\r")
    terminal.until("five one")
    terminal.type("later\r")
    terminal.paste("a\nb")
    terminal.until("five one two three four five")
    assert "later" not in "".join(lines_from(terminal.everything(), "one"))[:20]
    terminal.until("heard 'later' as message 3")
    terminal.type("\r")
    terminal.until("heard 'a\\nb' as message 5")


def test_a_second_ctrl_c_while_the_model_stops_does_not_mix_up_the_responses(chat: Start) -> None:
    terminal = chat()
    terminal.type("deaf\r")
    terminal.until("you: deaf deaf")
    terminal.type("\x03")
    terminal.read(0.2)
    terminal.type("\x03")
    last_prompt(terminal)
    assert not terminal.screen.cursor.hidden
    terminal.type("next\r")
    terminal.until("heard 'next' as message 3")


DOCUMENT = r"# Title\n\nSome **bold** 文字 text.\n\n- item one\n- 第二项\n\n```python\nx = 1\n```\n\nlast *line*"
DRAWN = [
    "Title",
    "",
    "Some bold 文字 text.",
    "",
    " • item one",
    " • 第二项",
    "",
    "```python",
    "x = 1",
    "```",
    "",
    "last line",
]


def test_markdown_is_drawn_in_whole_blocks(chat: Start) -> None:
    terminal = chat()
    terminal.type(f"say {DOCUMENT}\r")
    terminal.until("last line")
    last_prompt(terminal)
    assert lines_from(terminal.everything(), "Title")[: len(DRAWN)] == DRAWN


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {}], ids=["dumb", "--plain"])
def test_where_nothing_is_drawn_the_text_comes_as_it_is(chat: Start, environment: dict[str, str]) -> None:
    terminal = chat(*([] if environment else ["--plain"]), environment=environment, columns=120)
    before = len(terminal.raw)
    terminal.type(f"say {DOCUMENT}\r")
    terminal.until("last *line*")
    last_prompt(terminal)
    assert "Some **bold** 文字 text." in terminal.everything()
    assert not environment or b"\x1b" not in terminal.raw[before:]


def test_no_colour_where_none_is_wanted(chat: Start) -> None:
    terminal = chat(environment={"NO_COLOR": "1"})
    terminal.type(f"say {DOCUMENT}\r")
    terminal.until("last line")
    assert not re.search(rb"\x1b\[(\d+;)*([349][0-7]|10[0-7]|[34]8;[\d;]+)(;\d+)*m", terminal.raw)


def test_nothing_scrolls_away_from_a_response_longer_than_the_screen(chat: Start) -> None:
    terminal = chat(lines=12)
    rows = [f"row {number}" for number in range(60)]
    terminal.type("say " + r"\n".join(["```", *rows, "```", "", *(f"- item {number}" for number in range(40))]) + "\r")
    terminal.until(" • item 39")
    last_prompt(terminal)
    shown = terminal.everything()
    response = shown[shown.index("```") :]
    expected = ["```", *rows, "```", "", *(f" • item {number}" for number in range(40))]
    assert response[: len(expected)] == expected


def test_escapes_in_a_response_never_reach_the_screen(chat: Start) -> None:
    terminal = chat()
    before = len(terminal.raw)
    terminal.type(r"say a\e[2Jb\e]0;title\x07c \e[31mred" + "\r")
    terminal.until("a[2Jb")
    last_prompt(terminal)
    terminal.type("/compare\r")
    terminal.until("sft")
    last_prompt(terminal)
    for escape in (b"\x1b[2J", b"\x1b]0", b"\x1b[31m"):
        assert escape not in terminal.raw[before:]


@pytest.mark.parametrize("columns", [80, 160])
def test_compare_shows_the_parent_beside_or_below(chat: Start, columns: int, home: Path) -> None:
    log = home / "loaded"
    terminal = chat("--temperature", "0", columns=columns, lines=40, environment={"FAKE_LOG": str(log)})
    typed(terminal, "/compare", "error: there is no response to compare with yet")
    for _ in range(2):
        typed(terminal, "比较 this", "saves/dpo heard '比较 this' as message 1")
        typed(terminal, "/compare", "saves/sft heard '比较 this' as message 1")
        typed(terminal, "/clear", "new conversation")
    assert log.read_text().split("\n")[:-1] == ["loaded saves/dpo", "loaded saves/sft"]  # the parent once
    text = " ".join(" ".join(terminal.everything()).split())
    assert "about as much main memory as the policy: another 8.0 GB; it stays loaded" in text
    both = [line for line in terminal.everything() if "dpo heard" in line and "sft heard" in line]
    assert len(both) == (2 if columns == 160 else 0)
    for line in both:
        assert cell_len(line[: line.index("│")]) == columns // 2


def test_commands_and_what_is_wrong_with_them(chat: Start, home: Path) -> None:
    terminal = chat(lines=60)
    (home / "other.txt").write_text("mine")
    (home / "binary").write_bytes(os.urandom(2000))
    for text, shown in (
        ("/temperature 11", "error: 11 is no temperature"),
        ("/temperature nan", "error: nan is no temperature"),
        ("/temperature 0.5", "temperature 0.5, at most 512 new tokens"),
        ("/max 0", "error: 0 is no number of tokens"),
        ("/max 3", "temperature 0.5, at most 3 new tokens"),
        ("/retry", "error: the conversation is empty"),
        ("/undo", "error: the conversation is empty"),
        ("/lod", "error: there is no command /lod (did you mean /load?)"),
        ("/system be short", "system prompt: be short"),
        ("hello", "heard 'hello' as message 2 with 'be short'"),
        ("/retry", "saves/dpo heard"),
        ("say one two three four", "(stopped at 3 tokens: /max N allows more)"),
        ("/undo", "the last prompt is now: hello"),
        ("/save", "fix: /save chat.json"),
        ("/undo now", "fix: /undo"),
        ("/save other.txt", "error: other.txt is there and is not a conversation"),
        ("/save chat.json", "saved to chat.json: 1 prompt, 1 response"),
        ("/load binary", "error: binary is not UTF-8"),
        ("/load none.json", "error: none.json does not exist"),
        ("/clear", "new conversation"),
        ("/load chat.json", "loaded chat.json: 1 prompt, 1 response; temperature 0.5, at most 3 new tokens"),
        ("fail", "error: the model could not be run"),
        ("/retry", "error: the model could not be run"),
        ("/undo", "removed: fail"),
        ("die", "error: the model could not be run"),
        ("after that", "heard 'after that' as message 4"),
        ("/compare none", "error: "),
        (" /etc is a folder", "heard '/etc is a folder'"),
        ("nothing", "(an empty response)"),
    ):
        typed(terminal, text, shown)
    assert (home / "other.txt").read_text() == "mine"
    assert b"Traceback" not in terminal.raw


def test_tab_completes_commands_and_files(chat: Start, home: Path) -> None:
    (home / "conversation.json").write_text(json.dumps({"messages": [{"role": "user", "content": "x"}]}))
    terminal = chat()
    terminal.type("/lo\t")
    terminal.until("you: /load")
    terminal.type("conv\t")
    terminal.until("/load conversation.json")
    terminal.type("\r")
    terminal.until("the last prompt has no response, /retry asks it: x")
    terminal.type("/retry\r")
    terminal.until("heard 'x' as message 1")


def test_another_size_of_the_window_while_a_response_comes(chat: Start) -> None:
    terminal = chat(columns=120, lines=30)
    terminal.type("slowly one two 你好 three four five six 你好 " + r"\n\nend." + "\r")
    for columns, lines in ((70, 24), (100, 30), (60, 20)):
        terminal.read(0.3)
        terminal.resize(columns, lines)
    terminal.until("end.")
    last_prompt(terminal)
    terminal.type("typed after it 你好\r")
    terminal.until("heard 'typed after it 你好' as message 3")
    assert b"Traceback" not in terminal.raw


def test_responses_into_a_file_and_the_prompt_on_the_terminal(chat: Start, home: Path) -> None:
    with (home / "out.txt").open("wb") as file:
        terminal = chat(stdout=file.fileno())
        terminal.type(f"say {DOCUMENT}\r")
        last_prompt(terminal)
        terminal.type("\x04")
        assert terminal.wait() == 0
    assert (home / "out.txt").read_text() == DOCUMENT.replace("\\n", "\n") + "\n"
    assert b"bold" not in terminal.raw.split(b"say", 1)[1].split(b"\n", 2)[2]


def test_a_model_behind_an_address(home: Path) -> None:
    def script(body: dict[str, Any], place: int) -> Reply:
        prompt = body["messages"][-1]["content"]
        if prompt == "refuse":
            return Reply({"error": {"message": "no\x1b[2J such thing"}}, status=400)
        count = 10_000 if prompt == "endless" else 1
        text = f"**heard** {prompt}\x1b[2J as message {len(body['messages'])} "
        return Reply(pieces=(delta(text, "stop" if n + 1 == count else None) for n in range(count)), gap=0.02)

    with serving(script) as server:
        terminal = Terminal(["chat", server.url])
        try:
            terminal.until("you:")
            terminal.type("你好\r")
            terminal.until("heard 你好[2J as message 1")
            assert not any("loading" in line for line in terminal.everything())
            terminal.type("/compare\r")
            terminal.until("so it has no parent to compare with")
            terminal.type(f"/compare {server.url}\r")  # any model can stand beside, also the same
            terminal.until("──")
            last_prompt(terminal)
            terminal.type("refuse\r")
            terminal.until("such thing")
            terminal.type("endless\r")
            terminal.until("heard endless")
            terminal.type("\x03")
            last_prompt(terminal)
            assert server.hung_up.wait(10)
            terminal.type("after\r")
            terminal.until("heard after[2J as message 5")
            terminal.type("\x04")
            assert terminal.wait() == 0
            assert b"\x1b[2J" not in terminal.raw and b"Traceback" not in terminal.raw
        finally:
            terminal.close()


@pytest.mark.parametrize("prompt", ["endless", "half a prompt"])
def test_kill_ends_it_and_the_terminal_is_as_before(chat: Start, chat_workspace: Path, prompt: str) -> None:
    terminal = chat()
    terminal.type(prompt + ("\r" if prompt == "endless" else ""))
    terminal.until("word40" if prompt == "endless" else prompt)
    terminal.process.terminate()
    assert terminal.wait() == 130
    assert workers(chat_workspace) == []
    assert terminal.modes() == terminal.modes_before
    assert terminal.raw.rfind(b"\x1b[?2004l") > terminal.raw.rfind(b"\x1b[?2004h")
    assert b"Traceback" not in terminal.raw


def workers(workspace: Path) -> list[str]:
    """The scripted workers that run in this workspace."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cwd").resolve() == workspace.resolve() and b"fake_worker" in (
                folder / "cmdline"
            ).read_bytes():
                found.append(folder.name)
        except OSError:
            continue
    return found
