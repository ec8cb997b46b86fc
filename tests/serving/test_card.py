"""The model card says what is on record, in a form that the hub's own client takes, and nothing of the machine."""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st

from rlguide.policy.policy import Policy
from rlguide.runs.record import open_run
from rlguide.serving.card import card, write_card
from rlguide.serving.on_record import escaped
from rlguide.statistics import exact_proportion
from rlguide.workspace import Workspace
from tests.policy.checkpoint_files import write_lora, write_model

RUN = "saves/tiny/lora/dpo"
POLICY = Policy("models/tiny-base", ("saves/tiny/lora/sft", RUN), "qwen3_nothink")
SHA = "ab" * 32
RECORD: dict[str, Any] = {
    "method": "dpo",
    "status": "finished",
    "base": POLICY.base,
    "template": POLICY.template,
    "stack": list(POLICY.adapters),
    "reference": {"base": POLICY.base, "adapters": ["saves/tiny/lora/sft"]},
    "datasets": {"ultrafeedback": 61135, "mine": 20},
    "held_out": {"ultrafeedback_test": 2000},
    "checksums": {"ultrafeedback": SHA},
    "seconds": 4321.4,
    "config": {"pref_beta": 0.1, "learning_rate": 5e-6, "output_dir": "/home/somebody/secret", "lora_rank": 16},
    "surroundings": {"gpus": ["NVIDIA H100"]},
    "engine": {"llamafactory": "0.9.5"},
}


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    root = tmp_path / "somebody's project"
    write_model(root / POLICY.base)
    for name in ("sft", "dpo"):
        write_lora(root / "saves/tiny/lora" / name)
    (root / RUN / "run.json").write_text(json.dumps(RECORD))
    manifest = {
        "name": "ultrafeedback", "created": "2026-01-01T00:00:00+00:00", "rlguide": "0.1.0", "options": {},
        "source": {"hub_id": "HuggingFaceH4/ultrafeedback_binarized", "commit": "c" * 40}, "rows_read": 61135,
        "refused": {}, "left_out": {}, "kind": "pairs",
        "files": [{"dataset": "ultrafeedback", "file": "u.parquet", "rows": 61135, "bytes": 1, "mtime_ns": 1,
                   "sha256": SHA}],
    }  # fmt: skip
    (root / "data").mkdir()
    (root / "data/ultrafeedback.manifest.json").write_text(json.dumps(manifest))
    return Workspace(root)


def made(ws: Workspace, policy: Policy = POLICY) -> ModelCard:
    """The card, as huggingface_hub reads it."""
    folder = ws.root / "exports/my model"
    folder.mkdir(parents=True, exist_ok=True)
    write_card(ws, folder, policy, open_run(ws, RUN))
    return ModelCard.load(folder / "README.md")


def test_it_says_what_is_on_record(ws: Workspace) -> None:
    found = made(ws)
    data = found.data.to_dict()
    assert data["datasets"] == ["HuggingFaceH4/ultrafeedback_binarized"]
    assert (data["language"], data["tags"][-1], data["library_name"]) == (["en"], "dpo", "transformers")
    assert "license" not in data and "base_model" not in data  # a folder of this machine is no model of the hub
    text = found.text
    assert (
        f"| ultrafeedback | training | 61,135 | HuggingFaceH4/ultrafeedback\\_binarized at cccccccccccc | {SHA} |"
        in text
    )
    assert "- trained on ultrafeedback: MIT" in text
    assert "- trained on mine: not on record here" in text
    assert "| pref\\_beta | 0.1 |" in text and "| GPUs | NVIDIA H100 |" in text and "| training time | 4321 s |" in text
    assert "Not evaluated." in text and "It was not compared with the stack" in text
    assert str(ws.root) not in text and "somebody" not in text


def test_a_base_of_the_hub_is_named_and_so_is_its_licence(ws: Workspace) -> None:
    found = made(ws, Policy("Qwen/Qwen3-4B-Base", POLICY.adapters, POLICY.template))
    assert found.data.to_dict()["base_model"] == "Qwen/Qwen3-4B-Base"
    assert "licence is not on record here" in found.text
    (ws.root / POLICY.base / "README.md").write_text(
        "---\nlicense: other\nlicense_name: tiny-community\nlicense_link: https://example.org/l\n---\n# Tiny\n"
    )
    assert "whose licence is tiny-community (https://example.org/l)" in made(ws).text.replace("\\", "")
    for damaged in ("---\n{[\n---\n", "---\n- a\n---\n", "no metadata", "---\nlicense: [1]\n---\n"):
        (ws.root / POLICY.base / "README.md").write_text(damaged)
        assert "licence is not on record here" in made(ws).text


def test_a_dataset_of_another_hub_is_not_claimed_to_be_of_this_one(ws: Workspace) -> None:
    path = ws.data / "ultrafeedback.manifest.json"
    manifest = json.loads(path.read_text())
    manifest["source"] |= {"hub": "modelscope", "hub_id": "llamafactory/ultrafeedback_binarized"}
    path.write_text(json.dumps(manifest))
    found = made(ws)
    assert "datasets" not in found.data.to_dict()
    assert "llamafactory/ultrafeedback\\_binarized on ModelScope at cccccccccccc" in found.text
    assert "- trained on ultrafeedback: MIT" in found.text


def test_results_have_their_interval_and_their_number(ws: Workspace) -> None:
    (ws.root / RUN / "eval").mkdir()
    accuracy, difference = exact_proportion(150, 168), exact_proportion(3, 10)
    suite = {
        "accuracy": accuracy.as_dict(),
        "step": 20,
        "summary": "it got *better*",
        "table": [
            {"name": "instructions", "parent": 0.5, "tuned": 0.8, "difference": difference.as_dict()},
            {"name": "damaged", "parent": "x"},
            7,
        ],
    }
    (ws.root / RUN / "eval/suite.json").write_text(json.dumps(suite))
    text = made(ws).text
    interval = f"(95 % interval {accuracy.low:.3f} to {accuracy.high:.3f})"
    assert f"- accuracy on 168 held-out pairs: {accuracy.value:.3f} {interval}" in text
    assert "- instructions: 0.500 before, 0.800 after; difference +0.300" in text and "n = 10)" in text
    assert "verdict: it got \\*better\\*" in text and "evaluated at step 20" in text
    assert "Not evaluated" not in text and "damaged" not in text
    (ws.root / RUN / "eval/suite.json").write_text("[" * 100_000)
    assert "Not evaluated." in made(ws).text


@pytest.mark.parametrize(
    ("found", "is_shown"),
    [
        ({"step": 99}, True),
        ({"step": 162, "policy": f"{POLICY.describe()}/checkpoint-99"}, False),
        ({"policy": f"{POLICY.describe()}/checkpoint-99"}, True),
        ({"policy": POLICY.describe()}, False),
    ],
)
def test_results_of_another_step_are_not_those_of_this_model(
    ws: Workspace, found: dict[str, Any], is_shown: bool
) -> None:
    (ws.root / RUN / "eval").mkdir()
    (ws.root / RUN / "eval/result.json").write_text(json.dumps({"accuracy": exact_proportion(9, 9).as_dict(), **found}))
    text = made(ws, Policy(POLICY.base, (POLICY.adapters[0], f"{RUN}/checkpoint-99"), POLICY.template)).text
    assert "tiny-base \\+ sft \\+ dpo at step 99." in text
    assert ("accuracy on 9" in text) is is_shown
    assert ("Not evaluated: the results on record are of " in text) is not is_shown


@pytest.mark.parametrize("name", ["a b", "贾's", 'a"b', "x\n```\ny"])
def test_the_folder_is_named_as_it_is(ws: Workspace, name: str) -> None:
    folder = ws.root / name
    folder.mkdir()
    text = card(ws, folder, POLICY, None)
    python, shell = re.findall(r"^```(?:python|bash)\n(.*?)\n```$", text, re.DOTALL | re.MULTILINE)
    (call,) = [node for node in ast.walk(ast.parse(python)) if isinstance(node, ast.Call) and node.keywords][:1]
    said = {word.arg: word.value for word in call.keywords}["model"]
    assert ast.literal_eval(said) == " ".join(name.split())
    assert [shlex.split(line)[2] for line in shell.splitlines()] == [" ".join(name.split())] * 2


def test_without_a_run_nothing_is_claimed(ws: Workspace) -> None:
    text = card(ws, ws.root / "out", Policy(POLICY.base, POLICY.adapters[:1], "smollm2"), None)
    for heading in ("Data", "Training"):
        assert f"## {heading}\n\nNot on record." in text
    assert "Chat template: smollm2." in text


HOSTILE = "</td>\n---\nlicense: mit\n# Heading | `code` [x](javascript:y) \x1b[31m \u202e"


def test_what_records_say_is_text(ws: Workspace) -> None:
    record = {**RECORD, "method": "dpo", "loss": HOSTILE, "datasets": {HOSTILE: HOSTILE}, "template": HOSTILE}
    record["config"] = {"learning_rate": HOSTILE, "lora_target": "/home/somebody/x"}
    (ws.root / RUN / "run.json").write_text(json.dumps(record))
    found = made(ws)
    assert "license" not in found.data.to_dict()
    assert "\x1b" not in found.text and "\u202e" not in found.text and "somebody" not in found.text
    assert "\n# Heading" not in found.text and "[x](" not in found.text and "<" not in re.sub(r"\\<", "", found.text)


@given(st.text(max_size=60))
def test_a_value_stays_on_its_line_and_shows_nothing_but_itself(text: str) -> None:
    shown = escaped(text)
    assert "\n" not in shown and "\r" not in shown
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*_\[\]<>|#]", shown)


@pytest.mark.parametrize(
    "path", ["/home/me/x", "~/x", "~me/x", "./a/x", "../x", "C:\\Users\\me\\x", "file:///home/me/x"]
)
def test_a_path_is_named_by_its_end(path: str) -> None:
    assert escaped(f"see {path} there") == "see x there"
    assert escaped(f'of="{path}",{path}') == 'of="x",x'
    assert escaped(f"({path}/)") == "\\(x\\)"


@pytest.mark.parametrize("text", ["org/name", "https://hub/a/b", "and/or 1 / 2"])
def test_what_is_no_path_stays(text: str) -> None:
    assert escaped(text) == text


def test_what_is_cut_is_seen_to_be_cut() -> None:
    assert escaped("长" * 300) == "长" * 300
    assert escaped("长" * 301) == "长" * 299 + "…"
