"""Which keys of a config send something away, or write beside the folder of the run (`engine_keys.yaml`, guarded)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlguide.catalog.engine_keys import engine_keys
from rlguide.catalog.trackers import stays_here
from rlguide.engine.config_file import format_value


def outward_keys(root: Path, folder: Path, config: Mapping[str, Any]) -> list[str]:
    """The keys whose values send something away, or write outside the folder of the run.

    Args:
        root: the workspace, from which paths are meant.
        folder: that of the run.
    """
    return [key for key, value in config.items() if _is_outward(root, folder, key, _away(key, value, config))]


def outward_notes(root: Path, folder: Path, config: Mapping[str, Any]) -> list[str]:
    """What to say of these keys to one whose config it is."""
    guarded = engine_keys().guarded
    notes = []
    for key in outward_keys(root, folder, config):
        does = "writes outside the run's folder" if guarded.is_path(key) else "sends something away"
        does = "may write outside the run's folder or send something away" if key in guarded.inside else does
        notes.append(f"{key}: {format_value(config[key])} {does}")
    return notes


def lies_in(path: Path, folder: Path) -> bool:
    """Whether a path lies in a folder, wherever links lead; not if it cannot be."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # too long; a loop of links; a NUL
        return False


def _away(key: str, value: Any, config: Mapping[str, Any]) -> Any:
    """The value without the trackers that the config keeps on this machine."""
    if key != "report_to":
        return value
    names = value if isinstance(value, list) else [value]
    return [name for name in names if not stays_here(str(name), config)]


def _is_outward(root: Path, folder: Path, key: str, value: Any) -> bool:
    guarded = engine_keys().guarded
    if guarded.is_path(key):
        return bool(value) and not lies_in(root / str(value), folder)
    if key in guarded.inside:
        settings = read_settings(root, value)
        return settings is None or bool(guarded.settings_inside(key, settings))
    return guarded.is_sent(key, value)


def read_settings(root: Path, value: Any) -> Any:
    """The settings in a value, in the JSON that it is or in the file that it names; None if they cannot be read.

    Transformers takes a mapping, JSON, the name of a file, or base64 (integrations/deepspeed.py).
    """
    if not value or not isinstance(value, str):
        return value or {}
    try:
        path = root / value
        return json.loads(path.read_text(encoding="utf-8") if path.is_file() else value)
    except (OSError, ValueError, RecursionError):
        return None
