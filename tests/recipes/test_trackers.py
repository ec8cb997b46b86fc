"""Whether a tracker will work is told before the start, without a network: what is advised then is enough."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from rlguide.catalog.engine_keys import engine_keys
from rlguide.catalog.trackers import trackers
from rlguide.engine.find import Engine
from rlguide.errors import EngineError, UsageError
from rlguide.recipes.options import TrainingOptions
from rlguide.recipes.outward import outward_keys
from rlguide.recipes.prepare import Prepared, prepare
from rlguide.recipes.trackers import check_trackers, report_keys
from rlguide.runs.authority import with_said
from rlguide.runs.record import create_run
from rlguide.workspace import Workspace
from tests.recipes.conftest import ENGINE
from tests.recipes.conftest import ws as ws

KEY = "a-key-that-nobody-sees"
ALL = [*trackers()]
LOGIN = [name for name, item in trackers().items() if item.login]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in which nobody is logged in."""
    for name in ("HOME", "HF_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def asked(ws: Workspace, report_to: str, **settings: Any) -> Prepared:
    packages = {package: "0.1" for packages in engine_keys().values["report_to"].values() for package in packages}
    engine = Engine(ENGINE.python, {**ENGINE.versions, **packages, "swanlab": "0.6.4"})
    return prepare(ws, engine, TrainingOptions(report_to=report_to, settings=settings), dry_run=True)


def test_each_is_one_that_the_engine_knows() -> None:
    assert set(ALL) <= engine_keys().values["report_to"].keys()
    assert all(item.source and item.where for item in trackers().values())


@pytest.mark.parametrize("name", ALL)
def test_what_the_engine_lacks_is_said(ws: Workspace, name: str) -> None:
    with pytest.raises(EngineError, match=f"report_to {name} needs") as refused:
        prepare(ws, ENGINE, TrainingOptions(report_to=name), dry_run=True)
    assert "install" in refused.value.fix


@pytest.mark.parametrize("name", LOGIN)
def test_without_a_login_what_is_advised_is_enough(ws: Workspace, home: Path, name: str) -> None:
    config = asked(ws, name).config
    with pytest.raises(UsageError, match=f"{name} would ask for a login") as refused:
        check_trackers(ws.root, config, {})
    variable, value = re.findall(r"export (\w+)=(\w+)", refused.value.fix)[0]
    notes = check_trackers(ws.root, config, {variable: value})
    assert trackers()[name].where in notes[0]
    assert check_trackers(ws.root, config, {trackers()[name].key: KEY}) == [f"{name}: its service"]
    assert check_trackers(ws.root, {**config, "report_to": report_keys("none")["report_to"]}, {}) == []


@pytest.mark.parametrize("name", LOGIN)
def test_a_login_is_found_where_its_command_stores_it(ws: Workspace, home: Path, name: str) -> None:
    config = asked(ws, name).config
    for variable, usual in trackers()[name].files.items():
        places = {Path(usual).expanduser(): {}} if variable else {ws.root / usual: {}}
        if variable:
            places[home / "elsewhere" / Path(usual).name] = {variable: str(home / "elsewhere")}
            places[home / "file"] = {variable: str(home / "file")}
        for path, environment in places.items():
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_text("not a netrc: {")
            with pytest.raises(UsageError):
                check_trackers(ws.root, config, environment)
            path.write_text(f"machine api.example.invalid login user password {KEY}\n")
            assert check_trackers(ws.root, config, environment) == [f"{name}: its service"]
            path.unlink()


def test_trackio_stays_on_this_machine_unless_asked(ws: Workspace, home: Path) -> None:
    """Its default in transformers is a public Space on the hub."""
    config = asked(ws, "trackio").config
    assert "trackio_space_id: null\n" in asked(ws, "trackio").text
    assert config["trackio_space_id"] is None
    assert outward_keys(ws.root, ws.root / "saves/x", config) == []
    assert "trackio show" in check_trackers(ws.root, config, {})[0]
    away = {"report_to": "trackio"}
    with pytest.raises(UsageError, match="would make a Space on the hub") as refused:
        check_trackers(ws.root, away, {})
    assert "--set trackio_space_id=null" in refused.value.fix
    assert check_trackers(ws.root, away, {"HF_TOKEN": KEY}) == ["trackio: its service"]
    with pytest.raises(UsageError):
        check_trackers(ws.root, config, {"TRACKIO_SPACE_ID": "me/space"})
    assert outward_keys(ws.root, ws.root / "saves/x", away) == ["report_to"]


def test_a_resumed_run_keeps_trackio_where_it_was(ws: Workspace, home: Path) -> None:
    run = create_run(ws, asked(ws, "trackio"), {})
    for said in ({}, report_keys("trackio")):
        assert with_said(ws, run, said).config["trackio_space_id"] is None
        assert "trackio_space_id" in with_said(ws, run, said).config


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_what_needs_no_login(ws: Workspace, home: Path, name: str) -> None:
    prepared = asked(ws, name)
    (note,) = check_trackers(ws.root, prepared.config, {})
    assert note.startswith(f"{name}: ") and "{" not in note
    assert name != "tensorboard" or f"`tensorboard --logdir {prepared.output_dir}`" in note


def test_swanlab_of_llamafactory_itself(ws: Workspace, home: Path) -> None:
    config = {"use_swanlab": True, "output_dir": "saves/x"}
    with pytest.raises(UsageError, match="swanlab would ask"):
        check_trackers(ws.root, config, {})
    assert "swanlog" in check_trackers(ws.root, {**config, "swanlab_mode": "local"}, {})[0]


@pytest.mark.parametrize(("value", "words"), [("wandbb", "did you mean wandb"), ("none,wandb", "none and a tracker")])
def test_what_cannot_be_meant(value: str, words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        report_keys(value)


def test_several_and_none() -> None:
    keys = report_keys("tensorboard, trackio")
    assert keys == {"report_to": ["tensorboard", "trackio"], "trackio_space_id": None}
    assert report_keys("none") == {"report_to": "none"}
    assert report_keys(None) == {}


def test_no_key_is_in_what_is_written(ws: Workspace, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LOGIN:
        monkeypatch.setenv(trackers()[name].key, KEY)
    prepared = asked(ws, "wandb,swanlab")
    said = check_trackers(ws.root, prepared.config)
    record = create_run(ws, prepared, {}).record
    assert KEY not in json.dumps([said, prepared.text, prepared.notes]) + repr(record)


@pytest.mark.parametrize("report_to", ["wandb", "tensorboard,wandb"])
def test_a_wandb_that_ends_the_training_is_refused(ws: Workspace, report_to: str) -> None:
    for version, method, is_refused in (("0.29.0", "dpo", True), ("0.28.2", "dpo", False), ("0.29.0", "rm", False)):
        engine = Engine(ENGINE.python, {**ENGINE.versions, "wandb": version, "tensorboard": "2"})
        options = TrainingOptions(report_to=report_to, method=method)
        if not is_refused:
            prepare(ws, engine, options, dry_run=True)
            continue
        with pytest.raises(EngineError, match="ends the training when the first checkpoint"):
            prepare(ws, engine, options, dry_run=True)
