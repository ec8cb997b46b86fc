"""Chat on the real engine: the right policy answers, and nothing is left behind however it ends."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlguide.engine.chat import ChatSession
from rlguide.engine.find import Engine, find_engine
from rlguide.engine.worker import engine_environment, worker_command
from rlguide.errors import EngineError
from tests.e2e.conftest import generate

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
        batched = dict(session.responses(questions, batch_size=3, max_new_tokens=12))
    assert streamed == expected
    assert [batched[index].text for index in range(len(questions))] == expected
    assert_nothing_left(root)


def test_every_adapter_of_the_stack_counts(engine: Engine, root: Path) -> None:
    stacks = [args(), args("saves/sft"), args("saves/dpo"), args("saves/sft", "saves/dpo")]
    answers = [generate(engine, stack, QUESTIONS, root, 12, 2) for stack in stacks]
    assert len({tuple(item) for item in answers}) == len(stacks)


def test_a_stopped_answer_does_not_disturb_the_next(engine: Engine, root: Path) -> None:
    with ChatSession(engine, args("saves/sft"), root) as session:
        first = "".join(session.ask(QUESTIONS[1], max_new_tokens=20, temperature=0))
        long = session.ask(QUESTIONS[1], max_new_tokens=1900, temperature=0, repetition_penalty=1.5)
        next(long)
        started = time.monotonic()
        long.close()  # type: ignore[attr-defined]
        assert time.monotonic() - started < 5
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


def test_piped_input_gives_a_line_for_a_line(engine: Engine, root: Path) -> None:
    command = rlguide("chat", "-w", str(root), "--engine", str(engine.python), "--temperature", "0", "--json")
    text = "你好\n\n/clear\nhi there\nexit\nnever asked\n"
    done = subprocess.run([*command, "--max-new-tokens", "12"], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["prompt"] for row in rows] == ["你好", "hi there"]
    assert "base + sft + dpo" in done.stderr
    expected = generate(engine, args("saves/sft", "saves/dpo"), QUESTIONS[:2], root, max_new_tokens=12)
    assert [row["response"] for row in rows] == expected
    assert_nothing_left(root)


class Terminal:
    """rlguide in a terminal of its own, as a person has it."""

    def __init__(self, command: list[str]) -> None:
        self.pid, self.screen = pty.fork()
        if self.pid == 0:
            os.execvp(command[0], command)
        self.seen = ""

    def wait_for(self, text: str, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < deadline, f"{text!r} did not come; seen: {self.seen!r}"
            if select.select([self.screen], [], [], 0.2)[0]:
                self.seen += os.read(self.screen, 65536).decode("utf-8", "replace")
        self.seen = self.seen.partition(text)[2]

    def type(self, keys: bytes) -> None:
        """As a person does: not within the microseconds between a prompt and the program's waiting for keys."""
        time.sleep(0.5)
        os.write(self.screen, keys)

    def exit_code(self, seconds: float = 20.0) -> int:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if select.select([self.screen], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.screen, 65536).decode("utf-8", "replace")
                except OSError:  # the other side has closed
                    pass
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
        raise AssertionError(f"it did not end; seen: {self.seen!r}")

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.screen)


@pytest.fixture
def terminal(engine: Engine, root: Path) -> Iterator[Terminal]:
    options = ["-w", str(root), "--engine", str(engine.python), "--max-new-tokens", "8", "--temperature", "0"]
    terminal = Terminal(rlguide("chat", "saves/dpo", *options))
    yield terminal
    terminal.close()
    assert_nothing_left(root)


@pytest.mark.parametrize("keys", [b"exit\r", b"/quit\r", b"\x04", b"\x03"], ids=["exit", "/quit", "Ctrl-D", "Ctrl-C"])
def test_ends_with_zero_right_after_a_reply(terminal: Terminal, root: Path, keys: bytes) -> None:
    terminal.wait_for("you: ")
    assert len(workers(root)) == 1
    terminal.type("你好\r".encode())
    terminal.wait_for("\n")  # while wide characters are typed, readline may draw its prompt again on the same line
    terminal.wait_for("you: ")
    terminal.type(keys)
    assert terminal.exit_code() == 0
    assert "Traceback" not in terminal.seen
    assert_nothing_left(root)


def test_ctrl_c_stops_the_answer_and_not_the_chat(engine: Engine, root: Path) -> None:
    options = ["-w", str(root), "--engine", str(engine.python), "--max-new-tokens", "1900"]
    # The likeliest token each time: these random weights then repeat themselves and never end an answer.
    terminal = Terminal(rlguide("chat", "saves/dpo", "--temperature", "0", *options))
    try:
        terminal.wait_for("you: ")
        terminal.type(b"hi there\r")
        terminal.wait_for("hi there")
        time.sleep(1.0)
        assert "you: " not in terminal.seen
        terminal.type(b"\x03")
        terminal.wait_for("you: ", seconds=10)
        terminal.type(b"/help\r")
        terminal.wait_for("/clear")
        terminal.wait_for("you: ")
        terminal.type(b"\x04")
        assert terminal.exit_code() == 0
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
