"""Chat: what is refused before any model is loaded, and which policy is meant. The engine here is an empty shell:
if a test reached it, it would fail with the engine's error instead of the one expected."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from rlguide.console import printable
from rlguide.engine.find import Engine
from rlguide.errors import RlguideError
from rlguide.runs.choose import ModelRequest, Partner, choose_partner
from rlguide.workspace import Workspace
from tests.cli.command import run
from tests.policy.checkpoint_files import write_lora, write_model


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A base, an SFT adapter and a finished DPO run on top of it."""
    root = tmp_path / "我的 project"
    write_model(root / "models" / "tiny-base")
    write_lora(root / "saves" / "sft")
    write_lora(root / "saves" / "dpo")
    write_run(root, status="finished")
    found = Engine(Path("/nonexistent/python"), {"llamafactory": "0.9.5"})
    monkeypatch.setattr("rlguide.engine.find.find_engine", lambda explicit=None: found)
    return Workspace(root)


def write_run(root: Path, **values: object) -> None:
    manifest = {
        "method": "dpo",
        "base": "models/tiny-base",
        "template": "qwen3_nothink",
        "stack": ["saves/sft", "saves/dpo"],
        "reference": {"base": "models/tiny-base", "adapters": ["saves/sft"]},
        "config": {"stage": "dpo", "trust_remote_code": True, "learning_rate": 1.0},
        **values,
    }
    (root / "saves/dpo/run.json").write_text(json.dumps(manifest), encoding="utf-8")


def no_templates() -> dict[str, str]:
    raise AssertionError("the template is on record: the engine need not be asked")


def choose(ws: Workspace, *args: object, **kwargs: object) -> Partner:
    wanted = ModelRequest(*args, **{"trust_remote_code": True, **kwargs})  # type: ignore[arg-type]
    return choose_partner(ws, wanted, no_templates)


def test_the_newest_run_brings_its_stack_and_template(ws: Workspace) -> None:
    partner = choose(ws)
    assert partner.args == {
        "trust_remote_code": True,
        "model_name_or_path": "models/tiny-base",
        "adapter_name_or_path": "saves/sft,saves/dpo",
        "finetuning_type": "lora",
        "template": "qwen3_nothink",
    }
    assert partner.title.startswith("base + sft + dpo (")
    assert choose(ws, "saves/dpo") == partner


def test_sft_is_what_the_run_started_from(ws: Workspace) -> None:
    partner = choose(ws, sft=True)
    assert partner.policy.adapters == ("saves/sft",)
    assert partner.title.startswith("base + sft (")


def test_a_plain_checkpoint_and_a_base(ws: Workspace) -> None:
    partner = choose(ws, "saves/sft", template="qwen3_nothink")
    assert partner.policy.adapters == ("saves/sft",)
    guessed = choose_partner(ws, ModelRequest(base="models/tiny-base"), lambda: {"Tiny": "x"})
    assert guessed.policy.adapters == ()
    assert guessed.args["template"] == "qwen3_nothink"  # told from config.json


def test_an_interrupted_run_stands_with_its_last_checkpoint(ws: Workspace) -> None:
    write_run(ws.root, status="interrupted")
    with pytest.raises(RlguideError, match="has no checkpoint yet"):
        choose(ws, "saves/dpo")
    write_lora(ws.saves / "dpo" / "checkpoint-20")
    assert choose(ws, "saves/dpo").policy.adapters == ("saves/sft", "saves/dpo/checkpoint-20")


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["saves/nothing"], "does not exist", 1),
        (["saves/sft", "--sft"], "has no run.json", 2),
        (["saves/dpo", "--base", "models/tiny-base"], "knows its base", 2),
        (["--base", "models/nothing"], "does not exist", 1),
        (["--base", "models/tiny-base", "--sft"], "--sft belongs to a run", 2),
        (["saves/sft", "--base", "models"], "config.json does not exist", 1),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(
    ws: Workspace, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str, code: int
) -> None:
    started = time.monotonic()
    assert run("chat", *arguments, "-w", str(ws.root)) == code
    assert time.monotonic() - started < 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert words in lines[0]
    assert lines[1].startswith("  fix: ")


def test_a_stack_with_a_part_missing_is_refused_before_the_engine_starts(
    ws: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    (ws.saves / "sft").rename(ws.saves / "moved")
    assert run("chat", "--trust-remote-code", "-w", str(ws.root)) == 1
    first, second = capsys.readouterr().err.splitlines()[-2:]
    assert "saves/sft does not exist" in first
    assert second.startswith("  fix: ")


def test_a_record_does_not_decide_whose_code_runs(ws: Workspace) -> None:
    for kwargs in ({}, {"sft": True}, {"name": "saves/dpo"}):
        with pytest.raises(RlguideError, match="runs code that comes with its base model models/tiny-base") as caught:
            choose(ws, trust_remote_code=False, **kwargs)
        assert "--trust-remote-code" in caught.value.fix
    write_run(ws.root, status="finished", config={"stage": "dpo"})
    assert "trust_remote_code" not in choose(ws, trust_remote_code=False).args
    assert choose(ws, trust_remote_code=True).args["trust_remote_code"] is True


def test_no_run(tmp_path: Path, ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("chat", "-w", str(tmp_path)) == 2
    assert "no run" in capsys.readouterr().err


def test_control_characters_are_not_printed() -> None:
    assert printable("a\x1b[2J\tb\n\x07你好") == "a[2J\tb\n你好"
