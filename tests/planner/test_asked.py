"""What can be planned for: a folder, a config.json, a model of the recipes without the hub; the rest in two lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlguide.catalog.gpus import parse_gpus
from rlguide.catalog.recipes import ready_recipes
from rlguide.engine.find import Engine
from rlguide.engine.schema import Field, Schema
from rlguide.errors import DataError, EngineError, UsageError
from rlguide.planner import asked, lengths
from rlguide.planner.asked import as_host, model_config, of_model
from rlguide.recipes.options import TrainingOptions
from rlguide.workspace import Workspace

ENGINE = Engine(Path("/nowhere/bin/python"), {"llamafactory": "0.9.5"})


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


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"model_type": 3, "a"', '{"model_type": []}', '{"model_type": [1]}', '"llama"']
)
def test_a_file_that_is_no_config_is_said(ws: Workspace, text: str) -> None:
    (ws.root / "config.json").write_text(text)
    with pytest.raises(DataError):
        model_config(ws, "config.json")


def test_gpus_that_are_asked_for_are_seen_as_the_drivers() -> None:
    a6000, t4 = as_host(parse_gpus("2xA6000")), as_host(parse_gpus("t4"))
    assert a6000 is not None and len(a6000) == 2 and all(gpu.has_bf16 for gpu in a6000)
    assert t4 is not None and not t4[0].has_bf16
    unknown = as_host(parse_gpus("24GB"))
    assert unknown is not None and unknown[0].memory_bytes == 24 << 30 and unknown[0].has_bf16
    assert as_host(None) is None


@pytest.fixture
def schema(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = dict.fromkeys(("max_steps", "cutoff_len", "gradient_accumulation_steps"), ("int",))
    fields = {key: Field(key, kinds, (), None, "") for key, kinds in whole.items()}
    monkeypatch.setattr(asked, "load_schema", lambda engine: Schema(fields, ("qwen",), {}))


@pytest.mark.usefixtures("schema")
@pytest.mark.parametrize(
    "settings", [{"max_steps": "many"}, {"gradient_accumulation_steps": "2"}, {"cutoff_len": 0}, {"cutoff_lenn": 64}]
)
def test_a_model_alone_is_planned_with_settings_that_the_engine_takes(ws: Workspace, settings: dict[str, Any]) -> None:
    (ws.root / "config.json").write_text(json.dumps({"model_type": "gpt2", "num_hidden_layers": 2}))
    with pytest.raises(UsageError) as caught:
        of_model(ws, ENGINE, "config.json", TrainingOptions(settings=settings), [], False)
    assert next(iter(settings)) in caught.value.what
    assert of_model(ws, ENGINE, "config.json", TrainingOptions(), [], False).schedule.total_steps > 0


@pytest.mark.usefixtures("schema")
@pytest.mark.parametrize(("kind", "template"), [("qwen2", "qwen"), ("gpt2", None)])
def test_the_data_of_a_model_alone_need_no_template(
    ws: Workspace, kind: str, template: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ws.root / "config.json").write_text(json.dumps({"model_type": kind, "num_hidden_layers": 2}))
    ws.data.mkdir()
    rows = [{"instruction": "What?", "chosen": "Yes, please.", "rejected": "no"}] * 20
    (ws.data / "pairs.json").write_text(json.dumps(rows))
    columns = {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}
    entry = {"file_name": "pairs.json", "ranking": True, "columns": columns}
    ws.dataset_info.write_text(json.dumps({"pairs": entry}))
    tokenized: list[str] = []

    def count(tokenizer: Any, texts: Any) -> list[list[int]]:
        tokenized.append(tokenizer.template)
        raise EngineError("there is no tokenizer", "")

    monkeypatch.setattr(lengths, "count_tokens", count)
    training = of_model(ws, ENGINE, "config.json", TrainingOptions(datasets=("pairs",)), [], False)
    assert tokenized == ([template] if template else [])
    assert training.schedule.rows == 20 and "estimated by characters" in training.lengths.why


@pytest.mark.parametrize("cutoff", [1, 8, 16, 2048])
def test_examples_that_are_not_known_are_never_shorter_than_a_token(cutoff: int) -> None:
    (row,) = lengths.at_most(cutoff, 2).rows
    assert row[0] + max(row[1:]) == cutoff and min(row[1:]) > 0
