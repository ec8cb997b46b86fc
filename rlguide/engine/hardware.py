"""What this host can compute on, asked of the driver's own tool, not of torch."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU. Memory in bytes; `compute_capability` such as (8, 6) for an A6000."""

    index: int
    name: str
    memory_bytes: int
    free_bytes: int
    compute_capability: tuple[int, int]

    @property
    def has_bf16(self) -> bool:
        """bfloat16 arithmetic exists from Ampere (8.0) on: CUDA C++ programming guide, arithmetic throughput table."""
        return self.compute_capability >= (8, 0)


@dataclass(frozen=True)
class GpuUse:
    """What a GPU does at the moment: memory in bytes, of all programs; `busy` in percent, None where it is not told."""

    index: int
    name: str
    used_bytes: int
    memory_bytes: int
    busy: int | None


def list_gpus() -> list[Gpu]:
    """The NVIDIA GPUs that a training would see, in order; empty without a driver.

    `CUDA_VISIBLE_DEVICES` is honoured when it holds plain indices ("" hides all).
    """
    return _visible(every_gpu())


def every_gpu() -> list[Gpu]:
    """The NVIDIA GPUs of this host, also those that `CUDA_VISIBLE_DEVICES` hides; empty without a driver."""
    return parse_nvidia_smi(ask_driver("index,name,memory.total,memory.free,compute_cap"))


def driver_version() -> str:
    """The version of the NVIDIA driver, "" without one."""
    return loaded_driver() or ask_driver("driver_version").split("\n")[0].strip()


def loaded_driver(source: Path = Path("/proc/driver/nvidia/version")) -> str:
    """The version that the kernel module says of itself, which costs no process; "" if it is not there."""
    try:
        match = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)\s", source.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ""
    return match[1] if match else ""


def ask_driver(fields: str) -> str:
    """What nvidia-smi says of these fields: CSV, a line for each GPU; "" without a driver."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    try:
        command = [tool, f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def gpu_use() -> list[GpuUse]:
    """What the GPUs of this host do at the moment; empty without a driver, or if it does not answer."""
    return parse_use(ask_driver("index,name,memory.used,memory.total,utilization.gpu"))


def parse_use(text: str) -> list[GpuUse]:
    """The same from nvidia-smi's CSV (index, name, used MiB, total MiB, percent); lines that do not fit are skipped."""
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        try:
            index, name, used, total, busy = cells
            percent = int(busy) if busy.isdecimal() else None  # with MIG: [N/A]
            found.append(GpuUse(int(index), name, int(used) << 20, int(total) << 20, percent))
        except ValueError:
            continue
    return found


def parse_nvidia_smi(text: str) -> list[Gpu]:
    """GPUs from nvidia-smi's CSV (index, name, total MiB, free MiB, capability); lines that do not fit are skipped."""
    gpus = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        try:
            index, name, total, free, capability = cells
            major, _, minor = capability.partition(".")
            gpus.append(Gpu(int(index), name, int(total) << 20, int(free) << 20, (int(major), int(minor or 0))))
        except ValueError:
            continue
    return gpus


def visible_names(gpus: list[Gpu]) -> list[str]:
    """What `CUDA_VISIBLE_DEVICES` calls each GPU of `list_gpus`, so that a process can be given a single one.

    Where the variable names them itself (indices, UUIDs, parts of a GPU by MIG), these are the names.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None or not gpus:
        return [str(gpu.index) for gpu in gpus]
    return [name.strip() for name in chosen.split(",") if name.strip()]


def _visible(gpus: list[Gpu]) -> list[Gpu]:
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return gpus
    by_index = {str(gpu.index): gpu for gpu in gpus}
    names = [name.strip() for name in chosen.split(",") if name.strip()]
    if not all(name in by_index for name in names):
        return gpus if any(name.startswith(("GPU-", "MIG-")) for name in names) else []
    return [by_index[name] for name in names]
