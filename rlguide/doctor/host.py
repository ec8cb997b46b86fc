"""Findings about the host: memory and GPUs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from rlguide.doctor.finding import GIB, Finding, warn_if
from rlguide.engine.capabilities import release
from rlguide.engine.find import Engine
from rlguide.engine.hardware import Gpu, driver_version
from rlguide.engine.pins import read_pins
from rlguide.workspace import Workspace, free_bytes

# CUDA 13 runs from driver 580 on (NVIDIA, CUDA compatibility guide); torch 2.11 on the index is built for CUDA 13.
_DRIVER_OF_CUDA_13 = 580


def check_host(ws: Workspace) -> Iterator[Finding]:
    """Cores, free memory, free disk at the workspace."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = _memory()
    text = f"{cores} cores" + (f", {memory[1] / GIB:.0f} of {memory[0] / GIB:.0f} GiB of memory free" if memory else "")
    fix = "close other programs: loading a model needs its size in main memory"
    yield warn_if(memory is not None and memory[1] < 4 * GIB, "host", text, fix)
    free = free_bytes(ws.root)
    fix = "free some space: a 4B model takes 8 GiB, the datasets up to 2 GiB"
    yield warn_if(free < 5 * GIB, "disk", f"{free / GIB:.0f} GiB free at {ws.root}", fix)


def _memory() -> tuple[int, int] | None:
    """(total, available) bytes of main memory, None where /proc does not say."""
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return None
    values = {match[1]: int(match[2]) << 10 for match in re.finditer(r"(\w+):\s+(\d+) kB", text)}
    if "MemTotal" not in values or "MemAvailable" not in values:
        return None
    return values["MemTotal"], values["MemAvailable"]


def check_gpus(gpus: list[Gpu], engine: Engine | None) -> Iterator[Finding]:
    """What each GPU can do, and whether the driver is new enough for the engine's torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not gpus:
        hidden = f" (CUDA_VISIBLE_DEVICES is {visible!r})" if visible is not None else ""
        fix = "the demo and tiny models run on the CPU; a 4B model needs an NVIDIA GPU with 24 GB or more"
        yield Finding("warning", "gpu", f"none seen{hidden}", fix)
        return
    for gpu in gpus:
        text = f"{gpu.index}: {gpu.name}, {gpu.free_bytes / GIB:.0f} of {gpu.memory_bytes / GIB:.0f} GiB free"
        if not gpu.has_bf16:
            fix = "train with --set bf16=false --set fp16=true"
            yield Finding("warning", "gpu", f"{text}; it has no bfloat16", fix)
        else:
            fix = "`nvidia-smi` shows who uses it; CUDA_VISIBLE_DEVICES chooses others"
            yield warn_if(gpu.free_bytes < gpu.memory_bytes // 2, "gpu", text, fix)
    driver = driver_version()
    if not driver:
        return
    torch = engine.versions.get("torch", "") if engine else ""
    if torch == read_pins().get("torch") and release(driver).major < _DRIVER_OF_CUDA_13:
        other = "take a build of torch for an older CUDA: `rlguide engine install -h`"
        fix = f"update the driver to {_DRIVER_OF_CUDA_13} or newer, or {other}"
        yield Finding("problem", "driver", f"{driver} is too old for torch {torch} (CUDA 13)", fix)
    else:
        yield Finding("ok", "driver", driver)
