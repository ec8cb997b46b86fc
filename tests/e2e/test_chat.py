"""Chat on the real engine: the right policy answers, and nothing is left behind however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from rlguide.engine.chat import ChatSession
from rlguide.engine.find import Engine, find_engine
from rlguide.engine.worker import engine_environment, worker_command
from rlguide.errors import EngineError
from tests.e2e.conftest import generate
from tests.terminal import Terminal

pytestmark = pytest.mark.engine

ADAPTERS = """
import sys, torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
base, *folders = sys.argv[1:]
for seed, folder in enumerate(folders):
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base)
    # far from zero and large, so that each adapter changes every answer
    config = LoraConfig(r=4, lora_alpha=400, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    get_peft_model(model, config).save_pretrained(folder)
"""
# The same question to LLaMA-Factory's own chat.
ENGINE_CHAT = """
import json, os, sys
from llamafactory.chat import ChatModel
args, questions = json.loads(sys.argv[1])
model = ChatModel(args)
answers = [model.chat(list(q), do_sample=False, max_new_tokens=12)[0].response_text for q in questions]
print("@@" + json.dumps(answers), flush=True)
os._exit(0)
"""
QUESTIONS = [[{"role": "user", "content": text}] for text in ("你好", "hi there", "Name three fruits, " * 8, "x")]
CONVERSATION = [*QUESTIONS[0], {"role": "assistant", "content": "good day"}, {"role": "user", "content": "and now?"}]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return find_engine()


@pytest.fixture(scope="module")
def root(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a tiny base model, an SFT adapter, and a DPO run on top of it."""
    root = tmp_path_factory.mktemp("chat 工作区")
    environment = engine_environment(engine)
    make = worker_command(engine, "make_model", "--tiny", "--out", "models/tiny-base")
    subprocess.run(make, cwd=root, env=environment, check=True, capture_output=True)
    folders = ["models/tiny-base", "saves/sft", "saves/dpo"]
    adapters = [str(engine.python), "-c", ADAPTERS, *folders]
    subprocess.run(adapters, cwd=root, env=environment, check=True, capture_output=True)
    manifest = {
        "method": "dpo",
        "status": "finished",
        "base": "models/tiny-base",
        "template": "qwen3_nothink",
        "stack": ["saves/sft", "saves/dpo"],
        "reference": {"base": "models/tiny-base", "adapters": ["saves/sft"]},
        "config": {"stage": "dpo"},
    }
    (root / "saves/dpo/run.json").write_text(json.dumps(manifest))
    return root


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


def test_answers_are_those_of_llamafactory_itself(engine: Engine, root: Path) -> None:
    stack = args("saves/sft", "saves/dpo")
    questions = [*QUESTIONS, CONVERSATION]
    command = [str(engine.python), "-c", ENGINE_CHAT, json.dumps([stack, questions])]
    environment = engine_environment(engine)
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True)
    expected = json.loads(done.stdout.rpartition("@@")[2])
    with ChatSession(engine, stack, root) as session:
        streamed = ["".join(session.ask(item, max_new_tokens=12, temperature=0)) for item in questions]
        assert session.ended in ("stop", "length")
        assert session.size and session.size > 10_000  # bytes of the weights
        batched = dict(session.responses(questions, batch_size=3, max_new_tokens=12))
    assert streamed == expected
    assert [batched[index].text for index in range(len(questions))] == expected
    assert_nothing_left(root)


@pytest.fixture(scope="module")
def responses(engine: Engine, root: Path) -> Callable[..., list[str]]:
    """The greedy responses of a stack of these adapters to QUESTIONS; each stack is asked once."""

    @cache
    def of(*adapters: str) -> list[str]:
        return generate(engine, args(*adapters), QUESTIONS, root, 12, 2)

    return of


def test_every_adapter_of_the_stack_counts(responses: Callable[..., list[str]]) -> None:
    stacks = [(), ("saves/sft",), ("saves/dpo",), ("saves/sft", "saves/dpo")]
    assert len({tuple(responses(*stack)) for stack in stacks}) == len(stacks)


def test_a_stopped_answer_does_not_disturb_the_next(engine: Engine, root: Path) -> None:
    with ChatSession(engine, args("saves/sft"), root) as session:
        first = "".join(session.ask(QUESTIONS[1], max_new_tokens=20, temperature=0))
        long = session.ask(QUESTIONS[1], max_new_tokens=1900, temperature=0, repetition_penalty=1.5)
        next(long)
        started = time.monotonic()
        long.close()  # type: ignore[attr-defined]
        assert time.monotonic() - started < 5
        assert session.ended == "stopped"
        assert "".join(session.ask(QUESTIONS[1], max_new_tokens=20, temperature=0)) == first


def test_a_policy_that_cannot_be_loaded_is_explained(engine: Engine, root: Path) -> None:
    with pytest.raises(EngineError, match="Template nope does not exist") as caught:
        ChatSession(engine, {**args(), "template": "nope"}, root).__enter__()
    assert Path(caught.value.fix.rpartition(": ")[2]).is_file()
    assert_nothing_left(root)


def test_a_killed_worker_is_explained_in_two_lines(engine: Engine, root: Path) -> None:
    with pytest.raises(EngineError, match="main memory") as caught, ChatSession(engine, args(), root) as session:
        assert session.pid is not None
        os.kill(session.pid, signal.SIGKILL)
        list(session.ask(QUESTIONS[0]))
    assert "\n" not in caught.value.what + caught.value.fix
    assert_nothing_left(root)


def test_a_conversation_too_long_for_the_model_loses_its_oldest_turns(
    engine: Engine, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = [{"role": "user", "content": "x" * 1500}, {"role": "assistant", "content": "y" * 1500}]
    with ChatSession(engine, args("saves/sft"), root) as session:
        long = "".join(session.ask([*old, *QUESTIONS[1]], max_new_tokens=12, temperature=0))
        assert "oldest 2 messages" in capsys.readouterr().err
        assert long == "".join(session.ask(QUESTIONS[1], max_new_tokens=12, temperature=0))
        assert capsys.readouterr().err == ""


def rlguide(*arguments: str) -> list[str]:
    code = "import sys; from rlguide.cli import main; sys.exit(main())"
    return [sys.executable, "-c", code, *arguments]


def test_piped_input_gives_a_line_for_a_line(engine: Engine, root: Path, responses: Callable[..., list[str]]) -> None:
    command = rlguide("chat", "-w", str(root), "--engine", str(engine.python), "--temperature", "0", "--json")
    text = "你好\n\n/clear\nhi there\nexit\nnever asked\n"
    done = subprocess.run([*command, "--max-new-tokens", "12"], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["prompt"] for row in rows] == ["你好", "hi there"]
    assert "base + sft + dpo" in done.stderr
    assert [row["response"] for row in rows] == responses("saves/sft", "saves/dpo")[:2]
    assert_nothing_left(root)


def words(text: str) -> str:
    """What of a text is the same on a screen, wherever lines break."""
    return "".join(char for char in text if char.isalnum())


def test_in_a_terminal_the_policy_responds_and_its_parent_beside_it(
    engine: Engine, root: Path, responses: Callable[..., list[str]], tmp_path: Path
) -> None:
    options = ["-w", str(root), "--engine", str(engine.python), "--max-new-tokens", "12", "--temperature", "0"]
    terminal = Terminal(["chat", "saves/dpo", *options], columns=160, lines=50)
    try:
        terminal.until("you:", seconds=60)
        assert len(workers(root)) == 1
        terminal.type(f"你好\r/save {tmp_path}/chat.json\r")
        terminal.until("1 prompt, 1 response")
        saved = json.loads((tmp_path / "chat.json").read_text())
        assert saved["messages"][1]["content"] == responses("saves/sft", "saves/dpo")[0]
        terminal.type("/compare\r")
        terminal.until("│ sft", seconds=60)
        columns = [line.split("│") for line in terminal.everything() if "│" in line]
        assert words("".join(line[1] for line in columns[1:])) == words(responses("saves/sft")[0])
        assert words("".join(line[0] for line in columns[1:])) == words(responses("saves/sft", "saves/dpo")[0])
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
    command = rlguide("chat", "-w", str(root), "--engine", str(engine.python))
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not workers(root) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert workers(root)
    process.kill()
    process.wait()
    assert_nothing_left(root)
