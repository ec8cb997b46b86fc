from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.command import run


def write_adapter(path: Path, is_whole: bool = True) -> None:
    """The smallest adapter: one LoRA tensor of four bytes."""
    header = json.dumps({"x.lora_A.weight": {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}}).encode()
    path.mkdir(parents=True)
    (path / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4 * is_whole))
    (path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "Qwen/Qwen3-4B-Base", "r": 8}))


def test_lists_marks_and_explains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_adapter(tmp_path / "saves" / "中文 sft" / "checkpoint-10")
    write_adapter(tmp_path / "saves" / "中文 sft" / "checkpoint-20", is_whole=False)
    assert run("checkpoints", "-w", str(tmp_path)) == 0
    out, err = capsys.readouterr()
    header, *rows = out.splitlines()
    assert header.split() == ["checkpoint", "kind", "stage", "step", "base", "model", "rank", "date", "last", "loss"]
    [newest] = [row for row in rows if row.startswith("*")]
    assert "saves/中文 sft/checkpoint-10" in newest and "Qwen/Qwen3-4B-Base" in newest
    [broken] = [row for row in rows if row.startswith("!")]
    assert "checkpoint-20" in broken
    assert "truncated" in err


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_adapter(tmp_path / "saves" / "sft")
    write_adapter(tmp_path / "saves" / "half", is_whole=False)
    assert run("checkpoints", "--json", "-w", str(tmp_path)) == 0
    records = {item["path"]: item for item in json.loads(capsys.readouterr().out)}
    assert records["saves/sft"]["newest_sft"] is True
    assert records["saves/sft"]["rank"] == 8
    assert "truncated" in records["saves/half"]["problem"]


def test_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("checkpoints", "-w", str(tmp_path)) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "no checkpoint under" in err
    assert run("checkpoints", "--json", "-w", str(tmp_path)) == 0
    assert json.loads(capsys.readouterr().out) == []
