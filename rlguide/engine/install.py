"""Install an engine in a virtual environment of its own, or remove it.

The main engine holds everything LLaMA-Factory needs (6 GB). An engine for what the main one refuses (PPO) holds only
what must differ; everything else (torch, the CUDA libraries, pyarrow ...) is read from the main engine through a .pth
file, which comes after the environment's own packages on the path. So it costs 160 MB, and both run on the same torch.

A state file says what is done. Only an engine whose state says it is complete is ever used; an installation that was
cut off resumes where it stopped.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rlguide.console import console, say
from rlguide.engine.find import Engine, engine_at
from rlguide.engine.install_plan import CHECKS, CONSTRAINTS, InstallPlan, check_name
from rlguide.engine.interrupts import interrupts_held
from rlguide.engine.process import EngineProcess, group_alive, signal_group
from rlguide.engine.state import STATE, engine_folder, engines_home, python_of, read_state, trouble
from rlguide.engine.worker import engine_environment
from rlguide.errors import EngineError
from rlguide.locks import locked
from rlguide.workspace import free_bytes, write_json

# Sorted last among the .pth files, for readers only: the order on the path is that of sys.path, own packages first.
_SHARED_PTH = "zz_rlguide_shared.pth"
_RESERVE_BYTES = 200 << 20
_UNTOUCHED_BY_PIP = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_REQUIRE_VIRTUALENV", "PIP_CONSTRAINT")
_QUIET = ("--no-input", "--disable-pip-version-check", "--progress-bar", "off")
# Distributions in one call of pip. One that is cut off is done again, so those of hundreds of megabytes go by few.
_HEAVY, _HEAVY_AT_ONCE, _AT_ONCE = re.compile(r"torch==|triton==|nvidia|bitsandbytes"), 3, 25
_UNREACHABLE = re.compile(
    r"(NewConnection|NameResolution|ConnectTimeout|ReadTimeout|Proxy|SSL|ConnectionReset|RemoteDisconnected)\w*"
    r"|Temporary failure in name resolution|Network is unreachable|Connection refused"
)

_TORCHRUN = """#!/bin/sh
exec "$(dirname "$0")/python" -m torch.distributed.run "$@"
"""


def install(plan: InstallPlan) -> Engine:
    """Carry out a plan; at once if it has been carried out before. Says each step with its seconds on stderr.

    What was done before a Ctrl-C, a kill, a lost connection or a full disk is not done again. The log is
    `<engines>/<name>.log`.

    Raises:
        EngineError: a step failed; it names the log. Nothing incomplete is ever used.
        RlguideError: another installation of the same engine runs.
    """
    with locked(plan.folder, timeout=1.0), _alone(plan.folder) as children:
        if plan.is_done:
            return engine_at(plan.folder)
        _check_room(plan)
        started = time.monotonic()
        steps = _Steps(plan, _begin(plan), children)
        if "environment" not in steps.done:
            seconds = steps.run("environment", [str(plan.base), "-m", "venv", str(plan.folder)])
            steps.note("environment", ["environment"], seconds)
        pins = [item.pin for item in plan.own] if plan.folders else steps.resolve()
        for batch in _batches([pin for pin in pins if pin not in steps.done], bool(plan.folders)):
            steps.install(batch, len(pins))
        _share(plan)
        seconds = steps.run("check that it imports", [str(python_of(plan.folder)), "-c", CHECKS[plan.name]])
        say(f"  check that it imports: {seconds:.0f} s")
        # Of the main engine its user may change a version; the doctor says what that breaks.
        expected = {**(plan.shared or {}), **{item.name: item.version for item in plan.own}} if plan.folders else {}
        write_json(plan.folder / STATE, {**steps.state, "complete": True, "versions": expected})
        say(f"done in {time.monotonic() - started:.0f} s; log: {steps.log}")
        problem = trouble(plan.name)
        if problem:
            raise EngineError(f"the engine {plan.name!r} {problem}", f"rlguide engine remove {plan.name}")
        return engine_at(plan.folder)


def remove(name: str) -> float:
    """Remove an installed engine, or what is left of one; returns the megabytes it took, 0.0 if there was none.

    Raises:
        UsageError: rlguide knows no engine of that name.
        RlguideError: an installation of it runs.
    """
    check_name(name)
    folder = engine_folder(name)
    if not folder.is_dir() or folder.is_symlink():
        return 0.0
    with locked(folder, timeout=1.0), _alone(folder):
        size = _size(folder)
        (folder / STATE).unlink(missing_ok=True)  # from here on it is not used
        shutil.rmtree(folder)
        folder.with_suffix(".log").unlink(missing_ok=True)
    return size / 1e6


@contextmanager
def _alone(folder: Path) -> Iterator[IO[str]]:
    """Stop what a killed installation left running; yields a file that the steps' processes keep open.

    Its lock is theirs too, so the kernel frees it only when the last of them has ended. It holds the id of their group.
    """
    import fcntl

    path = folder.with_name(f".{folder.name}.steps")
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("stopping what a killed installation left running")
            file.seek(0)
            group = file.read().strip()
            while group.isdecimal() and group_alive(int(group)):
                signal_group(int(group), signal.SIGKILL)
                time.sleep(0.05)
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield file
        finally:
            path.unlink(missing_ok=True)


@dataclass
class _Steps:
    """The steps of one installation: run with their output in the log, noted in the state when done."""

    plan: InstallPlan
    state: dict[str, Any]
    children: IO[str]

    @property
    def log(self) -> Path:
        return self.plan.folder.with_suffix(".log")

    @property
    def done(self) -> list[str]:
        """The pins that are installed, and "environment"."""
        done: list[str] = self.state["done"]
        return done

    def note(self, label: str, done: Sequence[str], seconds: float, total: int = 0) -> None:
        """Keep that a step is done, then say so: what has been said is never done again."""
        self.done.extend(done)
        _write_state(self.plan, self.state)
        so_far = f" ({len(self.done) - 1} of {total})" if not self.plan.folders and total else ""
        say(f"  {label}: {seconds:.0f} s{so_far}")

    def resolve(self) -> list[str]:
        """Every distribution of the main engine as pip chooses it here, as pins; asked once and kept."""
        if not isinstance(self.state.get("pins"), list):
            report = self.plan.folder / "resolved.json"
            wanted = ("-c", str(CONSTRAINTS), *(item.pin for item in self.plan.own))
            command = self.pip("--dry-run", "--ignore-installed", "--report", str(report), *wanted)
            seconds = self.run("choose versions", command)
            chosen = [item["metadata"] for item in json.loads(report.read_text(encoding="utf-8"))["install"]]
            report.unlink()
            self.state["pins"] = [f"{item['name']}=={item['version']}" for item in chosen]
            self.note("choose versions", [], seconds)
        pins: list[str] = self.state["pins"]
        return pins

    def install(self, batch: list[str], total: int) -> None:
        """Install these pins and nothing else; over whatever a call of pip that was cut off left of them."""
        cut_off = not set(batch).isdisjoint(self.state.get("begun", []))
        self.state["begun"] = batch
        _write_state(self.plan, self.state)
        label = batch[0] if len(batch) == 1 else f"{batch[0]} and {len(batch) - 1} more"
        options = ("--no-deps", *(("--ignore-installed",) if cut_off else ()))
        self.note(label, batch, self.run(label, self.pip(*options, *batch)), total)

    def pip(self, *arguments: str) -> list[str]:
        """A call of the engine's own `pip install`."""
        index = ("--extra-index-url", self.plan.index) if self.plan.index else ()
        return [str(python_of(self.plan.folder)), "-m", "pip", "install", *_QUIET, *index, *arguments]

    def run(self, label: str, command: list[str]) -> float:
        """Run one command into the log, counting its seconds on the screen, and return them. Raises EngineError."""
        from rich.markup import escape

        python = Path(command[0])
        environment = engine_environment(Engine(python, {}), CUDA_VISIBLE_DEVICES="")
        for name in _UNTOUCHED_BY_PIP:
            environment.pop(name, None)
        started, lines, err = time.monotonic(), [], console(stderr=True)
        with ExitStack() as stack:
            with interrupts_held():
                process = EngineProcess(command, python.parent, environment, self.log, (self.children.fileno(),))
                stack.enter_context(process)
                self.children.truncate(0)
                self.children.write(f"{process.pid}\n")
                self.children.flush()
            status = stack.enter_context(err.status(label))
            for line in process.lines():
                if line:
                    lines.append(line.strip())
                    if not err.is_terminal and re.search(r"Downloading .*\(\d{3,}\.?\d* MB\)", line):
                        say(f"    {line.strip()}")
                status.update(f"{label}: {time.monotonic() - started:.0f} s  {escape(lines[-1][:60]) if lines else ''}")
        if process.returncode != 0:
            raise self._failure(label, lines)
        return time.monotonic() - started

    def _failure(self, label: str, lines: list[str]) -> EngineError:
        again = f"`rlguide engine install {self.plan.name}` again: what is done is kept; log: {self.log}"
        if reason := next((match[0] for match in map(_UNREACHABLE.search, reversed(lines)) if match), None):
            return EngineError(
                f"installing the engine failed at {label}: the package index cannot be reached ({reason})",
                f"check the network, or the index and proxy that pip is set to, then {again}",
            )
        errors = [line for line in lines if line.startswith("ERROR")] or lines or ["no output"]
        return EngineError(f"installing the engine failed at {label}: {errors[-1][:300]}", f"see the log, then {again}")


def _batches(pins: Sequence[str], one_by_one: bool) -> Iterator[list[str]]:
    """What goes into one call of pip each: few heavy ones, many light ones."""
    heavy = [pin for pin in pins if _HEAVY.match(pin)]
    light = [pin for pin in pins if not _HEAVY.match(pin)]
    for group, size in ((heavy, _HEAVY_AT_ONCE), (light, _AT_ONCE)) if not one_by_one else ((pins, 1),):
        for start in range(0, len(group), size):
            yield list(group[start : start + size])


def _write_state(plan: InstallPlan, state: dict[str, Any]) -> None:
    write_json(plan.folder / STATE, {**state, "complete": False})


def _begin(plan: InstallPlan) -> dict[str, Any]:
    """The state to resume from. What is left of another recipe, or has no environment yet, is removed."""
    state = read_state(plan.folder)
    done = state.get("done")
    has_environment = isinstance(done, list) and "environment" in done and python_of(plan.folder).exists()
    if state.get("recipe") == plan.recipe and has_environment:
        _write_state(plan, state)  # no longer complete, until it is checked again
        return state
    if plan.folder.is_symlink():
        raise EngineError(f"{plan.folder} is a link", "remove it, then install again")
    if plan.folder.exists():
        say(f"removing what is left of another installation in {plan.folder}")
        shutil.rmtree(plan.folder)
    state = {"recipe": plan.recipe, "done": [], "folders": list(plan.folders), "index": plan.index}
    _write_state(plan, state)
    return state


def _check_room(plan: InstallPlan) -> None:
    """Raise EngineError unless the disk holds the engine and what pip keeps of it in its cache."""
    free = free_bytes(plan.folder)
    needed = int((plan.disk_mb + plan.fetch_mb) * 1e6) + _RESERVE_BYTES
    if free < needed and free + _size(plan.folder) < needed:  # what is there already is kept, or replaced
        raise EngineError(
            f"{free / 1e6:,.0f} MB are free at {engines_home()}, and the installation needs {needed / 1e6:,.0f} MB",
            "free some space, or name another place with XDG_DATA_HOME",
        )


def _size(folder: Path) -> int:
    """Bytes on disk under a folder."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))


def _share(plan: InstallPlan) -> None:
    """Put another engine's package folders at the end of the environment's path, and make a torchrun of its own.

    With several GPUs LLaMA-Factory starts `torchrun` by name. The shared torch brings no script into this
    environment, and the main engine's would start the main engine's Python.
    """
    if not plan.folders:
        return
    [site] = (plan.folder / "lib").glob("python*/site-packages")
    (site / _SHARED_PTH).write_text("".join(f"{folder}\n" for folder in plan.folders), encoding="utf-8")
    torchrun = python_of(plan.folder).with_name("torchrun")
    torchrun.write_text(_TORCHRUN, encoding="utf-8")
    torchrun.chmod(0o755)
