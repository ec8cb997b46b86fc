"""What can be planned for: a folder, a config.json, a model of the recipes without the hub; the rest in two lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlguide.catalog.gpus import parse_gpus
from rlguide.catalog.recipes import ready_recipes
from rlguide.errors import DataError
from rlguide.planner.asked import as_host, model_config
from rlguide.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nothing answers there
    return Workspace(tmp_path)


def test_a_model_is_a_folder_or_its_config(ws: Workspace) -> None:
    folder = ws.root / "我的 model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 8}))
    for name in ("我的 model", "我的 model/config.json", str(folder)):
        assert model_config(ws, name)["hidden_size"] == 8


def test_models_of_the_recipes_need_no_hub(ws: Workspace) -> None:
    for recipe in ready_recipes().values():
        assert model_config(ws, recipe.model.hub_id) == recipe.model.shapes


@pytest.mark.parametrize("name", ["no-such/model", "nowhere/config.json", "not a name!", "empty"])
def test_what_is_no_model_is_said(ws: Workspace, name: str) -> None:
    (ws.root / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        model_config(ws, name)
    assert caught.value.fix and len(caught.value.what) < 250


@pytest.mark.parametrize("text", ["[]", "{}", '{"model_type": 3, "a"', '"llama"'])
def test_a_file_that_is_no_config_is_said(ws: Workspace, text: str) -> None:
    (ws.root / "config.json").write_text(text)
    with pytest.raises(DataError):
        model_config(ws, "config.json")


def test_gpus_that_are_asked_for_are_seen_as_the_drivers() -> None:
    a6000, t4 = as_host(parse_gpus("2xA6000")), as_host(parse_gpus("t4"))
    assert a6000 is not None and len(a6000) == 2 and all(gpu.has_bf16 for gpu in a6000)
    assert t4 is not None and not t4[0].has_bf16
    unknown = as_host(parse_gpus("24GB"))
    assert unknown is not None and unknown[0].memory_bytes == 24 << 30
    assert as_host(None) is None
