"""LLaMA-Factory itself loads what rlguide writes, and aligns it to the same conversations."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

import pytest

from rlguide.engine.find import find_engine
from rlguide.preferences.pair import Pair, Turn
from rlguide.preferences.register import RegisterOptions, register_file
from rlguide.preferences.registry import read_pairs
from rlguide.workspace import Workspace

pytestmark = pytest.mark.engine

# Runs in the engine's Python: prints the aligned rows of a dataset.
ALIGN = """
import json, sys
from types import SimpleNamespace
from llamafactory.data.loader import _load_single_dataset
from llamafactory.data.parser import get_dataset_list
from llamafactory.hparams import DataArguments
data_args = DataArguments(dataset_dir=sys.argv[1])
model_args = SimpleNamespace(cache_dir=sys.argv[3], hf_hub_token=None)
training_args = SimpleNamespace(local_process_index=0, seed=0)
(attribute,) = get_dataset_list([sys.argv[2]], sys.argv[1])
dataset = _load_single_dataset(attribute, model_args, data_args, training_args)
print("ROWS" + json.dumps([dict(row) for row in dataset]))
"""


def aligned(workspace: Workspace, name: str, cache: Path) -> list[dict[str, object]]:
    done = subprocess.run(
        [str(find_engine().python), "-c", ALIGN, str(workspace.data), name, str(cache)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("ROWS"))
    return list(json.loads(line.removeprefix("ROWS")))


def test_several_turns_and_system_prompts_survive(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "my work 工作")
    odd = [
        "plain",
        "两行\n第二行",
        'quotes " and \\',
        "\u2028 separators \x0b",
        "tab\t end ",
        "{braces} <|im_end|>",
        "😀",
    ]
    pick = random.Random(3)

    def text() -> str:
        return " ".join(pick.choices(odd, k=3))

    rows = []
    for number in range(60):
        messages = [{"role": "user", "content": f"{number} {text()}"}]
        for _ in range(number % 3):
            messages += [{"role": "assistant", "content": text()}, {"role": "user", "content": text()}]
        system = [{"role": "system", "content": text()}] if number % 2 else []
        rows.append({"prompt": system + messages, "chosen": f"{text()} good", "rejected": f"{text()} bad"})
    source = tmp_path / "source.json"
    source.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    register_file(workspace, source, RegisterOptions(name="多轮", test_size=0.2))
    pairs = list(read_pairs(workspace, "多轮"))
    assert len(pairs) == 48

    def as_pair(row: dict[str, object]) -> Pair:
        turns = tuple(Turn("gpt" if t["role"] == "assistant" else "human", t["content"]) for t in row["_prompt"])  # type: ignore[attr-defined]
        chosen, rejected = row["_response"]  # type: ignore[misc]
        assert chosen["role"] == rejected["role"] == "assistant"
        return Pair(turns, chosen["content"], rejected["content"], str(row["_system"]))

    assert [as_pair(row) for row in aligned(workspace, "多轮", tmp_path / "cache")] == pairs
    assert {pair.system == "" for pair in pairs} == {True, False}
