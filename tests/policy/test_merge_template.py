"""A merged model's own chat template writes what the engine's did in training, or that is said."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rlguide.engine.find import Engine, find_engine
from rlguide.engine.worker import worker_command
from rlguide.policy.merge_template import match_template

SMOL = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
OTHER = (  # as SmolLM2's, without the full stop that LLaMA-Factory's `smollm2` has
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\n" + SMOL + "<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def answering(tmp_path: Path, text: str, code: int = 0) -> Engine:
    """An engine that prints this, whatever it is asked."""
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\nprint({text!r})\nraise SystemExit({code})\n")
    python.chmod(0o755)
    return Engine(python, {})


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"same": True, "changed": False, "theirs": "", "ours": ""}, []),
        (
            {"same": True, "changed": True, "theirs": "x face\nuser", "ours": "x face.\nuser"},
            ["face.", "has smollm2's"],
        ),
        ({"same": False, "changed": False, "theirs": "one", "ours": "two"}, ["warning", "'one'", "'two'"]),
        ({"same": False, "changed": True, "theirs": "one", "ours": "one"}, ["warning", "other tokens"]),
    ],
)
def test_what_differs_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], result: dict[str, object], words: list[str]
) -> None:
    match_template(answering(tmp_path, json.dumps(result)), tmp_path, "smollm2", {})
    said = " ".join(capsys.readouterr().err.split())
    assert all(word in said for word in words)
    assert bool(said) is bool(words)


def test_a_comparison_that_fails_is_said_and_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    match_template(answering(tmp_path, "no JSON", code=3), tmp_path, "smollm2", {})
    assert "was not compared" in capsys.readouterr().err


@pytest.mark.engine
def test_the_template_of_training_replaces_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine = find_engine()
    model = tmp_path / "my 模型"
    subprocess.run(worker_command(engine, "make_model", "--out", str(model)), check=True, capture_output=True)
    own = (model / "chat_template.jinja").read_bytes()
    match_template(engine, model, "qwen3_nothink", {})
    assert (model / "chat_template.jinja").read_bytes() == own
    assert capsys.readouterr().err == ""
    (model / "chat_template.jinja").write_text(OTHER)
    match_template(engine, model, "smollm2", {})
    assert "the merged model has smollm2's" in " ".join(capsys.readouterr().err.split())
    assert f"{SMOL}." in (model / "chat_template.jinja").read_text()
    match_template(engine, model, "smollm2", {})
    assert capsys.readouterr().err == ""
