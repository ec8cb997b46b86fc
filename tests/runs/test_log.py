"""`rlguide runs log`: the end of a log as a person reads it, whatever is in it."""

from __future__ import annotations

import fcntl
import json
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.console import UNSAFE
from rlguide.runs.manage.log import all_lines, follow, last_lines, readable
from tests.cli.command import run

BARS = [
    "\r  0%|          | 0/162 [00:00<?, ?it/s]",
    "\r 40%|████▍     | 65/162 [00:08<00:12,  7.66it/s]",
    "\r100%|██████████| 162/162 [00:19<00:00,  8.31it/s]",
    "Running tokenizer on dataset (num_proc=2): 100%|██████████| 648/648 [00:00<00:00, 3877.78 examples/s]",
    "Generating train split: 648 examples [00:00, 9731.41 examples/s]",
    "\rLoading checkpoint shards:  50%|#####     | 1/2 [00:03<00:03,  3.00s/it]",
    "model.safetensors:  12%|█▏        | 1.2G/9.9G [00:31<03:39, 39.7MB/s]",
]
TEXT = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="%[|"), max_size=30)


@given(st.lists(TEXT.filter(bool), min_size=1), st.data())
def test_text_stays_and_bars_go(lines: list[str], data: st.DataObject) -> None:
    mixed = []
    for line in lines:
        mixed += data.draw(st.lists(st.sampled_from(BARS), max_size=3))
        mixed.append(line)
    assert readable("\n".join(mixed)) == lines


@given(st.text())
def test_nothing_acts_on_the_screen(raw: str) -> None:
    assert not [line for line in readable(raw) if UNSAFE.search(line.replace("\t", ""))]


def test_a_line_of_token_ids_is_not_searched_for_bars() -> None:
    """The engine prints an example of the data: a search from each of its characters would take a minute."""
    line = ", ".join(["128000"] * 8000)
    begun = time.process_time()
    assert readable(f"{line}\n{BARS[0]}") == [line]
    assert time.process_time() - begun < 5


def test_what_overwrites_and_colours() -> None:
    assert readable("\x1b[1;31mred\x1b[0m and \x1b]0;a title\x07plain\n") == ["red and plain"]
    assert readable("  1%|          | 1/162 [00:00<00:25,  6.2it/s]{'loss': 0.69}\n") == ["{'loss': 0.69}"]
    assert readable("one\r\ntwo\rthree\n\nfour") == ["one", "two", "three", "", "four"]
    said = "accuracy rose by 40% | margin 0.2 | 3/4 of them"
    assert readable(said) == [said]


@given(st.lists(TEXT.filter(bool), min_size=1, max_size=60), st.integers(1, 70))
def test_the_end_is_the_end_of_all(tmp_path_factory: pytest.TempPathFactory, lines: list[str], count: int) -> None:
    log = tmp_path_factory.mktemp("log") / "engine.log"
    log.write_text("".join(f"{line}\n{BARS[1] * 40}\n" for line in lines), encoding="utf-8")
    assert list(all_lines(log)) == lines
    assert last_lines(log, count) == lines[-count:]


def test_the_end_of_a_long_log_is_read_in_blocks(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_bytes(b"".join(b"line %d\n%s\n" % (n, BARS[1].encode() * 50) for n in range(2000)))
    assert log.stat().st_size > 5e6
    begun = time.process_time()
    assert last_lines(log, 3) == ["line 1997", "line 1998", "line 1999"]
    assert time.process_time() - begun < 0.5
    assert last_lines(log, 10**9)[:2] == ["line 0", "line 1"]


def make_run(root: Path, log: str | None, **values: object) -> Path:
    folder = root / "saves/a run"
    folder.mkdir(parents=True)
    if log is not None:
        (folder / "engine.log").write_text(log, encoding="utf-8")
    record = {"status": "failed", "base": "b", "stack": [], "reference": {"base": "b", "adapters": []}, "config": {}}
    (folder / "run.json").write_text(json.dumps({**record, **values}))
    return folder


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    log = "".join(f"line {n}\n" for n in range(100)) + BARS[2] + "\nValueError: \x1b[2Jtoo bad\n" + "x" * 300 + "\n"
    folder = make_run(tmp_path, log, failure={"what": "the disk is full"})
    assert run("runs", "log", "--lines", "3") == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == ["line 99", "ValueError: too bad", "x" * 300]
    assert "it failed: the disk is full" in said.err
    assert run("runs", "log", "saves/a run", "--all") == 0
    assert len(capsys.readouterr().out.splitlines()) == 102
    (folder / "run.json").write_text("{")  # the log can be read all the same
    assert run("runs", "log", "saves/a run", "--json", "-n", "1") == 0
    assert json.loads(capsys.readouterr().out)["lines"] == ["x" * 300]


@pytest.mark.parametrize("arguments", [(), ("saves/a run",), ("saves/nothing",), ("--follow", "--json")])
def test_what_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path, None)
    assert run("runs", "log", *arguments) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("error: ") and second.startswith("  fix: ")


def test_new_lines_are_followed_until_the_training_ends(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "one\ntwo\nthree\n")
    lock = (folder / ".training.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)

    def train() -> None:
        for piece in ("fo", "ur\n", BARS[1], "\nfive\n", "six without an end"):
            time.sleep(0.2)
            with (folder / "engine.log").open("a", encoding="utf-8") as log:
                log.write(piece)
        lock.close()

    trains = threading.Thread(target=train)
    trains.start()
    assert list(follow(folder / "engine.log", 2)) == ["two", "three", "four", "five", "six without an end"]
    trains.join()
