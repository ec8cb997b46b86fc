"""What is on this host, what works, what does not and how to fix it. Nothing heavy is imported or started."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from rlguide import __version__
from rlguide.doctor.engine import check_engine, check_imports, check_launcher
from rlguide.doctor.finding import Finding, Later
from rlguide.doctor.host import check_gpus, check_host
from rlguide.doctor.network import check_hub, check_hub_settings, hub_answer
from rlguide.doctor.workspace import check_workspace
from rlguide.engine.find import Engine, find_engine
from rlguide.engine.hardware import list_gpus
from rlguide.errors import EngineError
from rlguide.workspace import Workspace


def examine(ws: Workspace, engine: str | None = None, deep: bool = False) -> Iterator[Finding]:
    """Yield the findings as they come: the host, the engine, the workspace, and the hub last (it may be slow).

    Args:
        engine: as for `find_engine`.
        deep: also import torch and LLaMA-Factory in the engine (about ten seconds).
    """
    hub = Later(hub_answer)
    gpus_later = Later(list_gpus)
    yield Finding("ok", "python", f"{sys.version.split()[0]} at {sys.executable}")
    yield Finding("ok", "rlguide", __version__)
    found: Engine | None = None
    try:
        found = find_engine(engine)
    except EngineError as error:
        yield Finding("problem", "engine", error.what, error.fix)
    if found is not None:
        yield from check_engine(found)
    yield from check_host(ws)
    gpus = gpus_later.wait(10.0) or []
    yield from check_gpus(gpus, found)
    if found is not None:
        yield from check_launcher(ws, found, gpus)
        if deep:
            yield check_imports(found, gpus)
    yield from check_workspace(ws)
    yield from check_hub_settings()
    yield check_hub(hub)
