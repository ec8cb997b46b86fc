"""What is on this host, what works, what does not and how to mend it. Nothing heavy is imported or started."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

from rlguide import __version__
from rlguide.console import say
from rlguide.engine.capabilities import abilities, summary
from rlguide.engine.find import Engine, find_engine
from rlguide.engine.hardware import Gpu, list_gpus
from rlguide.engine.install import trouble
from rlguide.engine.pins import mismatches, numbers, read_pins
from rlguide.engine.schema import schema_cache
from rlguide.engine.worker import engine_environment, engines_home, worker_command
from rlguide.errors import EngineError, RlguideError
from rlguide.policy.checkpoint import find_checkpoints
from rlguide.preferences.registry import REMOTE_KEYS, read_registry
from rlguide.runs.manifest import find_runs
from rlguide.workspace import Workspace, free_bytes

Value = TypeVar("Value")
Status = Literal["ok", "warning", "problem"]

_GIB = 1 << 30
_HUB = "https://huggingface.co"
_MIRROR = "set a mirror: export HF_ENDPOINT=https://hf-mirror.com"
_HUB_PATIENCE = 3.0  # seconds
_OLD_ENOUGH = 3600.0  # seconds after which a temporary file belongs to nobody
# CUDA 13 runs from driver 580 on (NVIDIA, CUDA compatibility guide); torch 2.11 on the index is built for CUDA 13.
_DRIVER_OF_CUDA_13 = 580


@dataclass(frozen=True)
class Finding:
    """One line of the report. `mend` says what to type or change, '' where nothing needs mending."""

    status: Status
    name: str
    what: str
    mend: str = ""


def examine(ws: Workspace, engine: str | None = None, deep: bool = False) -> Iterator[Finding]:
    """Yield the findings as they come: the host, the engine, the workspace, and the hub last (it may be slow).

    Args:
        engine: as for `find_engine`.
        deep: also import torch and LLaMA-Factory in the engine (about ten seconds).
    """
    hub = _Later(_hub_answer)
    cards = _Later(list_gpus)
    yield Finding("ok", "python", f"{sys.version.split()[0]} at {sys.executable}")
    yield Finding("ok", "rlguide", __version__)
    found: Engine | None = None
    try:
        found = find_engine(engine)
    except EngineError as error:
        yield Finding("problem", "engine", error.what, error.todo)
    if found is not None:
        yield from _engine(found)
    yield from _host(ws)
    gpus = cards.wait(10.0) or []
    yield from _gpus(gpus, found)
    if found is not None:
        yield from _traps(ws, found, gpus)
        if deep:
            yield _deep(found, gpus)
    yield from _workspace(ws)
    yield from _hub_settings()
    yield _hub_reachable(hub)


class _Later(Generic[Value]):
    """A check that runs beside the others; `wait` gives its result, or None if it takes too long."""

    def __init__(self, check: Callable[[], Value]) -> None:
        self._result: list[Value] = []
        self._started = time.monotonic()
        self._thread = threading.Thread(target=lambda: self._result.append(check()), daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> Value | None:
        """Wait until `seconds` after the start."""
        self._thread.join(max(0.0, seconds - (time.monotonic() - self._started)))
        return self._result[0] if self._result else None


def _engine(engine: Engine) -> Iterator[Finding]:
    yield Finding("ok", "engine", f"LLaMA-Factory {engine.version} at {engine.python}")
    differing = mismatches(engine.versions, read_pins())
    for item in differing:
        what = f"{item.name} {item.installed or 'is missing'}, tested with {item.pinned}"
        mend = f"{shlex.quote(str(engine.python))} -m pip install {item.name}=={item.pinned}"
        yield Finding(
            "problem" if item.is_fatal else "warning",
            "versions",
            f"{what}: {item.breaks}" if item.breaks else what,
            mend,
        )
    if not differing:
        versions = ", ".join(f"{name} {engine.versions[name]}" for name in ("torch", "transformers", "trl", "peft"))
        yield Finding("ok", "versions", f"as tested ({versions})")
    yield from _methods(engine)
    if not engine.cli.is_file():
        yield Finding("problem", "engine", f"{engine.cli} is missing", "install llamafactory again in that environment")
    cached = schema_cache(engine).is_file()
    yield Finding("ok", "keys", "the engine's argument table is cached" if cached else "will be read once (about 10 s)")


def _methods(engine: Engine) -> Iterator[Finding]:
    """What can be trained, in which engine; a loss that would silently be another one is a warning."""
    for item in abilities(engine.versions):
        if item.lack is not None and item.lack.is_silent:
            yield Finding("warning", "methods", f"rlguide refuses loss {item.loss}: {item.lack.what}", item.lack.todo)
    text = summary(engine.versions)
    beside = {item.lack.engine: item.method for item in abilities(engine.versions) if item.lack and item.lack.engine}
    for name, method in beside.items():
        problem = trouble(name)
        where = f"which {problem}: `rlguide engine install {name}`" if problem else f"at {engines_home() / name}"
        text += f"; {method} in an engine of its own, {where}"
    yield Finding("ok", "methods", text)


def _host(ws: Workspace) -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = _memory()
    text = f"{cores} cores" + (
        f", {memory[1] / _GIB:.0f} of {memory[0] / _GIB:.0f} GiB of memory free" if memory else ""
    )
    if memory and memory[1] < 4 * _GIB:
        yield Finding("warning", "host", text, "close other programs: loading a model needs its size in main memory")
    else:
        yield Finding("ok", "host", text)
    free = free_bytes(ws.root)
    text = f"{free / _GIB:.0f} GiB free at {ws.root}"
    if free < 5 * _GIB:
        yield Finding("warning", "disk", text, "free some space: a 4B model takes 8 GiB, the datasets up to 2 GiB")
    else:
        yield Finding("ok", "disk", text)


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


def _gpus(gpus: list[Gpu], engine: Engine | None) -> Iterator[Finding]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not gpus:
        hidden = f" (CUDA_VISIBLE_DEVICES is {visible!r})" if visible is not None else ""
        yield Finding(
            "warning",
            "gpu",
            f"none seen{hidden}",
            "the demo and tiny models run on the CPU; a 4B model needs an NVIDIA card with 24 GB or more",
        )
        return
    for gpu in gpus:
        text = f"{gpu.index}: {gpu.name}, {gpu.free_bytes / _GIB:.0f} of {gpu.memory_bytes / _GIB:.0f} GiB free"
        if not gpu.has_bf16:
            mend = "train with --set bf16=false --set fp16=true"
            yield Finding("warning", "gpu", f"{text}; it has no bfloat16", mend)
        elif gpu.free_bytes < gpu.memory_bytes // 2:
            yield Finding("warning", "gpu", text, "`nvidia-smi` shows who uses it; CUDA_VISIBLE_DEVICES chooses others")
        else:
            yield Finding("ok", "gpu", text)
    driver = _driver()
    if driver is None:
        return
    torch = engine.versions.get("torch", "") if engine else ""
    if torch == read_pins().get("torch") and numbers(driver)[:1] < (_DRIVER_OF_CUDA_13,):
        mend = f"update the driver to {_DRIVER_OF_CUDA_13} or newer, or install a torch {torch} built for an older CUDA"
        yield Finding("problem", "driver", f"{driver} is too old for torch {torch} (CUDA 13)", mend)
    else:
        yield Finding("ok", "driver", driver)


def _driver() -> str | None:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    try:
        command = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.split("\n")[0].strip() or None if done.returncode == 0 else None


def _traps(ws: Workspace, engine: Engine, gpus: list[Gpu]) -> Iterator[Finding]:
    """With two or more cards LLaMA-Factory starts torchrun with `" ".join(argv).split()`: a blank breaks it."""
    several = len(gpus) > 1 or os.environ.get("FORCE_TORCHRUN", "0").lower() in ("1", "y", "true")
    if several and " " in str(engine.python.parent.parent):
        where = f"the engine's path has a blank ({engine.python.parent.parent})"
        mend = "move that environment to a path without blanks, or use one card: CUDA_VISIBLE_DEVICES=0"
        yield Finding("problem", "launcher", f"{where}: with several cards LLaMA-Factory cannot start torchrun", mend)


def _deep(engine: Engine, gpus: list[Gpu]) -> Finding:
    import json

    say("importing LLaMA-Factory in the engine (about 10 s)")
    try:
        command = worker_command(engine, "check_imports")
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=engine_environment(engine))
        values = json.loads(done.stdout.strip().rpartition("\n")[2])
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("problem", "imports", f"the engine does not start: {error}", "see the lines above")
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return Finding("problem", "imports", f"LLaMA-Factory does not import: {last[:200]}", "see `versions` above")
    text = f"LLaMA-Factory imports in {values['seconds']} s"
    if gpus and not values["cuda"]:
        mend = "check that the driver fits torch's CUDA; a torch build for the CPU cannot use cards"
        return Finding("problem", "imports", f"{text}, but torch {values['build'] or '(CPU build)'} sees no card", mend)
    return Finding("ok", "imports", f"{text}; torch sees {values['count']} card(s)")


def _workspace(ws: Workspace) -> Iterator[Finding]:
    yield from _datasets(ws)
    yield from _leftovers(ws)
    checkpoints = find_checkpoints(ws.saves)
    broken = [item for item in checkpoints if item.problem]
    text = f"{len(checkpoints)} under {ws.saves}"
    if broken:
        yield Finding(
            "warning", "checkpoints", f"{text}, {len(broken)} of them unusable", "`rlguide checkpoints` says why"
        )
    else:
        yield Finding("ok", "checkpoints", text)
    for run in find_runs(ws):
        if run.status == "interrupted":
            name = ws.relative(run.path)
            yield Finding("warning", "runs", f"{name} was interrupted", f"rlguide train --resume {shlex.quote(name)}")


def _datasets(ws: Workspace) -> Iterator[Finding]:
    try:
        entries = read_registry(ws)
    except RlguideError as error:
        yield Finding("problem", "datasets", error.what, error.todo)
        return
    missing = [
        name
        for name, entry in entries.items()
        if not any(key in entry for key in REMOTE_KEYS)
        and isinstance(entry.get("file_name"), str)
        and not (ws.data / entry["file_name"]).exists()
    ]
    text = f"{len(entries)} registered in {ws.dataset_info}" if entries else "none registered yet"
    if missing:
        names = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        yield Finding(
            "warning", "datasets", f"{text}; the files of {names} are missing", "download or register them again"
        )
    else:
        yield Finding("ok", "datasets", text)


def _leftovers(ws: Workspace) -> Iterator[Finding]:
    """Temporary files of writes that were killed: each is hidden, ends in .tmp and lies beside its target."""
    now = time.time()
    old = [
        path
        for folder in (ws.data, ws.configs, ws.saves)
        for path in folder.glob(".*.tmp")
        if path.is_file() and now - path.stat().st_mtime > _OLD_ENOUGH
    ]
    if old:
        size = sum(path.stat().st_size for path in old)
        mend = "rm " + " ".join(shlex.quote(str(path)) for path in old[:5])
        yield Finding(
            "warning", "leftovers", f"{len(old)} temporary files ({size / 1e6:.1f} MB) of killed commands", mend
        )


def _hub_settings() -> Iterator[Finding]:
    token = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN")
    home = Path(
        os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    ).expanduser()
    stored = (home / "token").is_file()
    said = "set" if token else "stored by `hf auth login`" if stored else "not set (only gated models need it)"
    yield Finding("ok", "hub", f"endpoint {_public(_endpoint())}, HF_TOKEN {said}, HF_HOME {home}")
    if token and token != token.strip():
        yield Finding("warning", "hub", "HF_TOKEN has a blank or line break at its end", "set it again without")


def _hub_reachable(answer: _Later[str | None]) -> Finding:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        mend = "unset HF_HUB_OFFLINE to download models or datasets"
        return Finding("warning", "network", "HF_HUB_OFFLINE is set: nothing is downloaded", mend)
    problem = answer.wait(_HUB_PATIENCE)
    name = _public(_endpoint())
    if problem == "":
        return Finding("ok", "network", f"{name} answers")
    return Finding(
        "warning",
        "network",
        f"{name} does not answer: {problem or 'no reply in 3 s'}",
        f"check the network, or {_MIRROR}",
    )


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT") or _HUB


def _public(endpoint: str) -> str:
    """The address without a user name or password in it."""
    return re.sub(r"//[^/@]*@", "//", endpoint)


def _hub_answer() -> str | None:
    """'' if the hub answers at all, else why not. Sends nothing but a request for its front page's headers."""
    import urllib.error
    import urllib.request

    if os.environ.get("HF_HUB_OFFLINE"):
        return None
    try:
        request = urllib.request.Request(_endpoint(), method="HEAD")
        with urllib.request.urlopen(request, timeout=_HUB_PATIENCE):
            return ""
    except urllib.error.HTTPError:
        return ""  # an answer, if not a friendly one
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))
