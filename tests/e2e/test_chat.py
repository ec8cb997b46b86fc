"""Chat on the real engine: the right policy responds, and nothing is left behind however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rlguide.engine.chat import ChatSession
from rlguide.engine.find import Engine
from rlguide.engine.worker import engine_environment, worker_command
from rlguide.errors import EngineError
from tests.policy.checkpoint_files import DPO_RECORD
from tests.terminal import Terminal

pytestmark = pytest.mark.engine

# One process of the engine for all that it makes: the base, two adapters on top, and its own chat's responses.
MAKE = """
import json, os, runpy, sys, torch
stacks, questions = json.loads(sys.argv.pop())
try:
    runpy.run_path(sys.argv.pop(1), run_name="__main__")
except SystemExit as end:
    assert not end.code, end
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
for seed, folder in enumerate(["saves/sft", "saves/dpo"]):
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained("models/tiny-base")
    # far from zero and large, so that each adapter changes every response
    config = LoraConfig(r=4, lora_alpha=400, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    get_peft_model(model, config).save_pretrained(folder)
from llamafactory.chat import ChatModel
def responses(args):
    model = ChatModel(args)
    return [model.chat(list(q), do_sample=False, max_new_tokens=12)[0].response_text for q in questions]
print("@@" + json.dumps([responses(args) for args in stacks]), flush=True)
os._exit(0)
"""
QUESTIONS = [[{"role": "user", "content": text}] for text in ("你好", "hi there", "Name three fruits, " * 8, "x")]
CONVERSATION = [*QUESTIONS[0], {"role": "assistant", "content": "good day"}, {"role": "user", "content": "and now?"}]


ASKED = [*QUESTIONS, CONVERSATION]
STACKS = [(), ("saves/sft",), ("saves/dpo",), ("saves/sft", "saves/dpo")]


@dataclass
class Workspace:
    """A workspace, and the engine's own greedy responses to ASKED in it, by stack."""

    root: Path
    expected: dict[tuple[str, ...], list[str]]


@pytest.fixture(scope="module")
def made(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with a tiny base model, an SFT adapter, and a DPO run on top of it."""
    root = tmp_path_factory.mktemp("chat 工作区")
    command = worker_command(engine, "make_model", "--tiny", "--out", "models/tiny-base")
    wanted = json.dumps([[args(*stack) for stack in STACKS], ASKED])
    done = subprocess.run(
        [command[0], "-c", MAKE, *command[1:], wanted],
        cwd=root,
        env=engine_environment(engine),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (root / "saves/dpo/run.json").write_text(json.dumps(DPO_RECORD))
    return Workspace(root, dict(zip(STACKS, json.loads(done.stdout.rpartition("@@")[2]), strict=True)))


@pytest.fixture(scope="module")
def root(made: Workspace) -> Path:
    return made.root


@pytest.fixture(scope="module")
def session(engine: Engine, made: Workspace) -> Iterator[ChatSession]:
    """The whole stack, loaded once for all tests that ask it; the last of them kills it."""
    with ChatSession(engine, args(*STACKS[-1]), made.root) as session:
        yield session
    assert_nothing_left(made.root)


def args(*adapters: str) -> dict[str, str]:
    values = {"model_name_or_path": "models/tiny-base", "finetuning_type": "lora", "template": "qwen3_nothink"}
    return {**values, "adapter_name_or_path": ",".join(adapters)} if adapters else values


def workers(root: Path) -> list[int]:
    """Ids of the running workers whose current folder is this workspace."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cwd").resolve() == root.resolve() and b"chat.py" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def assert_nothing_left(root: Path, patience: float = 10.0) -> None:
    deadline = time.monotonic() + patience
    while workers(root) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert workers(root) == []


def test_responses_are_those_of_llamafactory_itself(made: Workspace, session: ChatSession) -> None:
    assert session.size and session.size > 10_000  # bytes of the weights
    streamed = ["".join(session.ask(item, max_new_tokens=12, temperature=0)) for item in ASKED]
    assert session.ended in ("stop", "length")
    batched = dict(session.responses(ASKED, batch_size=3, max_new_tokens=12))
    assert streamed == [batched[index].text for index in range(len(ASKED))] == made.expected[STACKS[-1]]
    assert len({tuple(found) for found in made.expected.values()}) == len(STACKS)  # every adapter counts


def test_a_stopped_response_does_not_disturb_the_next(session: ChatSession) -> None:
    first = "".join(session.ask(QUESTIONS[1], max_new_tokens=20, temperature=0))
    long = session.ask(QUESTIONS[1], max_new_tokens=1900, temperature=0, repetition_penalty=1.5)
    next(long)
    started = time.monotonic()
    long.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 5
    assert session.ended == "stopped"
    assert "".join(session.ask(QUESTIONS[1], max_new_tokens=20, temperature=0)) == first


def test_a_conversation_too_long_for_the_model_loses_its_oldest_turns(
    session: ChatSession, capsys: pytest.CaptureFixture[str]
) -> None:
    old = [{"role": "user", "content": "x" * 1500}, {"role": "assistant", "content": "y" * 1500}]
    long = "".join(session.ask([*old, *QUESTIONS[1]], max_new_tokens=12, temperature=0))
    assert "oldest 2 messages" in capsys.readouterr().err
    assert long == "".join(session.ask(QUESTIONS[1], max_new_tokens=12, temperature=0))
    assert capsys.readouterr().err == ""


def test_a_killed_worker_is_explained_in_two_lines(session: ChatSession) -> None:
    assert session.pid is not None
    os.kill(session.pid, signal.SIGKILL)
    with pytest.raises(EngineError, match="main memory") as caught:
        list(session.ask(QUESTIONS[0]))
    assert "\n" not in caught.value.what + caught.value.fix
    session.close()


def test_a_policy_that_cannot_be_loaded_is_explained(engine: Engine, root: Path) -> None:
    with pytest.raises(EngineError, match="Template nope does not exist") as caught:
        ChatSession(engine, {**args(), "template": "nope"}, root).__enter__()
    assert Path(caught.value.fix.rpartition(": ")[2]).is_file()
    assert_nothing_left(root)


def words(text: str) -> str:
    """What of a text is the same on a screen, wherever lines break."""
    return "".join(char for char in text if char.isalnum())


def test_in_a_terminal_the_policy_responds_and_its_parent_beside_it(
    engine: Engine, made: Workspace, tmp_path: Path
) -> None:
    root, (_, parent, _, policy) = made.root, [responses[0] for responses in made.expected.values()]
    options = ["-w", str(root), "--engine", str(engine.python), "--max-new-tokens", "12", "--temperature", "0"]
    terminal = Terminal(["chat", *options], columns=160, lines=50)
    try:
        terminal.until("you:", seconds=60)
        assert len(workers(root)) == 1
        terminal.type(f"你好\r/save {tmp_path}/chat.json\r")
        terminal.until("1 prompt, 1 response")
        saved = json.loads((tmp_path / "chat.json").read_text())
        assert saved["messages"][1]["content"] == policy
        terminal.type("/compare\r")
        terminal.until("│ sft", seconds=60)
        columns = [line.split("│") for line in terminal.everything() if "│" in line]
        assert words("".join(line[1] for line in columns[1:])) == words(parent)
        assert words("".join(line[0] for line in columns[1:])) == words(policy)
        assert len(workers(root)) == 2
        # the likeliest token each time: these random weights then repeat themselves and never end a response
        terminal.type("/clear\r/max 1900\rhi there\r")
        terminal.until("you: hi there")
        time.sleep(1.0)
        terminal.type("\x03")
        terminal.type("/save\r")
        terminal.until("/save needs a file", seconds=10)
        terminal.type("\x04")
        assert terminal.wait() == 0
        assert b"Traceback" not in terminal.raw
    finally:
        terminal.close()
    assert_nothing_left(root)


def test_a_killed_rlguide_leaves_no_worker(engine: Engine, root: Path) -> None:
    command = [sys.executable, "-m", "rlguide", "chat", "-w", str(root), "--engine", str(engine.python)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not workers(root) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert workers(root)
    process.kill()
    process.wait()
    assert_nothing_left(root)
