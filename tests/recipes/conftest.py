"""A workspace from which configs are made, without an engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlguide.catalog.engine_keys import engine_keys
from rlguide.catalog.hyperparameters import hyperparameters
from rlguide.engine.find import Engine
from rlguide.engine.schema import Field, Schema
from rlguide.recipes.options import TrainingOptions
from rlguide.recipes.prepare import Prepared, prepare
from rlguide.workspace import Workspace
from tests.policy.checkpoint_files import write_lora, write_model

ENGINE = Engine(Path("/nowhere/bin/python"), {"llamafactory": "0.9.5", "trl": "0.19.1", "bitsandbytes": "0.50.2"})
SFT = "saves/tiny/lora/sft"


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace with a base, an SFT adapter and pairs, of which some are held out."""
    of_rules = [key for rule in engine_keys().rules for key in (*rule.keys, *rule.when)]
    of_values = [*engine_keys().packages, *engine_keys().values]
    keys = [*hyperparameters(), *of_rules, *of_values, "max_steps", "rope_scaling", "save_strategy"]
    keys += ["logging_dir", "trust_remote_code", "resume_from_checkpoint", "trackio_space_id"]
    schema = Schema({key: Field(key, (), (), None, "") for key in keys}, ("qwen3_nothink", "llama3", "qwen"), {})
    monkeypatch.setattr("rlguide.recipes.checks.load_schema", lambda engine: schema)
    monkeypatch.setattr("rlguide.recipes.checks.list_gpus", lambda: [])
    ws = Workspace(tmp_path / "my 工作区")
    write_model(ws.root / "models" / "tiny-base", max_position_embeddings=4096)
    write_lora(ws.root / SFT)
    ws.data.mkdir()
    columns = {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}
    info = {}
    for name, count in (("polite", 40), ("polite_test", 10)):
        rows = [{"instruction": f"{name} {n}", "chosen": "Yes, please.", "rejected": "no"} for n in range(count)]
        (ws.data / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")
        info[name] = {"file_name": f"{name}.json", "ranking": True, "columns": columns}
    ws.dataset_info.write_text(json.dumps(info), encoding="utf-8")
    return ws


def asked(ws: Workspace, **options: Any) -> Prepared:
    return prepare(ws, ENGINE, TrainingOptions(**options), dry_run=True)
