from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlguide.errors import UsageError
from rlguide.policy.template import template_for

# Rows of LLaMA-Factory 0.9.5's DEFAULT_TEMPLATE, as dumped from it.
TABLE = {
    "Llama-3-8B-Instruct": "llama3",
    "Qwen2.5-7B-Instruct": "qwen",
    "Qwen3-4B-Instruct-2507": "qwen3_nothink",
    "Qwen3-4B-Thinking": "qwen3",
    "Qwen3-4B-Thinking-2507": "qwen3",
    "Qwen/Qwen3-Next-80B-A3B-Thinking": "qwen3",
    "Qwen3.5-4B-Base": "qwen3_5",
    "SmolLM2-135M-Instruct": "smollm2",
}


@pytest.mark.parametrize(
    ("base", "template", "certain"),
    [
        ("Qwen/Qwen3-4B-Instruct-2507", "qwen3_nothink", True),
        ("Qwen/Qwen3-4B-Thinking-2507", "qwen3", True),
        ("Qwen/Qwen3-4B", "qwen3", True),  # stands in the table as Qwen3-4B-Thinking
        ("Qwen/Qwen3-4B-Base", "qwen3_nothink", False),  # text-only base models are not in the table
        ("/models/qwen3-4b-base/", "qwen3_nothink", False),
        ("saves/qwen3-4b-base/full/sft/checkpoint-20", "qwen3_nothink", False),
        ("/hub/models--Qwen--Qwen3-4B/snapshots/abc", "qwen3", True),
        ("Qwen/Qwen3-Next-80B-A3B-Thinking", "qwen3", True),
        ("Qwen/Qwen3.5-4B-Base", "qwen3_5", True),
        ("Qwen/Qwen2.5-7B", "qwen", False),
        ("meta-llama/Meta-Llama-3-8B", "llama3", False),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2", True),
    ],
)
def test_names(base: str, template: str, certain: bool) -> None:
    guess = template_for(base, TABLE)
    assert (guess.name, guess.is_certain) == (template, certain)
    assert guess.why


@pytest.mark.parametrize(
    ("config", "template"),
    [
        ({"model_type": "qwen3"}, "qwen3_nothink"),
        ({"model_type": "llama", "vocab_size": 49152}, "smollm2"),
        ({"model_type": "llama", "vocab_size": 128256}, "llama3"),
        ({"text_config": {"model_type": "gemma3_text"}}, "gemma3"),
    ],
)
def test_an_unknown_name_is_told_by_its_config(config: dict[str, object], template: str) -> None:
    guess = template_for("models/my-model", TABLE, config)
    assert guess.name == template
    assert "config.json" in guess.why


def test_what_sft_recorded_wins() -> None:
    guess = template_for("Qwen/Qwen3-4B-Base", TABLE, {"model_type": "qwen3"}, recorded="chatml")
    assert (guess.name, guess.is_certain) == ("chatml", True)


def test_an_unknown_model_asks() -> None:
    with pytest.raises(UsageError, match="no chat template") as caught:
        template_for("me/Qwen3-4B-Instrct", TABLE, {"model_type": "llama", "vocab_size": 7})
    assert "--template" in caught.value.fix
    assert "Qwen3-4B-Instruct-2507" in caught.value.fix


@pytest.mark.engine
def test_against_the_engines_own_table() -> None:
    """Every name in the table gets the table's answer, and every guess is a template that the engine has."""
    import subprocess

    from rlguide.engine.find import find_engine
    from rlguide.policy import template

    code = (
        "import json\nfrom llamafactory.data.template import TEMPLATES\n"
        "from llamafactory.extras.constants import DEFAULT_TEMPLATE\n"
        "print('@@' + json.dumps([list(TEMPLATES), dict(DEFAULT_TEMPLATE)]))"
    )
    done = subprocess.run([str(find_engine().python), "-c", code], capture_output=True, text=True, check=True)
    templates, table = json.loads(done.stdout.rpartition("@@")[2])
    for name, expected in table.items():
        guess = template_for(f"{Path('/models') / name}", table)
        assert (guess.name, guess.is_certain) == (expected, True)
    assert template_for("Qwen/Qwen3-4B-Base", table).name == "qwen3_nothink"
    for name in {*template._BY_MODEL_TYPE.values(), *template._LLAMA_BY_VOCABULARY.values()}:
        assert name in templates
