"""Gather what a run is made with: some hundredths of a second, and nothing is imported for it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlguide.data.names import parent_name, viewed_name
from rlguide.data.store.manifest import DataManifest, read_manifest
from rlguide.engine.hardware import driver_version
from rlguide.policy.base import cached_file
from rlguide.policy.run_record import RunRecord
from rlguide.recipes.data import VIEWS, data_home
from rlguide.runs.surroundings.secrets import without_secrets
from rlguide.runs.surroundings.variables import kept_variables
from rlguide.workspace import Workspace

if TYPE_CHECKING:
    from rlguide.data.store.registered import RegisteredDataset
    from rlguide.recipes.prepare import Prepared

# transformers 4.57.6, training_args.py: of `seed`; of `data_seed`, None, which takes that of `seed`.
_SEED = 42
_RESUMES = 20  # that are kept
_SECONDS = 5.0  # for git; a file system that hangs must not keep a training from starting


def gather(ws: Workspace, prepared: Prepared) -> dict[str, Any]:
    """What a run is made with beside its config, as `run.json` keeps it under "surroundings"; no secret is in it.

    Returns:
        "command": what was typed, word by word. "host", "system", "cores" (of the CPU).
        "gpus": names of those that it trains on, [] on the CPU; "driver": of NVIDIA, "" without GPUs.
        "python": of rlguide; what the engine's own process found follows as "torch" (`engine.events.Surroundings`).
        "git": "commit" of the repository that the workspace is in, and whether tracked files are changed ("dirty");
            None without one.
        "base_commit": of a base from the hub, if it is in the cache.
        "sources": where each dataset is from, by name ("source": with the commit on a hub; "options": filters).
        "seeds": "seed" and "data_seed" as the engine takes them. "variables": of the environment.
    """
    config = prepared.config
    gpus = [] if config.get("use_cpu") else [gpu.name for gpu in prepared.gpus]
    seed = config["seed"] if config.get("seed") is not None else _SEED
    found = {
        "command": ["rlguide", *sys.argv[1:]],
        "host": platform.node(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": os.cpu_count(),
        "gpus": gpus,
        "driver": driver_version() if gpus else "",
        "python": platform.python_version(),
        "git": git_state(ws.root),
        "base_commit": _commit_of_base(prepared),
        "sources": _sources(data_home(ws, config), [*prepared.datasets, *prepared.held_out]),
        "seeds": {"seed": seed, "data_seed": config.get("data_seed")},
        "variables": kept_variables(),
    }
    cleaned: dict[str, Any] = without_secrets(found)
    return cleaned


def resumed(record: RunRecord, versions: Mapping[str, str]) -> dict[str, Any]:
    """The surroundings of a run that is resumed now: "resumed" has an entry for each time.

    Each has "time", "command", "host", and "versions" of the engine that are not those that it began with.
    """
    before, begun_with = record.surroundings or {}, record.engine or versions
    earlier = before.get("resumed")
    entry: dict[str, Any] = without_secrets(
        {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": ["rlguide", *sys.argv[1:]],
            "host": platform.node(),
            "versions": {name: version for name, version in versions.items() if begun_with.get(name) != version},
        }
    )
    return {**before, "resumed": [*(earlier if isinstance(earlier, list) else ()), entry][-_RESUMES:]}


def git_state(folder: Path) -> dict[str, Any] | None:
    """The commit of the repository that a folder is in, and whether its tracked files are changed; None without one.

    One process of git, which runs nothing that the repository's own settings name (`core.fsmonitor`).
    """
    options = ["-c", "core.fsmonitor=false", "--no-optional-locks", "-C", str(folder)]
    asked = ["status", "--porcelain=v2", "--branch", "--untracked-files=no", "--ignore-submodules"]
    try:
        done = subprocess.run(
            ["git", *options, *asked], stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    commits = [line.split()[-1] for line in lines if line.startswith("# branch.oid ")]
    if done.returncode != 0 or not commits or commits[0] == "(initial)":
        return None
    return {"commit": commits[0], "dirty": any(not line.startswith("#") for line in lines)}


def _commit_of_base(prepared: Prepared) -> str | None:
    """The snapshot of the hub's cache that the engine will load, if it is there."""
    if prepared.base.folder is not None:
        return None
    path = cached_file(prepared.base.name, "config.json")
    return path.parent.name if path is not None and path.parent.parent.name == "snapshots" else None


def _sources(ws: Workspace, datasets: list[RegisteredDataset]) -> dict[str, Any]:
    found = {}
    for item in datasets:
        manifest = _manifest(ws, item.name)
        if manifest is not None:
            found[item.name] = {"source": _short(manifest.source), "options": manifest.options}
    return found


def _manifest(ws: Workspace, name: str) -> DataManifest | None:
    """Of the dataset itself, where `name` is its held-out split or one of its views."""
    parent = parent_name(name)
    names = [name, parent, *(viewed_name(parent, use) for use in VIEWS.values())]
    manifest = next(filter(None, (read_manifest(ws, item) for item in dict.fromkeys(names))), None)
    if manifest is not None and manifest.derived_from:
        return read_manifest(ws, manifest.derived_from) or manifest
    return manifest


def _short(source: Mapping[str, Any]) -> dict[str, Any]:
    """Without the list of files, of which there can be thousands: the data's own checksum says more."""
    return {key: value for key, value in source.items() if key not in ("files", "entries")}
