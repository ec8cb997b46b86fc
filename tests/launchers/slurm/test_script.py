"""The script of a job: the shell runs exactly the command that was meant, whatever its words are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlguide.errors import UsageError
from rlguide.launchers.slurm.array import array_script
from rlguide.launchers.slurm.script import Script
from rlguide.launchers.slurm.spec import JobSpec, parse_spec

FOLDER = Path("/data/工作 space/100% mine")
ECHO = [sys.executable, "-c", "import sys; sys.stdout.buffer.write('\\0'.join(sys.argv[1:]).encode())"]
WORDS = st.text(st.characters(exclude_characters="\0\n\r", exclude_categories=("Cs",)), max_size=12)


def said(script: str, **variables: str) -> list[str]:
    """The words that the command in a script is given."""
    done = subprocess.run(["bash", "-c", script], env={"PATH": "/usr/bin:/bin", **variables}, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().split("\0")


@settings(max_examples=15, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=4), WORDS)
def test_the_shell_runs_what_was_meant(words: list[str], name: str) -> None:
    script = Script(name, [[*ECHO, *words]], Path("/tmp"), Path("/tmp/x.log"), JobSpec(), about=[name])
    assert said(script.text) == words


def test_each_job_of_an_array_runs_its_own() -> None:
    commands = [[*ECHO, f"trial {place}", "学习率=1e-6"] for place in range(3)]
    script = array_script(Path("/tmp"), "sweep", commands, JobSpec(), Path("/tmp"), 2).text
    assert "#SBATCH --array=0-2%2\n" in script
    for place in range(3):
        assert said(script, SLURM_ARRAY_TASK_ID=str(place)) == [f"trial {place}", "学习率=1e-6"]


def test_what_slurm_reads() -> None:
    spec = parse_spec("partition=gpu,nodes=2,gpus=a100:4,time=12:00:00,constraint=a&b,comment=my run,cpus=16,mem=64G")
    script = Script("saves/模型/dpo 2", [["true"]], FOLDER, FOLDER / "slurm-%j.log", spec).text
    options = [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH")]
    assert options == [
        '--job-name="saves/模型/dpo_2"',
        '--chdir="/data/工作 space/100% mine"',
        '--output="/data/工作 space/100%% mine/slurm-%j.log"',
        "--open-mode=append",
        "--nodes=2",
        "--ntasks-per-node=1",
        "--gpus-per-node=a100:4",
        "--cpus-per-task=16",
        "--mem=64G",
        "--time=12:00:00",
        "--partition=gpu",
        '--constraint="a&b"',
        '--comment="my run"',
        "--signal=B:USR1@120",
        "--requeue",
    ]


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb"])
def test_a_folder_that_slurm_cannot_be_told_is_refused(name: str) -> None:
    folder = Path("/data") / name
    with pytest.raises(UsageError):
        _ = Script("run", [["true"]], folder, folder / "x.log", JobSpec()).text


def test_a_line_break_in_a_word_is_refused() -> None:
    with pytest.raises(UsageError):
        _ = Script("run", [["echo", "a\nb"]], FOLDER, FOLDER / "x.log", JobSpec()).text


@pytest.mark.parametrize(("jobs", "at_once"), [(0, 1), (1, 0), (100_001, 1)])
def test_no_array_of_nothing(jobs: int, at_once: int) -> None:
    with pytest.raises(UsageError):
        array_script(FOLDER, "sweep", [["true"]] * jobs, JobSpec(), FOLDER, at_once)
