"""`train --slurm`: what is typed wrongly is said before an engine is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlguide.cli import main

WRONG = {
    ("--slurm", "partion=gpu"): "--slurm: no key 'partion' (did you mean partition?)",
    ("--slurm", "time=12h"): "--slurm: time='12h' is not minutes",
    ("--slurm", "comment=$(id)"): "--slurm: comment='$(id)' is not words",
    ("--slurm", "nodes=2", "--auto-retry"): "--auto-retry restarts the processes of one node, and 2 are",
    ("--slurm", "gpus=2", "--gpus", "0,1"): "--gpus names GPUs of this host",
}


@pytest.mark.parametrize("options", WRONG)
def test_two_lines_and_nothing_written(
    options: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["train", "--sft-ckpt", "saves/sft", "--dataset", "x", "-w", str(tmp_path), *options])
    what, fix = capsys.readouterr().err.strip().splitlines()
    assert (code, what[: len(WRONG[options]) + 7]) == (2, f"error: {WRONG[options]}")
    assert fix.startswith("  fix: ") and not list(tmp_path.iterdir())
