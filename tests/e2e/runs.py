"""What tests of trainings look at."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.conftest import Bench


def cut(bench: Bench, source: str, name: str, step: int, **record: object) -> Path:
    """A copy of a run as a kill after `step` leaves it: no later checkpoint, no end, "running" in its record."""
    folder = bench.root / "saves" / name
    shutil.copytree(bench.root / source, folder)
    for checkpoint in folder.glob("checkpoint-*"):
        if int(checkpoint.name.partition("-")[2]) > step:
            shutil.rmtree(checkpoint)
    for left in ("adapter_model.safetensors", "train_results.json", "trainer_state.json", "all_results.json"):
        (folder / left).unlink()
    path = folder / "run.json"
    values = {**json.loads(path.read_text(encoding="utf-8")), "status": "running", "pid": 2**22 + 1, **record}
    path.write_text(json.dumps(values), encoding="utf-8")
    return folder


def weights(bench: Bench, run: str) -> bytes:
    return (bench.root / run / "adapter_model.safetensors").read_bytes()


def distance(bench: Bench, run: str, other: str) -> float:
    """How far the adapters of two runs lie apart, as a share of the norm of the first."""
    from safetensors.numpy import load_file

    ours, theirs = (load_file(bench.root / name / "adapter_model.safetensors") for name in (run, other))
    assert ours.keys() == theirs.keys()
    apart = sum(float(((value.astype("f8") - theirs[name]) ** 2).sum()) for name, value in ours.items())
    return float((apart / sum(float((value.astype("f8") ** 2).sum()) for value in ours.values())) ** 0.5)


def recorded(bench: Bench, run: str, key: str) -> Any:
    """What the record of a run says, None before there is one."""
    path = bench.root / run / "run.json"
    return json.loads(path.read_text(encoding="utf-8"))[key] if path.exists() else None


def wait_until(
    condition: Callable[[], object], process: subprocess.Popen[str] | None = None, seconds: float = 180
) -> None:
    """Until it holds; the process must not end before."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        assert process is None or process.poll() is None, process.communicate() if process else ""
        time.sleep(0.05)
