"""Whatever reads the output, whatever lies in the files: a result, or two lines and an exit code, never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlguide import console
from tests.cli.command import run
from tests.policy.checkpoint_files import write_lora, write_model

ESCAPE = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e"


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A line of a shell, in which $R is rlguide."""
    variables = {**os.environ, "R": f"{sys.executable} -m rlguide", **environment}
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=variables, timeout=60)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("$R list | true", 0),  # nobody reads stdout
        ("$R methods | head -1 >/dev/null", 0),
        ("$R --help | true", 0),
        ("$R list 2>&1 >/dev/null | true", 0),
        ("$R train --sft-ckpt /nowhere 2>&1 | true", 1),  # its own exit code
        ("$R methods >&-", 0),  # closed from the beginning
        ("$R methods >&- 2>&- <&-", 0),
        ("$R train --sft-ckpt /nowhere 2>&-", 1),
        ("$R methods 2>/dev/full", 0),
        ("$R train --sft-ckpt /nowhere 2>/dev/full", 1),
    ],
)
def test_who_reads_does_not_matter(line: str, code: int) -> None:
    done = shell(f"{line}; exit ${{PIPESTATUS[0]}}", RLGUIDE_ENGINE="/nowhere")
    assert done.returncode == code
    assert "Traceback" not in done.stderr and "ignored" not in done.stderr


@pytest.mark.parametrize("command", ["list", "methods --json", "--version", "--help"])
def test_data_that_cannot_be_written_is_an_error(command: str) -> None:
    done = shell(f"$R {command} >/dev/full")
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first == "error: stdout: No space left on device" and second.startswith("  fix: ")


def test_a_command_goes_on_when_nobody_reads(tmp_path: Path) -> None:
    script = """
import sys, time
from rlguide.console import console, guard_streams, progress, say, show, show_table, warn
guard_streams()
for number in range(20):
    for write in (say, warn, show):
        write("x" * 10000)
    show_table(("a",), [("b" * 10000,)])
    sys.stdout.flush()
with progress() as bar, console(stderr=True).status("waiting"):
    bar.add_task("rows", total=1)
open(sys.argv[1], "w").write("done")
"""
    (tmp_path / "script.py").write_text(script)
    done = shell(f"{sys.executable} {tmp_path}/script.py {tmp_path}/end 2>&1 | head -c 10; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "end").read_text() == "done"


def test_a_closed_stream_s_number_goes_to_no_file(tmp_path: Path) -> None:
    script = """
import sys
from rlguide.console import guard_streams
guard_streams()
file = open(sys.argv[1], "w")
print("printed")
sys.exit(file.fileno() < 3)
"""
    (tmp_path / "script.py").write_text(script)
    assert shell(f"{sys.executable} {tmp_path}/script.py {tmp_path}/file >&- 2>&- <&-").returncode == 0
    assert (tmp_path / "file").read_text() == ""


def test_chinese_in_an_ascii_locale(tmp_path: Path) -> None:
    folder = tmp_path / "我的 saves"
    write_lora(folder / "saves/微调")
    ascii_only = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for line in ("$R checkpoints -w", "$R chat 保存 -w", "$R register 数据.json -w", "$R train --sft-ckpt 保存 -w"):
        done = shell(f"{line} '{folder}'", RLGUIDE_ENGINE="/nowhere", **ascii_only)
        assert done.returncode in (0, 1, 2)
        assert "Traceback" not in done.stderr and "Unicode" not in done.stderr
        assert done.stdout or len(done.stderr.splitlines()) == 2


def test_nothing_that_is_shown_acts_on_a_screen(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table

    for write in (console.say, console.warn, console.show):
        write(f"{ESCAPE}\n\tname")
    console.show_table((ESCAPE,), [(ESCAPE,)], ESCAPE)
    table = Table(ESCAPE, title=ESCAPE)
    table.add_row(f"[b]{ESCAPE}[/b]")
    console.show(table)
    console.show_json({ESCAPE: ESCAPE})
    console.show_error(f"{ESCAPE}\nerror: of its own", ESCAPE)
    out, err = capsys.readouterr()
    assert not console.UNSAFE.search((out + err).replace("\n", "").replace("\t", ""))
    assert len(err.splitlines()) == 6
    assert json.loads(out[out.index("\n{") :]) == {ESCAPE: ESCAPE}


def test_rich_still_draws_on_a_terminal() -> None:
    from rich.control import Control

    drawn = console._clean_console()(force_terminal=True, width=80, highlight=False, color_system="standard")
    with drawn.capture() as captured:
        drawn.print(f"warning {ESCAPE}", style="yellow", markup=False)
        drawn.control(Control.show_cursor(False))
    text = captured.get()
    assert text.startswith("\x1b[33m") and text.endswith("\x1b[?25l")
    assert "\x1b[2J" not in text and "\\x1b[2J" in text


def test_a_shared_run_s_words_do_not_act(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(tmp_path / "models/tiny-base")
    folder = write_lora(tmp_path / "saves/dpo", base=f"models/{ESCAPE}")
    record = {
        "method": f"dpo{ESCAPE}",
        "status": f"stopped{ESCAPE}\nerror: not one of ours",
        "base": f"models/{ESCAPE}",
        "stack": ["saves/dpo"],
        "template": ESCAPE,
        "reference": {"base": ESCAPE, "adapters": []},
        "config": {"output_dir": "saves/dpo"},
    }
    (folder / "run.json").write_text(json.dumps(record))
    (folder / f"checkpoint-1{ESCAPE.replace('/', '')}").mkdir()
    for command in ("checkpoints", "checkpoints --json", "chat", "eval", "export", "train --resume --dry-run"):
        assert run(*command.split(), "-w", str(tmp_path), "--engine", "/nowhere") in (0, 1, 2)
        out, err = capsys.readouterr()
        assert not console.UNSAFE.search((out + err).replace("\n", ""))


def test_the_end_of_a_command_looks_for_no_cycles() -> None:
    code = (
        "import atexit, gc; from rlguide.cli import main;"
        "atexit.register(lambda: print('frozen', gc.get_freeze_count() > 1000));"  # the first one is called last
        "main(['--version'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "frozen True", done.stderr
