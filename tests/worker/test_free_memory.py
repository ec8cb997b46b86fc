"""A training takes no more memory than each of the limits that are set on it leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rlguide.engine.out_of_memory import Figures, figures_of
from tests.worker.conftest import WORKER

pytestmark = pytest.mark.engine
GIB = 2**30


def test_the_free_memory_of_this_machine_is_found(torch: Any, free_memory: Any) -> None:
    free, total = free_memory.memory(torch.device("cpu"))
    assert 0 < free <= total


def test_what_a_process_took(torch: Any, free_memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the names that rlguide reads, but for the device's."""
    held = torch.ones(1 << 25)  # 128 MiB
    taken = free_memory.taken()
    assert taken.keys() == {"peak"} and taken["peak"] > held.nbytes
    figures = {"memory_allocated": 44, "memory_reserved": 50, "max_memory_allocated": 46}
    for name, value in figures.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    for name, answer in (("is_available", True), ("is_initialized", True), ("current_device", 0)):
        monkeypatch.setattr(torch.cuda, name, lambda answer=answer: answer)
    gpu = SimpleNamespace(total_memory=51, name="NVIDIA RTX A6000")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: gpu)
    taken = free_memory.taken()
    assert taken.pop("device") == "NVIDIA RTX A6000"
    assert figures_of("", taken) == Figures(total=51, allocated=44, unallocated=6, peak=46)


def group(folder: Path, names: tuple[str, str, str], limit: str, used: int, cache: int) -> None:
    """The files of a control group with a limit."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(limit + "\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\n{names[2]} {cache}\n")


@pytest.mark.parametrize(
    ("version", "of_process", "root", "unlimited"),
    [(0, "0::/job/step\n", "", "max"), (1, "5:devices:/\n4:memory:/job/step\n0::/\n", "memory", str(2**63 - 4096))],
)
def test_the_tightest_group_counts(
    torch: Any,
    free_memory: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: int,
    of_process: str,
    root: str,
    unlimited: str,
) -> None:
    """Of a job of SLURM, a scope of systemd: the limit may stand at any level above the process."""
    (tmp_path / "self").write_text(of_process)
    monkeypatch.setattr(free_memory, "_CGROUPS", tmp_path)
    monkeypatch.setattr(free_memory, "_OF_PROCESS", tmp_path / "self")
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    cpu, names = torch.device("cpu"), free_memory._FILES[version]
    without = free_memory.memory(cpu)[1]
    group(tmp_path / root / "job/step", names, unlimited, 3, 1)
    assert free_memory.memory(cpu)[1] == without
    group(tmp_path / root / "job", names, str(1000), 700, 300)
    assert free_memory.memory(cpu) == (600, 1000)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")  # they share it
    assert free_memory.memory(cpu) == (300, 500)
    (tmp_path / root / "job").rename(
        tmp_path / root / "gone"
    )  # seen from inside a container: its own group is the root
    group(tmp_path / root, names, str(800), 900, 0)
    assert free_memory.memory(cpu) == (0, 400)


@pytest.mark.skipif(sys.platform != "linux", reason="ulimit -v is of Linux")
def test_a_limit_of_the_shell_counts() -> None:
    code = (
        f"import sys; sys.path.insert(0, {WORKER!r}); import json, torch, free_memory, resource\n"
        f"resource.setrlimit(resource.RLIMIT_AS, ({40 * GIB}, {40 * GIB}))\n"
        "import psutil; used = psutil.Process().memory_info().vms\n"
        f"resource.setrlimit(resource.RLIMIT_AS, (used + {GIB}, {40 * GIB}))\n"
        "print(json.dumps([used, *free_memory.memory(torch.device('cpu'))]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    used, free, total = json.loads(done.stdout)
    assert total == used + GIB
    assert GIB - 2**26 < free <= GIB
