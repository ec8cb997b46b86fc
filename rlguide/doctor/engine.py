"""Findings about the engine: versions, what it can train, whether it imports."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator

from rlguide.catalog.methods import method_choices
from rlguide.console import say
from rlguide.doctor.finding import Finding
from rlguide.engine.capabilities import abilities, summary
from rlguide.engine.find import Engine
from rlguide.engine.hardware import Gpu
from rlguide.engine.job import ask_worker
from rlguide.engine.pins import mismatches, read_pins
from rlguide.engine.schema import schema_cache
from rlguide.engine.state import engine_folder, trouble
from rlguide.errors import EngineError
from rlguide.workspace import Workspace


def check_engine(engine: Engine) -> Iterator[Finding]:
    """Versions beside those that were tested, what the engine can train, whether it is whole. Nothing is imported."""
    yield Finding("ok", "engine", f"LLaMA-Factory {engine.version} at {engine.python}")
    pip = f"{shlex.quote(str(engine.python))} -m pip"
    differing = mismatches(engine.versions, read_pins())
    for item in differing:
        what = f"{item.name} {item.installed or 'is missing'}, tested with {item.pinned}"
        what += f": {item.breaks}" if item.breaks else ""
        fix = f"{pip} install {item.name}=={item.pinned}"
        yield Finding("problem" if item.is_fatal else "warning", "versions", what, fix)
    if not differing:
        versions = ", ".join(f"{name} {engine.versions[name]}" for name in ("torch", "transformers", "trl", "peft"))
        yield Finding("ok", "versions", f"as tested ({versions})")
    yield from _methods(engine)
    if not engine.cli.is_file():
        fix = f"{pip} install --force-reinstall --no-deps llamafactory=={engine.version}"
        yield Finding("problem", "engine", f"{engine.cli} is missing", fix)
    cached = schema_cache(engine).is_file()
    yield Finding("ok", "keys", "the engine's argument table is cached" if cached else "will be read once (about 10 s)")


def _methods(engine: Engine) -> Iterator[Finding]:
    """What can be trained, in which engine; a loss that would silently be another one is a warning."""
    items = abilities(engine.versions, method_choices(), engine.python)
    for item in items:
        if item.limitation is not None and item.limitation.is_silent:
            what = f"rlguide refuses loss {item.loss}: {item.limitation.what}"
            yield Finding("warning", "methods", what, item.limitation.fix)
    text = summary(engine.versions, method_choices())
    beside = {item.limitation.engine: item.method for item in items if item.limitation and item.limitation.engine}
    for name, method in beside.items():
        problem = trouble(name)
        where = f"which {problem}: `rlguide engine install {name}`" if problem else f"at {engine_folder(name)}"
        text += f"; {method} in an engine of its own, {where}"
    yield Finding("ok", "methods", text)


def check_launcher(ws: Workspace, engine: Engine, gpus: list[Gpu]) -> Iterator[Finding]:
    """With two or more GPUs LLaMA-Factory starts torchrun with `" ".join(argv).split()`: a space breaks it."""
    several = len(gpus) > 1 or os.environ.get("FORCE_TORCHRUN", "0").lower() in ("1", "y", "true")
    if several and " " in str(engine.python.parent.parent):
        where = f"the engine's path has a space ({engine.python.parent.parent})"
        fix = "`export CUDA_VISIBLE_DEVICES=0` to use one GPU, or move that environment to a path without spaces"
        yield Finding("problem", "launcher", f"{where}: with several GPUs LLaMA-Factory cannot start torchrun", fix)


def check_imports(engine: Engine, gpus: list[Gpu]) -> Finding:
    """Whether what a training imports can be imported, and whether torch sees the GPUs (about 10 s)."""
    say("importing LLaMA-Factory in the engine (about 10 s)")
    try:
        values = ask_worker(engine, "check_imports")
    except EngineError as error:
        return Finding("problem", "imports", error.what, "see `versions` above")
    text = f"LLaMA-Factory imports in {values['seconds']} s"
    if gpus and not values["cuda"]:
        fix = "check that the driver fits torch's CUDA; a torch build for the CPU cannot use GPUs"
        return Finding("problem", "imports", f"{text}, but torch {values['build'] or '(CPU build)'} sees no GPU", fix)
    return Finding("ok", "imports", f"{text}; torch sees {values['count']} GPU(s)")
