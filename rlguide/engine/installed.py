"""Engines that rlguide installed: which one a method needs, which there are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rlguide.engine.capabilities import can
from rlguide.engine.find import Engine, engine_at, find_engine
from rlguide.engine.state import MAIN, engine_folder, read_state, trouble
from rlguide.errors import EngineError

BESIDE = ("ppo",)  # laid over the main engine, for what it refuses


def installed(name: str) -> Engine | None:
    """The engine of this name if rlguide has installed it whole and it still fits what it shares; else None."""
    return None if trouble(name) else engine_at(engine_folder(name))


def laid_over(folder: Path) -> list[str]:
    """The installed engines that read packages of the environment in `folder`."""
    shared = {name: read_state(engine_folder(name)).get("folders") or [] for name in BESIDE}
    return [name for name, folders in shared.items() if any(Path(item).is_relative_to(folder) for item in folders)]


def engine_for(main: Engine, method: str, loss: str | None = None) -> Engine:
    """The engine that trains `method` (with `loss`): `main` if it can, else the installed one that can.

    Raises:
        EngineError: neither can; `fix` says what to type.
    """
    limitation = can(main.versions, method, loss, main.python)
    if limitation is None:
        return main
    if not limitation.engine:
        raise EngineError(limitation.what, limitation.fix)
    problem = trouble(limitation.engine)
    if problem:
        raise EngineError(f"{limitation.what}; the engine {limitation.engine!r} {problem}", limitation.fix)
    return engine_at(engine_folder(limitation.engine))


@dataclass(frozen=True)
class KnownEngine:
    """One line of `rlguide engine list`. `engine` is None where it cannot be used; `trouble` says why then."""

    name: str
    engine: Engine | None
    trouble: str
    fix: str


def known_engines(explicit: str | None = None) -> list[KnownEngine]:
    """The main engine and those that rlguide can install, usable or not.

    Args:
        explicit: as for `find_engine`.
    """
    try:
        found = [KnownEngine(MAIN, find_engine(explicit), "", "")]
    except EngineError as error:
        found = [KnownEngine(MAIN, None, error.what, error.fix)]
    for name in BESIDE:
        problem = trouble(name)
        engine = None if problem else engine_at(engine_folder(name))
        found.append(KnownEngine(name, engine, problem or "", f"rlguide engine install {name}" if problem else ""))
    return found
