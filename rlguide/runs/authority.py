"""What the record of a run may not decide: whose code runs, where the engine writes, and what it sends away.

A record may be somebody else's: a run is copied, downloaded, unpacked. So these things are said by the person who runs
the command, each time.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rlguide.catalog.engine_keys import engine_keys
from rlguide.catalog.trackers import keeps_null
from rlguide.engine.config_file import format_value
from rlguide.errors import UsageError
from rlguide.policy.run_state import replay_command, resume_command
from rlguide.recipes.checks import check_secrets, names_secret
from rlguide.recipes.outward import lies_in, outward_keys
from rlguide.runs.record import Run
from rlguide.workspace import Workspace

TRUST = "trust_remote_code"


def check_trusted(run: Run, is_settled: bool) -> None:
    """Refuse to run a base model's own code because a run's record says so.

    Args:
        is_settled: whether the person who runs the command has said whether that code may run.

    Raises:
        UsageError: the record asks for it, and the person has not.
    """
    if run.config.get(TRUST) and not is_settled:
        raise UsageError(
            f"{run.name} runs code that comes with its base model {run.record.base} ({TRUST})",
            "read that code; if you trust it, add --trust-remote-code",
        )


def check_said(said: Mapping[str, Any]) -> None:
    """Refuse what cannot be said of a run that is resumed: what is part of its training, and secrets.

    Raises:
        UsageError: naming the key.
    """
    for key in said:
        if key != TRUST and not engine_keys().guarded.holds(key):
            raise UsageError(
                "--resume trains with the config that the run began with, so it takes no other option"
                f" (given: --set {key})",
                "leave it out; to change it, start a new run with --output-dir",
            )
    check_secrets(said, "--set")


def with_said(ws: Workspace, run: Run, said: Mapping[str, Any]) -> Run:
    """The run that is to be resumed, with what its person said over its record.

    Args:
        said: values of keys that the record may not decide; None drops the key.

    Raises:
        UsageError: a key that the record may not decide and that was not said, or another value of one that is part
            of what is trained.
    """
    for key, value in said.items():
        if key in engine_keys().guarded.fixed and value != run.config.get(key):
            raise UsageError(
                f"with another {key} it would not be the training that {run.name} began",
                f"repeat it as it is: {_setting(key, run.config.get(key))}; or start a new run with --output-dir",
            )
    check_trusted(run, is_settled=TRUST in said)
    unsaid = [key for key in outward_keys(ws.root, run.path, run.config) if key not in said]
    if unsaid:
        shown = ", ".join(key if names_secret(key) else f"{key}: {format_value(run.config[key])}" for key in unsaid)
        repeated = {**{key: run.config[key] for key in unsaid}, **said}
        settings = " ".join(_setting(key, value) for key, value in repeated.items())
        raise UsageError(
            f"the record of {run.name} says where to write or what to send away, which only you can: {shown}",
            f"say it: `{resume_command(run.name)} {settings}`, or drop a key with --set KEY=null",
        )
    config = {**run.config, **said}
    config = {key: value for key, value in config.items() if value is not None or keeps_null(key)}
    return replace(run, record=replace(run.record, config=config))


def without_unsaid(
    ws: Workspace, run: Run, config: Mapping[str, Any], said: Mapping[str, Any], folder: str
) -> tuple[dict[str, Any], list[str]]:
    """A recorded config for a training in another folder, without the keys that the record may not decide.

    What is left out changes nothing that is learnt; a sentence for each says how to have it.

    Args:
        said: the keys that the person who runs the command has set.
        folder: where it is trained, from the workspace.

    Raises:
        UsageError: such a key is part of what is trained (`fixed`).
    """
    unsaid = [key for key in outward_keys(ws.root, ws.root / folder, config) if key not in said]
    fixed = [key for key in unsaid if key in engine_keys().guarded.fixed]
    if fixed:
        key = fixed[0]
        settings = " ".join(_setting(name, value) for name, value in {key: config[key], **said}.items())
        raise UsageError(
            f"the record of {run.name} says where to write or what to send away, which only you can:"
            f" {key}: {format_value(config[key])}",
            f"say it: `{replay_command(run.name)} {settings}`",
        )
    kept = {key: value for key, value in config.items() if key not in unsaid}
    notes = [
        f"{key} of the record sends something away or writes elsewhere, and is left out; to have it: "
        + (f"{_setting(key, config[key])}" if not names_secret(key) else "say it in the environment")
        for key in unsaid
    ]
    return kept, notes


def _setting(key: str, value: Any) -> str:
    """How a value is given again; a secret is dropped, because it belongs into the environment."""
    text = "null" if names_secret(key) else format_value(value)
    return f"--set {shlex.quote(f'{key}={text}')}"


def settled_cache(ws: Workspace, config: Mapping[str, Any]) -> str:
    """What to say of a recorded `cache_dir` that is not used, because it lies outside the workspace; "" if none."""
    value = config.get("cache_dir")
    if not value or lies_in(ws.root / str(value), ws.root):
        return ""
    return (
        f"the cache_dir of the record, {value}, is outside the workspace and is not used; to use it:"
        f" export HF_HUB_CACHE={shlex.quote(str(value))}"
    )


def check_links(folder: Path, name: str, below: str = "") -> None:
    """Refuse to write into a run where a link in its folder leads out of it.

    Args:
        name: how the run is typed from the workspace.
        below: the subfolder that is written into; all of the run by default.

    Raises:
        UsageError: naming the link.
    """
    for path in _links(folder / below):
        if path != folder and not lies_in(path, folder):
            raise UsageError(
                f"{name}/{path.relative_to(folder).as_posix()} is a link to {path.readlink()}, outside the run:"
                " what is written there would go elsewhere",
                f"remove the link (rm {shlex.quote(str(path))}), or put what it leads to in its place",
            )


def _links(folder: Path) -> Iterator[Path]:
    if folder.is_symlink():
        yield folder
    for above, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(above) / name
            if path.is_symlink():
                yield path
