"""What a run's record may not decide: whose code runs, and where the engine writes."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlguide.catalog.engine_keys import engine_keys
from rlguide.engine.find import Engine
from rlguide.engine.schema import load_schema
from rlguide.errors import UsageError
from rlguide.evaluation.config import eval_config
from rlguide.runs.choose import ModelRequest, choose_partner
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
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("SWANLAB_MODE", "local")
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


def resumed(ws: Workspace, *settings: str) -> tuple[int, dict[str, Any]]:
    """The exit code of a resume, and the config with which it started the engine, which then does not start."""
    code = run("train", "--resume", RUN, *[word for setting in settings for word in ("--set", setting)])
    file = ws.root / RUN / "config.yaml"
    return code, yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else {}


GUARDED: list[tuple[str, Any]] = [
    ("push_to_hub", True),
    ("hub_model_id", "somebody/model"),
    ("hub_strategy", "all_checkpoints"),
    ("hub_private_repo", "text"),
    ("push_to_hub_model_id", "model"),
    ("push_to_hub_organization", "somebody"),
    ("export_hub_model_id", "somebody/model"),
    ("report_to", "wandb"),
    ("report_to", ["tensorboard", "mlflow"]),
    ("report_to", "all"),
    ("trackio_space_id", "somebody/space"),
    ("use_swanlab", True),
    ("swanlab_workspace", "somebody"),
    ("ray_init_kwargs", {"address": "ray://elsewhere:1"}),
    ("master_addr", "elsewhere"),
    ("reward_model_type", "api"),
    ("cache_dir", "/elsewhere"),
    ("logging_dir", "/elsewhere"),
    ("logging_dir", "saves/tiny/lora/sft"),
    ("logging_dir", f"{RUN}/../sft"),
    ("tokenized_path", "../outside"),
    ("tokenized_path", "~/x"),
    ("tokenized_path", 5),
    ("profiler_output_dir", "data"),
    ("ray_storage_path", "s3://bucket"),
    ("deepspeed", {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "nvme", "nvme_path": "/x"}}}),
    ("deepspeed", '{"wandb": {"enabled": true, "team": "somebody"}}'),
    ("deepspeed", "eyJ3YW5kYiI6e319"),
    ("deepspeed", "ds.json"),
]


@pytest.mark.parametrize(("key", "value"), GUARDED)
def test_what_is_sent_or_written_elsewhere_is_said_again(
    ws: Workspace, capsys: pytest.CaptureFixture[str], key: str, value: object
) -> None:
    (ws.root / "ds.json").write_text('{"tensorboard": {"enabled": true, "output_path": "/elsewhere"}}')
    record(ws, **{key: value})
    assert run("train", "--resume", RUN, "--dry-run") == 2
    first, second = capsys.readouterr().err.splitlines()
    assert f"{key}: " in first
    command = re.findall(r"`rlguide ([^`]+)`", second)[0]
    assert run(*shlex.split(command), "--dry-run") == 0
    code, config = resumed(ws, *shlex.split(command)[4::2])
    assert code == 1  # the engine does not start
    assert config[key] == value
    if key not in ("deepspeed", "reward_model_type"):
        assert resumed(ws, f"{key}=null")[1].get(key) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("report_to", "none"),
        ("report_to", ["tensorboard"]),
        ("push_to_hub", False),
        ("hub_model_id", None),
        ("logging_dir", f"{RUN}/logs"),
        ("reward_model_type", "lora"),
        ("deepspeed", {"zero_optimization": {"stage": 2}, "wandb": {"enabled": False}}),
        ("learning_rate", 1e-5),
    ],
)
def test_what_stays_in_the_run_is_not_asked_for(ws: Workspace, key: str, value: object) -> None:
    record(ws, **{key: value})
    assert run("train", "--resume", RUN, "--dry-run") == 0


def test_a_secret_of_a_record_is_never_shown(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    record(ws, hub_token="hf_abc", swanlab_lark_webhook_url="https://x/abc", push_to_hub=True)
    assert resumed(ws)[0] == 2
    said = capsys.readouterr().err
    assert "hub_token" in said and "abc" not in said
    assert resumed(ws, "hub_token=hf_other", "push_to_hub=false", "swanlab_lark_webhook_url=null")[0] == 2
    assert "would be written to disk" in capsys.readouterr().err
    config = resumed(ws, "hub_token=null", "push_to_hub=false", "swanlab_lark_webhook_url=null")[1]
    assert "hub_token" not in config and config["push_to_hub"] is False


@pytest.mark.parametrize("setting", ["learning_rate=1", "output_dir=x", "deepspeed=null", "reward_model_type=api"])
def test_resume_changes_nothing_of_the_training(
    ws: Workspace, capsys: pytest.CaptureFixture[str], setting: str
) -> None:
    record(ws, deepspeed={"zero_optimization": {"stage": 2}})
    assert resumed(ws, setting)[0] == 2
    assert setting.partition("=")[0] in capsys.readouterr().err


@pytest.mark.engine
def test_every_key_of_the_engine_that_sounds_like_it_is_guarded() -> None:
    from rlguide.engine.find import find_engine

    keys = load_schema(find_engine()).fields
    sounds = re.compile(r"dir$|path$|folder$|hub|_token$|url|hook|report_to|secret|space|addr|filesystem|ray_init|api")
    reads = {"adapter_name_or_path", "dataset_dir", "media_dir", "model_name_or_path", "adapter_folder"}
    reads |= {"kt_expert_checkpoint_path", "kt_weight_path"}
    decided = {"output_dir", "overwrite_output_dir"}  # by the place of the record; dropped where it would delete
    missed = {key for key in keys if sounds.search(key) and not engine_keys().guarded.holds(key)}
    assert missed == (reads | decided) & set(keys)


@pytest.mark.parametrize("name", ["eval", "eval/data", "eval/.pairs.jsonl.partial"])
def test_an_evaluation_writes_through_no_link(ws: Workspace, capsys: pytest.CaptureFixture[str], name: str) -> None:
    record(ws, "finished")
    outside = ws.root.parent / "outside"
    (outside / "data").mkdir(parents=True)
    (outside / "data/mine.txt").write_text("mine")
    link = ws.root / RUN / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside / "new" if "." in name else outside)
    assert run("eval", RUN) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert f"{RUN}/{name} is a link to {outside}" in first
    assert shlex.quote(str(link)) in second
    assert [path.name for path in outside.rglob("*")] == ["data", "mine.txt"]


@pytest.mark.parametrize("name", ["eval", "engine.log", "checkpoint-30", "events.jsonl", ".loss.png.tmp", "logs/x"])
def test_a_training_writes_through_no_link(ws: Workspace, capsys: pytest.CaptureFixture[str], name: str) -> None:
    record(ws)
    outside = ws.root.parent / "outside"
    link = ws.root / RUN / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside)
    assert resumed(ws) == (2, {})
    assert f"{RUN}/{name} is a link" in capsys.readouterr().err
    assert not outside.exists()
    link.unlink()
    link.symlink_to(ws.root / RUN / "other")  # within the run: a tracker's link to its latest part
    assert resumed(ws)[0] == 1


def test_the_folder_of_a_run_may_lie_elsewhere(ws: Workspace) -> None:
    record(ws)
    (ws.root / RUN).rename(ws.root.parent / "large disk")
    (ws.root / RUN).symlink_to(ws.root.parent / "large disk")
    assert resumed(ws)[0] == 1


def test_a_recorded_cache_is_used_inside_the_workspace_only(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    for value, used in (("/elsewhere", False), ("../x", False), ("cache", True)):
        record(ws, "finished", cache_dir=value)
        partner = choose_partner(ws, ModelRequest(RUN), dict)
        assert ("cache_dir" in partner.args) is used
        assert ("HF_HUB_CACHE" in capsys.readouterr().err) is not used


@pytest.mark.parametrize("value", ["a\0b", "x" * 5000, {"a": 1}, float("inf"), "\x1b[2J"])
def test_a_path_that_cannot_be_is_no_path_in_the_run(
    ws: Workspace, capsys: pytest.CaptureFixture[str], value: object
) -> None:
    record(ws, tokenized_path=value)
    assert resumed(ws)[0] == 2
    said = capsys.readouterr().err
    assert "tokenized_path: " in said and len(said.splitlines()) == 2
    assert "\x1b" not in said and "\0" not in said


def test_a_loop_of_links_is_refused(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    record(ws)
    (ws.root / RUN / "eval").symlink_to(ws.root / RUN / "eval")
    assert resumed(ws)[0] == 2
    assert "is a link" in capsys.readouterr().err


@pytest.mark.parametrize("output_dir", ["/elsewhere", "../outside", "saves/tiny/lora/sft", None, 5, ""])
def test_a_run_is_resumed_where_its_record_lies(ws: Workspace, output_dir: object) -> None:
    record(ws, output_dir=output_dir, stack=["saves/tiny/lora/sft", "/elsewhere"])
    before = sorted(path for path in ws.root.parent.rglob("*") if RUN not in str(path))
    assert run("train", "--resume", RUN) == 1  # the engine does not start
    assert yaml.safe_load((ws.root / RUN / "config.yaml").read_text(encoding="utf-8"))["output_dir"] == RUN
    assert sorted(path for path in ws.root.parent.rglob("*") if RUN not in str(path)) == before
    assert not Path("/elsewhere").exists()
