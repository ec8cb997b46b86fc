"""Which model is served, and how it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlguide.engine.find import Engine
from rlguide.errors import UsageError
from rlguide.policy.policy import Policy
from rlguide.runs.choose import ModelRequest, Partner
from rlguide.serving.server import serve
from rlguide.workspace import Workspace

STACK = Policy("base", ("sft", "dpo"), "qwen3")


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Where a stack is found, whatever is asked for."""
    partner = Partner(STACK, {"default_system": "Be brief.", **STACK.model_config()}, "it")
    monkeypatch.setattr(serve, "run_meant", lambda *_: None)
    monkeypatch.setattr(serve, "choose_partner", lambda *_: partner)
    return Workspace(tmp_path)


def test_vllm_gets_the_whole_stack_as_one_model(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(serve, "merged_base", lambda ws, engine, policy: asked.append(policy) or "saves/merged/it")
    found = serve.policy_offer(ws, Engine(Path("python"), {"vllm": "1"}), ModelRequest("dpo"), serve.VLLM)
    assert asked == [STACK]
    assert found.args == {
        **Policy("saves/merged/it", (), "qwen3").model_config(),
        "default_system": "Be brief.",
    }
    assert "adapter_name_or_path" not in found.args and found.args["template"] == "qwen3"


def test_without_vllm_it_is_refused_and_transformers_take_the_stack(ws: Workspace) -> None:
    engine = Engine(Path("python"), {})
    with pytest.raises(UsageError, match="has no vLLM"):
        serve.policy_offer(ws, engine, ModelRequest("dpo"), serve.VLLM)
    found = serve.policy_offer(ws, engine, ModelRequest("dpo"), serve.HF)
    assert found.args["adapter_name_or_path"] == "sft,dpo" and found.name == "dpo"
