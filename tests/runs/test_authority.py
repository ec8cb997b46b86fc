"""What a run's record may not decide: whose code runs, and where the engine writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlguide.engine.find import Engine
from rlguide.errors import UsageError
from rlguide.evaluation.pairs import eval_config
from rlguide.runs.record import open_run
from rlguide.workspace import Workspace
from tests.cli.command import run
from tests.policy.checkpoint_files import write_lora, write_model

RUN = "saves/tiny/lora/dpo"
Write = Callable[..., None]


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A base, an SFT adapter, pairs, and a folder for a run; an engine that does not start."""
    root = tmp_path / "工作 space"
    write_model(root / "models/tiny-base")
    for name in ("saves/tiny/lora/sft", RUN):
        write_lora(root / name)
    (root / RUN / "trainer_state.json").unlink()
    (root / "data").mkdir()
    (root / "data/polite.json").write_text(json.dumps([{"instruction": "a", "chosen": "b", "rejected": "c"}] * 4))
    columns = {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}
    (root / "data/dataset_info.json").write_text(
        json.dumps({"polite": {"file_name": "polite.json", "ranking": True, "columns": columns}})
    )
    engine = Engine(Path("/nowhere/bin/python"), {"llamafactory": "0.9.5", "trl": "0.19.1"})
    monkeypatch.setattr("rlguide.engine.find.find_engine", lambda explicit=None: engine)
    monkeypatch.chdir(root)
    return Workspace(root)


def record(ws: Workspace, status: str = "interrupted", stack: object = None, **config: Any) -> None:
    """A run as its record says it is."""
    values = {
        "method": "dpo",
        "status": status,
        "base": "models/tiny-base",
        "template": "qwen3_nothink",
        "stack": stack or ["saves/tiny/lora/sft", RUN],
        "reference": {"base": "models/tiny-base", "adapters": ["saves/tiny/lora/sft"]},
        "config": {"stage": "dpo", "dataset": "polite", "val_size": 0.5, "output_dir": RUN, **config},
    }
    (ws.root / RUN / "run.json").write_text(json.dumps(values))


@pytest.mark.parametrize("value", [True, "true", 1, ["yes"]])
@pytest.mark.parametrize("command", ["train --resume", "train --resume --dry-run", "eval", "chat", "export"])
def test_whose_code_runs(ws: Workspace, capsys: pytest.CaptureFixture[str], command: str, value: object) -> None:
    record(ws, "interrupted" if "train" in command else "finished", trust_remote_code=value)
    assert run(*command.split(), RUN) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "code that comes with its base model" in first and "--trust-remote-code" in second


@pytest.mark.parametrize("command", ["train --resume", "eval", "chat", "export"])
def test_trust_is_given_on_the_command_line(ws: Workspace, capsys: pytest.CaptureFixture[str], command: str) -> None:
    record(ws, "interrupted" if "train" in command else "finished", trust_remote_code=True)
    assert run(*command.split(), RUN, "--trust-remote-code") == 1
    assert "/nowhere/bin" in capsys.readouterr().err  # it came as far as the engine


def test_the_evaluation_trusts_as_its_settings_say(ws: Workspace) -> None:
    record(ws, "finished", trust_remote_code=True)
    found = open_run(ws, RUN)
    with pytest.raises(UsageError, match="code that comes with its base"):
        eval_config(ws, found, [], {})
    for value in (True, False):
        assert eval_config(ws, found, [], {"trust_remote_code": value})["trust_remote_code"] is value
    record(ws, "finished")
    assert not eval_config(ws, open_run(ws, RUN), [], {}).get("trust_remote_code")


@pytest.mark.parametrize("key", ["logging_dir", "tokenized_path"])
@pytest.mark.parametrize("value", ["/elsewhere", "../outside", "saves/../../outside"])
def test_resume_writes_nowhere_else(ws: Workspace, capsys: pytest.CaptureFixture[str], key: str, value: str) -> None:
    record(ws, **{key: value})
    assert run("train", "--resume", RUN) == 2
    assert f"{key} is {value}" in capsys.readouterr().err


@pytest.mark.parametrize("output_dir", ["/elsewhere", "../outside", "saves/tiny/lora/sft", None, 5, ""])
def test_a_run_is_resumed_where_its_record_lies(ws: Workspace, output_dir: object) -> None:
    record(ws, output_dir=output_dir, stack=["saves/tiny/lora/sft", "/elsewhere"])
    before = sorted(path for path in ws.root.parent.rglob("*") if RUN not in str(path))
    assert run("train", "--resume", RUN) == 1  # the engine does not start
    assert yaml.safe_load((ws.root / RUN / "config.yaml").read_text(encoding="utf-8"))["output_dir"] == RUN
    assert sorted(path for path in ws.root.parent.rglob("*") if RUN not in str(path)) == before
    assert not Path("/elsewhere").exists()
