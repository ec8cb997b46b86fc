"""What the GPUs do, asked of a driver that may be slow, odd or not there."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from rlguide.engine.hardware import GpuUse, gpu_use
from rlguide.runs.view.gpus import GpuMeter
from tests.runs.view.conftest import Clock

USE = GpuUse(0, "NVIDIA RTX A6000", 1 << 30, 48 << 30, 7)


def test_the_driver_is_asked_for_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\necho "$@" > "$0.asked"\necho "0, NVIDIA RTX A6000, 1024, 49152, 7"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert gpu_use() == [USE]
    asked = (tmp_path / "nvidia-smi.asked").read_text()
    assert "--query-gpu=index,name,memory.used,memory.total,utilization.gpu" in asked


def test_a_driver_that_hangs_holds_nothing_up() -> None:
    """And is not asked a second time before it has answered."""
    answer, asked = threading.Event(), []

    def ask() -> Sequence[GpuUse]:
        asked.append(1)
        answer.wait(30)
        return [USE]

    clock = Clock()
    meter, begun = GpuMeter(ask, clock), time.monotonic()
    for _ in range(5):
        clock.now += 10
        assert meter.read() == ()
    assert time.monotonic() - begun < 5 and len(asked) == 1
    answer.set()
    assert meter.wait(10) == [USE]


def test_it_is_asked_every_few_seconds_and_once_where_there_is_none() -> None:
    clock, asked = Clock(), {"with": 0, "without": 0}

    def ask(which: str, found: Sequence[GpuUse]) -> Sequence[GpuUse]:
        asked[which] += 1
        return found

    meters = [GpuMeter(lambda: ask("with", [USE]), clock), GpuMeter(lambda: ask("without", []), clock)]
    for _ in range(12):
        for meter in meters:
            meter.wait(10)
        clock.now += 1
    assert asked == {"with": 4, "without": 1}
