"""Start a script of `rlguide_worker` in the engine's own Python."""

from __future__ import annotations

import os
from pathlib import Path

from rlguide import hub_settings
from rlguide.engine.find import Engine
from rlguide.engine.state import is_laid_over


def worker_command(engine: Engine, name: str, *arguments: str) -> list[str]:
    """The command line of `rlguide_worker/<name>.py`. The script is started by path: the engine needs no rlguide."""
    script = Path(__file__).resolve().parents[2] / "rlguide_worker" / f"{name}.py"
    return [str(engine.python), str(script), *arguments]


def engine_environment(engine: Engine, **extra: str) -> dict[str, str]:
    """The environment for any process of the engine.

    Its own scripts (torchrun) come first on PATH and output is unbuffered, so that a log can be followed. Idle
    OpenMP threads sleep: by default they spin, and on cores that others use too, training a small model on the CPU
    took twelve times as long (60 steps on two busy cores: 145 s against 12 s).
    An engine that rlguide laid over another gets a cache of prepared datasets of its own: `datasets` 3.6 cannot read
    what 4.0 has written. The cache of models stays shared.
    """
    environment = dict(os.environ)
    environment.pop("PYTHONPATH", None)
    environment.pop("PYTHONHOME", None)
    environment["PATH"] = f"{engine.python.parent}{os.pathsep}{environment.get('PATH', '')}"
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if not environment.get("HF_ENDPOINT"):
        environment.pop("HF_ENDPOINT", None)  # set to nothing, it would be an address for the engine's client
    environment.update(
        PYTHONUNBUFFERED="1",
        PYTHONIOENCODING="utf-8",
        TOKENIZERS_PARALLELISM="false",
        HF_HUB_DISABLE_TELEMETRY="1",
    )
    if is_laid_over(engine.python):
        usual = Path(environment.get("HF_DATASETS_CACHE") or hub_settings.home() / "datasets").expanduser()
        own = f"{usual.name}-{engine.versions.get('datasets', 'other')}"
        environment["HF_DATASETS_CACHE"] = str(usual.with_name(own))
    environment.update(extra)
    return environment
