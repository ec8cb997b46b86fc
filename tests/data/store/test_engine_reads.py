"""LLaMA-Factory itself loads what rlguide writes, and aligns it to the same conversations."""

from __future__ import annotations

import json
import random
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rlguide.data.example import Example, Turn
from rlguide.data.ingest.options import IngestOptions
from rlguide.data.ingest.register import register_path
from rlguide.data.ingest.views import kto_view, view
from rlguide.data.store.reading import read_examples
from rlguide.engine.find import find_engine
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


# The same of KTO: what LLaMA-Factory's own processor makes of the rows, before they become tokens.
FEEDBACK = """
import json, sys
from types import SimpleNamespace
from llamafactory.data.loader import _get_merged_dataset
from llamafactory.data.processor.feedback import FeedbackDatasetProcessor
from llamafactory.hparams import DataArguments
data_args = DataArguments(dataset_dir=sys.argv[1])
model_args = SimpleNamespace(cache_dir=sys.argv[3], hf_hub_token=None)
training_args = SimpleNamespace(local_process_index=0, seed=0)
dataset = _get_merged_dataset([sys.argv[2]], model_args, data_args, training_args, "kto")
seen = []
def encode(tokenizer, messages, system, tools):
    seen.append([messages, system])
    return [1], [1]
plugin = SimpleNamespace(process_messages=lambda m, *_: m, process_token_ids=lambda ids, labels, *_: (ids, labels))
template = SimpleNamespace(mm_plugin=plugin, encode_oneturn=encode, efficient_eos=False)
processor = FeedbackDatasetProcessor(template, None, None, data_args)
tags = []
for start in range(0, len(dataset), data_args.preprocessing_batch_size):
    tags += processor.preprocess_dataset(dataset[start : start + data_args.preprocessing_batch_size])["kto_tags"]
rows = [{"own": own, "kl": kl, "tag": tag} for own, kl, tag in zip(seen[0::2], seen[1::2], tags, strict=True)]
print("ROWS" + json.dumps(rows))
"""


def in_engine(script: str, workspace: Workspace, name: str, cache: Path) -> list[dict[str, Any]]:
    done = subprocess.run(
        [str(find_engine().python), "-c", script, str(workspace.data), name, str(cache)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("ROWS"))
    return list(json.loads(line.removeprefix("ROWS")))


ODD_TEXTS = [
    "plain",
    "两行\n第二行",
    'quotes " and \\',
    "\u2028 separators \u2029",
    "tab\t end ",
    "{braces} <im_end>",
    "😀",
]


def conversations(count: int, prompts: int) -> list[dict[str, Any]]:
    """Rows in TRL's format: 1 to 3 turns, half of them with a system prompt."""
    pick = random.Random(3)

    def text() -> str:
        return " ".join(pick.choices(ODD_TEXTS, k=3))

    prompt_key = []
    for number in range(prompts):
        messages = [{"role": "user", "content": f"{number} {text()}"}]
        for _ in range(number % 3):
            messages += [{"role": "assistant", "content": text()}, {"role": "user", "content": text()}]
        prompt_key.append(([{"role": "system", "content": text()}] if number % 2 else []) + messages)
    return [
        {"prompt": prompt_key[n % prompts], "chosen": f"{n} {text()} good", "rejected": f"{n} {text()} bad"}
        for n in range(count)
    ]


def as_turns(messages: list[dict[str, str]]) -> tuple[Turn, ...]:
    return tuple(Turn("gpt" if turn["role"] == "assistant" else "human", turn["content"]) for turn in messages)


def test_several_turns_and_system_prompts_survive(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "my work 工作")
    rows = conversations(60, prompts=60)
    source = tmp_path / "source.json"
    source.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    register_path(workspace, source, IngestOptions("多轮", test_size=0.2))
    pairs = list(read_examples(workspace, "多轮"))
    assert len(pairs) == 48

    def as_pair(row: dict[str, Any]) -> Example:
        chosen, rejected = row["_response"]
        assert chosen["role"] == rejected["role"] == "assistant"
        return Example.pair(as_turns(row["_prompt"]), chosen["content"], rejected["content"], row["_system"])

    assert [as_pair(row) for row in in_engine(ALIGN, workspace, "多轮", tmp_path / "cache")] == pairs
    assert {pair.system == "" for pair in pairs} == {True, False}


@pytest.mark.parametrize("use", ["sft", "ppo"])
def test_sft_and_ppo_see_the_prompts_with_the_chosen_answers(tmp_path: Path, use: Any) -> None:
    workspace = Workspace(tmp_path / "my work 工作")
    source = tmp_path / "source.json"
    source.write_text(json.dumps(conversations(60, prompts=60), ensure_ascii=False), encoding="utf-8")
    register_path(workspace, source, IngestOptions("多轮", test_size=0.2))
    assert view(workspace, "多轮", use) == f"多轮_{use}"
    for name, shown in (("多轮", f"多轮_{use}"), ("多轮_test", f"多轮_{use}_test")):
        rows = in_engine(ALIGN, workspace, shown, tmp_path / "cache")
        assert [
            (as_turns(row["_prompt"]), row["_system"], [turn["content"] for turn in row["_response"]]) for row in rows
        ] == [(pair.messages, pair.system, [pair.chosen]) for pair in read_examples(workspace, name)]


Seen = tuple[tuple[Turn, ...], str, str, bool]  # prompt, system prompt, answer, desirable


def labelled_as_seen(workspace: Workspace, name: str, cache: Path) -> list[Seen]:
    """What the engine trains on, in order; no KL row may be a prompt with an answer of its own."""
    found = []
    answers: dict[tuple[tuple[Turn, ...], str], set[str]] = {}
    rows = in_engine(FEEDBACK, workspace, name, cache)
    for row in rows:
        (*prompt_key, answer), system = row["own"]
        found.append((as_turns(prompt_key), system, answer["content"], row["tag"]))
        answers.setdefault((as_turns(prompt_key), system), set()).add(answer["content"])
    for row in rows:
        (*prompt_key, answer), system = row["kl"]
        assert answer["content"] not in answers[as_turns(prompt_key), system]
    return found


def test_kto_sees_each_pair_as_two_labelled_answers(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "my work 工作")
    source = tmp_path / "source.json"
    source.write_text(json.dumps(conversations(700, prompts=300), ensure_ascii=False), encoding="utf-8")
    register_path(workspace, source, IngestOptions("多轮", test_size=0))
    seen = labelled_as_seen(workspace, kto_view(workspace, "多轮"), tmp_path / "cache")
    assert len(seen) == 1400, "more than a block of the engine's"
    pairs = [(pair.messages, pair.system, pair) for pair in read_examples(workspace, "多轮")]
    expected = [(m, s, pair.chosen, True) for m, s, pair in pairs] + [
        (m, s, pair.rejected, False) for m, s, pair in pairs
    ]
    assert Counter(seen) == Counter(expected)


def test_kto_sees_labelled_files_as_they_are(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "my work 工作")
    originals = conversations(60, prompts=30)
    rows = [
        {"prompt": row["prompt"], "completion": row["chosen"], "label": number % 3 == 0}
        for number, row in enumerate(originals)
    ]
    source = tmp_path / "source.json"
    source.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    register_path(workspace, source, IngestOptions("标签", test_size=0))
    seen = labelled_as_seen(workspace, "标签", tmp_path / "cache")
    assert {answer: tag for _, _, answer, tag in seen} == {row["completion"]: row["label"] for row in rows}
    prompt_key = {row["completion"]: [turn for turn in row["prompt"] if turn["role"] != "system"] for row in rows}
    assert all(messages == as_turns(prompt_key[answer]) for messages, _, answer, _ in seen)
