"""`rlguide train --replay RUN`: the training that a run's record describes, again, into another folder."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rlguide.catalog.engine_keys import engine_keys
from rlguide.console import printable, say, warn
from rlguide.data.ingest.views import view_names
from rlguide.data.names import viewed_name
from rlguide.data.store.dataset_info import read_registry
from rlguide.engine.capabilities import ppo_template
from rlguide.engine.config_file import split_names
from rlguide.engine.find import Engine
from rlguide.engine.state import ask
from rlguide.errors import DataError, EngineError, UsageError
from rlguide.policy.run_record import RunRecord
from rlguide.recipes.data import VIEWS, data_home
from rlguide.recipes.output import free_name
from rlguide.recipes.outward import lies_in
from rlguide.recipes.prepare import OwnConfig, Prepared, prepare_own
from rlguide.runs.authority import TRUST, check_trusted, without_unsaid
from rlguide.runs.record import CONFIG, Run, new_record, open_run
from rlguide.runs.replay.differences import changes, differences, not_recorded
from rlguide.runs.retry import ways_of
from rlguide.workspace import Workspace

# Keys of a record that are about that run's own folder and course.
_OF_THE_RUN = ("resume_from_checkpoint", "overwrite_output_dir", "restore_callback_states_from_checkpoint")
_NUMBER = re.compile(r"-\d{1,2}$")


@dataclass(frozen=True)
class ReplayRequest:
    """What is done again: the run's name, and the keys that are set otherwise.

    `output_dir`: the new folder; the first of NAME-2, NAME-3, ... that is free by default. `dry_run`: write nothing.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    output_dir: str | None = None
    dry_run: bool = False


@dataclass(frozen=True)
class Replay:
    """A run that can be done again: the run, its training as it begins now, and whether it was a plain one."""

    run: Run
    prepared: Prepared
    is_plain: bool


def prepare_replay(ws: Workspace, main: Engine, request: ReplayRequest) -> Replay:
    """The training of a run's record, checked as a config of its user is; what no record may decide is left out.

    Raises:
        UsageError: no such run, or the record asks for something that only the person who runs the command can.
        DataError: the record, or the data, is damaged. CheckpointError: a model is gone. EngineError: as `prepare`.
    """
    run = open_run(ws, request.name)
    if not run.config.get("stage"):
        again = f"`rlguide train --config {shlex.quote(run.file(CONFIG))} -o {shlex.quote(_folder(ws, run))}`"
        has_config = (run.path / CONFIG).is_file()
        fix = f"train its {CONFIG}: {again}" if has_config else "start a new training; see `rlguide train -h`"
        raise DataError(f"the record of {run.name} holds no config that could be trained again", fix)
    check_trusted(run, is_settled=TRUST in request.settings)
    folder = str(request.settings.get("output_dir") or request.output_dir or _folder(ws, run))
    folder = ws.relative(ws.root / Path(folder).expanduser())
    config, left_out = without_unsaid(ws, run, _moved(ws, run, folder), request.settings, folder)
    for note in left_out:
        warn(note)
    settings = {**request.settings, "output_dir": folder}
    _make_views(ws, run, {**config, **settings}, request.dry_run)
    own = OwnConfig({**config, **settings}, settings, f"the record of {run.name}", _template(run, request.settings))
    prepared = prepare_own(ws, main, own, request.dry_run)
    replays: dict[str, Any] = {"run": run.name, "id": run.record.id}
    replays["changed"] = {key: value for key, value in request.settings.items() if value != run.config.get(key)}
    replays["ways"] = list(ways_of(run))
    return Replay(run, replace(prepared, replays=replays), bool(run.record.plain))


def tell(ws: Workspace, replay: Replay) -> None:
    """Say what is done again, which settings are others, and what differs from then (stderr)."""
    run, prepared = replay.run, replay.prepared
    when = f", begun {run.record.created}" if run.record.created else ""
    say(f"replays    {printable(f'{run.name} ({run.status}{when})')}, into {prepared.output_dir}")
    changed = (prepared.replays or {})["changed"]
    for line in changes(run.config, prepared.config, changed):
        say(f"changed    {printable(line)}")
    now = new_record(ws, prepared, prepared.engine.versions, replay.is_plain)
    lines = differences(run.record, _with_python(now, prepared.engine))
    for line in lines:
        say(f"differs    {printable(line)}")
    if not lines:
        say("differs    nothing that is on record")
    if missing := not_recorded(run.record):
        say(f"note: not compared, because an earlier rlguide did not keep it: {missing}")


def _folder(ws: Workspace, run: Run) -> str:
    """The first free folder beside the run, counting on from its number; under saves/ for one that lies elsewhere."""
    name = run.name if lies_in(run.path, ws.root) else f"saves/{run.path.name}"
    stem = _NUMBER.sub("", name)
    return free_name(ws, stem if (ws.root / stem).is_dir() else name)


def _moved(ws: Workspace, run: Run, folder: str) -> dict[str, Any]:
    """The config of a run for another folder: what it wrote into its own goes into that."""
    config = {key: value for key, value in run.config.items() if key not in _OF_THE_RUN}
    for key in filter(engine_keys().guarded.is_path, list(config)):
        path = ws.root / str(config[key])
        if config[key] and path.is_relative_to(run.path):
            config[key] = f"{folder}/{path.relative_to(run.path).as_posix()}".removesuffix("/.")
    return {**config, "output_dir": folder}


def _make_views(ws: Workspace, run: Run, config: Mapping[str, Any], dry_run: bool) -> None:
    """Make what shows pairs as the method reads them again, where it went with the earlier pairs or is out of date.

    Raises:
        UsageError, DataError: it cannot be made; in a dry run, it is missing.
    """
    use = VIEWS.get(run.method.data) if run.method is not None else None
    names = split_names(config.get("dataset"))
    if use is None:
        return
    home = data_home(ws, config)
    if not dry_run:
        view_names(home, names, use)
        return
    entries = read_registry(home)
    gone = [name for name in names if name not in entries and viewed_name(name, use) in entries]
    if gone:
        name = viewed_name(gone[0], use)
        raise UsageError(
            f"{gone[0]} went with the earlier rows of {name}, and is made again when the training begins",
            f"leave --dry-run out, or make it now: `rlguide view {shlex.quote(name)} --use {shlex.quote(use)}`",
        )


def _template(run: Run, settings: Mapping[str, Any]) -> str | None:
    """The template by which the run's model writes prompts, where the engine of PPO knows it by another name."""
    recorded, named = run.record.template, run.config.get("template")
    is_same = recorded is not None and "template" not in settings
    return recorded if is_same and named in (recorded, ppo_template({"llamafactory": "0"}, str(recorded))) else None


def _with_python(now: RunRecord, engine: Engine) -> RunRecord:
    """With the version of the engine's Python, which its own process tells in a run."""
    try:
        answer = ask(engine.python, [])
    except EngineError:
        return now
    surroundings = {**(now.surroundings or {}), "torch": {"python": answer.get("python")}}
    return replace(now, surroundings=surroundings)
