"""Trackers: which one a training reports to, and whether that will work, told before the start without a network."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rlguide import hub_settings
from rlguide.catalog.engine_keys import engine_keys
from rlguide.catalog.trackers import Tracker, stays_here, trackers
from rlguide.engine.config_file import split_names
from rlguide.errors import UsageError, did_you_mean

NONE = "none"


def report_keys(asked: str | None) -> dict[str, Any]:
    """The keys of `--report-to`: trackers by name, separated by commas; Trackio stays on this machine.

    Raises:
        UsageError: a tracker that is not known.
    """
    if asked is None:
        return {}
    names = split_names(asked)
    for name in names:
        if name not in (NONE, *trackers()):
            known = [NONE, *trackers()]
            raise UsageError(
                f"--report-to {name} is not a tracker that rlguide knows{did_you_mean(name, known)}",
                f"choose one of {', '.join(known)}; --set report_to={name} if LLaMA-Factory knows it",
            )
    if NONE in names or not names:
        if len(names) > 1:
            raise UsageError("--report-to names none and a tracker", "name one or the other")
        return {"report_to": NONE}
    local = {item.remote["key"]: item.remote["value"] for item in map(trackers().__getitem__, names) if item.remote}
    return {"report_to": names[0] if len(names) == 1 else names, **local}


def asked_trackers(config: Mapping[str, Any], versions: Mapping[str, str]) -> list[Tracker]:
    """The trackers that a config reports to, of those that are known here.

    Without report_to, or with "all", transformers takes each that is installed (4.57.6, training_args.py).

    Args:
        versions: what the engine has, by distribution.
    """
    value = config.get("report_to")
    names = [str(item) for item in value] if isinstance(value, list) else split_names(value)
    if not names or "all" in names:
        packages = engine_keys().values["report_to"]
        names = [name for name in trackers() if set(packages[name]) & versions.keys()]
    names += ["swanlab"] if config.get("use_swanlab") else []
    return [trackers()[name] for name in dict.fromkeys(names) if name in trackers()]


def check_trackers(
    root: Path, config: Mapping[str, Any], versions: Mapping[str, str], environment: Mapping[str, str] = os.environ
) -> list[str]:
    """Refuse a training whose tracker would ask for a login, which nobody can answer; returns where each one writes.

    Args:
        root: the workspace, in which the engine runs.
        versions: what the engine has, by distribution.

    Raises:
        UsageError: nobody is logged in, and it is not set to stay offline.
    """
    notes = []
    for tracker in asked_trackers(config, versions):
        is_local = tracker.name == "swanlab" and config.get("use_swanlab") and config.get("swanlab_mode") == "local"
        if not is_local and not _works(root, tracker, config, environment):
            raise UsageError(_refused(tracker), _how(tracker))
        is_away = not (is_local or _is_offline(tracker, config, environment)) and bool(tracker.login or tracker.remote)
        folder = shlex.quote(str(config.get("logging_dir") or config.get("output_dir")))
        here = f"{tracker.where}; {tracker.then.replace('{folder}', folder)}"
        notes.append(f"{tracker.name}: {'its service' if is_away else here}")
    return notes


def _works(root: Path, tracker: Tracker, config: Mapping[str, Any], environment: Mapping[str, str]) -> bool:
    if _is_offline(tracker, config, environment):
        return True
    if tracker.remote:
        return bool(environment.get("HF_TOKEN") or hub_settings.token_file().is_file())
    is_given = bool(environment.get(tracker.key))
    return is_given or any(_holds_login(path) for path in _files(root, tracker, environment))


def _is_offline(tracker: Tracker, config: Mapping[str, Any], environment: Mapping[str, str]) -> bool:
    """Whether it sends nothing: it cannot, or is told not to."""
    if tracker.remote:
        return not environment.get(tracker.remote["variable"]) and stays_here(tracker.name, config)
    if not tracker.login:
        return True
    return any(environment.get(variable) in values for variable, values in tracker.offline.items())


def _files(root: Path, tracker: Tracker, environment: Mapping[str, str]) -> Iterator[Path]:
    """Where its login may be stored: in what a variable names (a file, or its folder), else in the usual place."""
    for variable, usual in tracker.files.items():
        named = environment.get(variable) if variable else ""
        path = Path(named or usual).expanduser()
        yield root / (path / Path(usual).name if path.is_dir() else path)


def _holds_login(path: Path) -> bool:
    from netrc import NetrcParseError, netrc

    try:
        return any(entry[2] for entry in netrc(path).hosts.values())
    except (OSError, NetrcParseError, UnicodeDecodeError):
        return False


def _refused(tracker: Tracker) -> str:
    if tracker.remote:
        return f"{tracker.name} would make a Space on the hub ({tracker.remote['key']}), and nobody is logged in there"
    return f"{tracker.name} would ask for a login: {tracker.key} is not set, and nobody is logged in on this machine"


def _how(tracker: Tracker) -> str:
    if tracker.remote:
        return f"keep it on this machine: --set {tracker.remote['key']}=null; or set HF_TOKEN"
    variable, values = next(iter(tracker.offline.items()))
    local = f"export {variable}={values[0]}"
    return f"`{tracker.login}` in the engine's environment, or {local} to keep it on this machine, or --report-to none"
