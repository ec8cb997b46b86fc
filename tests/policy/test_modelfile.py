"""ollama serves a merged model with the prompts of its training."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.policy.modelfile import CONTEXT, TemplateParts, modelfile, read_parts, retargeted, template
from tests.policy.go_template import parse_modelfile, render
from tests.worker.conftest import worker_module

CHATML = TemplateParts(
    "",
    ("<|im_start|>system\n", "<|im_end|>\n"),
    ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"),
    ("", "<|im_end|>\n"),
    False,
    "You are kind.",
    "<think>\n\n</think>\n\n",
    ("<|endoftext|>", "<|im_end|>"),
    40960,
)
GEMMA = TemplateParts(
    "<bos>",
    ("", "\n\n"),
    ("<start_of_turn>user\n", "<end_of_turn>\n<start_of_turn>model\n"),
    ("", "<end_of_turn>\n"),
    True,
    "",
    "",
    ("<end_of_turn>",),
    None,
)
TURNS = [("system", "Short."), ("user", ' "Hi" \n'), ("assistant", "你好 {{ x }}"), ("user", "Why?")]
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="{}\r"), max_size=8)
AROUND = st.tuples(TEXT, TEXT)
PARTS = st.builds(
    TemplateParts, TEXT, AROUND, AROUND, AROUND, st.booleans(), TEXT, TEXT, st.lists(TEXT, max_size=2).map(tuple),
    st.none() | st.integers(1, 100_000),
)  # fmt: skip
SAID = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
CONVERSATIONS = st.tuples(st.none() | SAID, st.lists(st.tuples(SAID, SAID), max_size=2), SAID).map(
    lambda drawn: [
        *([("system", drawn[0])] if drawn[0] else []),
        *[turn for user, assistant in drawn[1] for turn in (("user", user), ("assistant", assistant))],
        ("user", drawn[2]),
    ]
)


def as_told(parts: TemplateParts) -> dict[str, Any]:
    """What the worker tells of these parts."""
    return json.loads(json.dumps(parts.__dict__))  # type: ignore[no-any-return]


def of_training(parts: TemplateParts, turns: list[tuple[str, str]]) -> str:
    """The prompt in training: its tokens are held against LLaMA-Factory's in tests/worker/test_template_parts.py."""
    return str(worker_module("template_parts").rendered(as_told(parts), turns))


def by_ollama(text: str, turns: list[tuple[str, str]]) -> str:
    """The prompt that ollama makes with a Modelfile."""
    said = dict(parse_modelfile(text))
    system = "".join(value for role, value in turns if role == "system") or said.get("SYSTEM", "")
    messages = [{"role": role, "content": value} for role, value in turns]
    if system and not (turns and turns[0][0] == "system"):
        messages.insert(0, {"role": "system", "content": system})  # as ollama puts the Modelfile's before all others
    return render(said["TEMPLATE"], system, messages)


@pytest.mark.parametrize(
    "parts", [CHATML, GEMMA, replace(GEMMA, default_system="Be kind."), replace(CHATML, thought="")]
)
@pytest.mark.parametrize("turns", [TURNS, TURNS[1:], TURNS[1:2]])
def test_a_conversation_is_written_as_in_training(parts: TemplateParts, turns: list[tuple[str, str]]) -> None:
    assert by_ollama(modelfile(parts), turns) == of_training(parts, turns)


@given(PARTS, CONVERSATIONS)
def test_any_template_that_can_be_said_is_said_right(parts: TemplateParts, turns: list[tuple[str, str]]) -> None:
    try:
        text = modelfile(parts)
    except ValueError:
        return
    said = parse_modelfile(text)
    assert by_ollama(text, turns) == of_training(parts, turns)
    assert [value for name, value in said if name == "PARAMETER stop"] == list(parts.stops)
    assert dict(said).get("SYSTEM", "") == parts.default_system
    assert [name.split()[0] for name, _ in said if not name.startswith("PARAMETER")][:2] == ["FROM", "TEMPLATE"]


def test_what_stands_in_it() -> None:
    said = parse_modelfile(retargeted(modelfile(CHATML, cutoff=8192), "./my model.gguf"))
    assert [(name, value) for name, value in said if name != "TEMPLATE"] == [
        ("FROM", "./my model.gguf"),
        ("SYSTEM", "You are kind."),
        ("PARAMETER stop", "<|endoftext|>"),
        ("PARAMETER stop", "<|im_end|>"),
        ("PARAMETER num_ctx", "8192"),
    ]
    for positions, cutoff, expected in ((None, None, CONTEXT), (1024, 2048, 1024), (40960, 2048, CONTEXT)):
        found = dict(parse_modelfile(modelfile(replace(CHATML, positions=positions), cutoff=cutoff)))
        assert found["PARAMETER num_ctx"] == str(expected)


@pytest.mark.parametrize("bad", ['say """', 'ends with "', "{{ .Secret }}", "}} {{"])
def test_what_a_modelfile_cannot_say_is_refused(bad: str) -> None:
    with pytest.raises(ValueError):
        modelfile(replace(CHATML, user=(bad, "\n")) if "{" in bad else replace(CHATML, default_system=bad))


@pytest.mark.parametrize("change", [{"user": None}, {"user": ["a"]}, {"stops": "x"}, {"prefix": 1}, {"thought": None}])
def test_what_a_worker_told_is_read_back_or_refused(change: dict[str, Any]) -> None:
    assert read_parts(as_told(CHATML)) == CHATML
    assert read_parts({**as_told(CHATML), "positions": "many"}) == replace(CHATML, positions=None)
    assert read_parts({**as_told(CHATML), **change}) is None
    assert read_parts(None) is None


GO = """package main
import ("encoding/json"; "os"; "text/template")
type message struct { Role, Content string }
type given struct { Template, System string; Messages []*message }
func main() {
    var all []given
    if err := json.NewDecoder(os.Stdin).Decode(&all); err != nil { panic(err) }
    for _, one := range all {
        parsed := template.Must(template.New("").Option("missingkey=zero").Parse(one.Template))
        values := map[string]any{"System": one.System, "Messages": one.Messages}
        if err := parsed.Execute(os.Stdout, values); err != nil { panic(err) }
        os.Stdout.Write([]byte{0})
    }
}
"""


@pytest.mark.skipif(shutil.which("go") is None, reason="there is no Go here: only the renderer above was asked")
def test_go_itself_writes_the_same(tmp_path: Path) -> None:
    cases = [(parts, turns) for parts in (CHATML, GEMMA) for turns in (TURNS, TURNS[1:])]
    given = [
        {
            "Template": template(parts),
            "System": turns[0][1] if turns[0][0] == "system" else parts.default_system,
            "Messages": [{"Role": role, "Content": text} for role, text in turns],
        }
        for parts, turns in cases
    ]
    (tmp_path / "main.go").write_text(GO)
    done = subprocess.run(["go", "run", "main.go"], cwd=tmp_path, input=json.dumps(given).encode(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().split("\0")[:-1] == [of_training(parts, turns) for parts, turns in cases]
