"""A tiny model, an SFT LoRA checkpoint of it and a few pairs, made once by the real engine and copied for each test."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from rlguide.conversation import Message
from rlguide.engine.chat import ChatSession
from rlguide.engine.find import Engine, find_engine
from rlguide.engine.worker import engine_environment, worker_command

# A blank and Chinese characters: what breaks when someone joins and splits command lines or assumes ASCII.
WORKSPACE = "工作 space"
SFT = "saves/tiny/lora/sft"
# Small steps with a large learning rate: enough to see a policy move in seconds.
QUICK = (
    "max_steps=6",
    "cutoff_len=64",
    "logging_steps=1",
    "save_steps=2",
    "eval_steps=6",
    "learning_rate=1e-3",
    "gradient_accumulation_steps=2",
)


# With which the shared run is trained; test_replay.py looks for them in all that it leaves.
SECRETS = {
    "HF_TOKEN": "hf_thisIsATokenOfTheHub",
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "https_proxy": "http://somebody:proxyPassw0rd@127.0.0.1:9",
}


def settings(*extra: str) -> list[str]:
    """`--set` options of a quick run; `extra` overrides."""
    return [item for setting in (*QUICK, *extra) for item in ("--set", setting)]


# What several launchers train, to end with the same adapter.
SAME = ("train", "--sft-ckpt", SFT, "--dataset", "polite", *settings(
    "max_steps=20", "eval_strategy=no", "gradient_accumulation_steps=4", "save_steps=8"))  # fmt: skip
IN_TWO = "saves/two gpus"


@dataclass
class Bench:
    """A workspace and the commands to run in it."""

    root: Path
    engine: Engine

    def environment(self, **extra: str) -> dict[str, str]:
        """The caller's environment with this engine and no hub."""
        return {**os.environ, "RLGUIDE_ENGINE": str(self.engine.python), "HF_HUB_OFFLINE": "1", **extra}

    def start(
        self, *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.Popen[str]:
        """Start the real `rlguide` executable, in the workspace or in `cwd`."""
        return subprocess.Popen(
            [rlguide_executable(), *arguments],
            cwd=cwd or self.root,
            env=self.environment(**(env or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(
        self, *arguments: str, code: int = 0, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `rlguide` to its end and check its exit code."""
        process = self.start(*arguments, env=env, cwd=cwd)
        out, err = process.communicate(timeout=600)
        assert process.returncode == code, f"rlguide {' '.join(arguments)}: {process.returncode}\n{out}\n{err}"
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def llamafactory(self, *arguments: str) -> str:
        """Run llamafactory-cli as a user would, without rlguide; returns its output."""
        done = subprocess.run(
            [str(self.engine.cli), *arguments],
            cwd=self.root,
            env={**engine_environment(self.engine), "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout + done.stderr

    def history(self, output_dir: str) -> list[dict[str, float]]:
        """The trainer's own log of a run."""
        state: dict[str, list[dict[str, float]]] = json.loads(
            (self.root / output_dir / "trainer_state.json").read_text()
        )
        return state["log_history"]


def generate(
    engine: Engine,
    policy_args: dict[str, Any],
    conversations: Sequence[Sequence[Message]],
    cwd: Path,
    max_new_tokens: int,
    batch_size: int = 16,
) -> list[str]:
    """A policy's greedy responses to many conversations, in their order."""
    with ChatSession(engine, policy_args, cwd) as session:
        found = dict(session.responses(conversations, batch_size, max_new_tokens=max_new_tokens))
    return [found[index].text for index in range(len(conversations))]


# The worker of `rlguide chat`, one policy after another: the engine's imports cost more than a tiny model's responses.
_EACH = """
import json, sys
sys.path.insert(0, sys.argv[1])
import few_imports
few_imports.leave_out_most()
import chat, protocol
from generation import Model
asked = json.loads(sys.argv[2])
for arguments in asked["policies"]:
    chat.respond_all(Model(arguments), asked["conversations"], {"max_new_tokens": asked["limit"]}, 16)
protocol.leave(0)
"""


def generate_each(
    engine: Engine,
    policies: Sequence[dict[str, Any]],
    conversations: Sequence[Sequence[Message]],
    cwd: Path,
    max_new_tokens: int,
) -> list[list[str]]:
    """As `generate`, of several policies, in one process of the engine."""
    asked = {"policies": policies, "conversations": conversations, "limit": max_new_tokens}
    worker = str(Path(worker_command(engine, "chat")[-1]).parent)
    command = [str(engine.python), "-c", _EACH, worker, json.dumps(asked)]
    environment = {**engine_environment(engine), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    found: list[dict[int, str]] = [{}]
    for event in map(json.loads, done.stdout.splitlines()):
        if event["event"] == "response":
            found[-1][event["index"]] = event["text"]
        elif event["event"] == "done":
            found.append({})
    return [[texts[index] for index in range(len(conversations))] for texts in found[: len(policies)]]


def rlguide_executable() -> str:
    """The console script of this environment."""
    return str(Path(sys.executable).with_name("rlguide"))


def pairs(count: int) -> list[dict[str, str]]:
    """Pairs whose better answer is polite: a difference that a byte-level model can see."""
    return [
        {
            "instruction": f"Question {number}: 你好, what is {number} plus {number}?",
            "chosen": f"Of course! It is {2 * number}.",
            "rejected": f"{2 * number + 1} i guess",
        }
        for number in range(count)
    ]


SFT_CONFIG = {
    "model_name_or_path": "models/tiny",
    "stage": "sft",
    "do_train": True,
    "dataset": "sft",
    "dataset_dir": "data",
    "template": "qwen3_nothink",
    "cutoff_len": 64,
    "per_device_train_batch_size": 4,
    "learning_rate": 5e-3,
    "max_steps": 10,
    "logging_steps": 1,
    "use_cpu": True,
    "report_to": "none",
}


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The engine of RLGUIDE_ENGINE or of this environment; without one these tests fail rather than pass unseen."""
    return find_engine()


@pytest.fixture(scope="session")
def master(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace that every test gets a copy of: base model, LoRA SFT, full SFT, registered pairs."""
    return made_once(tmp_path_factory, "e2e", lambda root: make_master(Bench(root, engine)))


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A workspace that one of the processes of pytest-xdist makes; the others wait for it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{folder}.lock"):
        is_made = folder / "made"
        if not is_made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder / WORKSPACE)
            is_made.touch()
    return folder / WORKSPACE


def copied(source: Path, root: Path, engine: Engine) -> Bench:
    """A copy of a workspace."""
    shutil.copytree(source, root)
    return Bench(root, engine)


def make_master(bench: Bench) -> Path:
    """Make it in the folder of the bench, which is not there yet."""
    engine = bench.engine
    bench.root.mkdir()
    made = subprocess.run(
        worker_command(engine, "make_model", "--out", str(bench.root / "models/tiny"), "--tiny"),
        env=engine_environment(engine),
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    (bench.root / "my pairs.json").write_text(json.dumps(pairs(60), ensure_ascii=False), encoding="utf-8")
    bench.run("register", "my pairs.json", "--name", "polite", "--test-size", "0.2")
    rows = [{"instruction": row["instruction"], "output": row["chosen"]} for row in pairs(40)]
    (bench.root / "data/sft.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    info = json.loads((bench.root / "data/dataset_info.json").read_text(encoding="utf-8"))
    info["sft"] = {"file_name": "sft.json", "columns": {"prompt": "instruction", "response": "output"}}
    (bench.root / "data/dataset_info.json").write_text(json.dumps(info), encoding="utf-8")
    for kind in ("lora", "full"):
        config = {
            **SFT_CONFIG,
            "finetuning_type": kind,
            "output_dir": f"saves/tiny/{kind}/sft",
            "save_only_model": True,
        }
        (bench.root / f"sft_{kind}.json.yaml").write_text(json.dumps(config))  # JSON is YAML
        bench.llamafactory("train", f"sft_{kind}.json.yaml")
    return bench.root


@pytest.fixture
def bench(master: Path, engine: Engine, tmp_path: Path) -> Bench:
    """A fresh copy of the master workspace."""
    return copied(master, tmp_path / WORKSPACE, engine)


@pytest.fixture(scope="session")
def trained_once(master: Path, engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace that `trained` is a copy of."""

    def make(root: Path) -> None:
        done = copied(master, root, engine).run(
            "train", "--sft-ckpt", SFT, "--dataset", "polite", "--json", *settings(), env=SECRETS
        )
        (root / "train.out").write_text(done.stdout)
        (root / "train.err").write_text(done.stderr)

    return made_once(tmp_path_factory, "trained", make)


@pytest.fixture(scope="session")
def trained(trained_once: Path, engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A workspace with one finished DPO run in saves/tiny/lora/dpo; tests that use it change nothing in it."""
    return copied(trained_once, tmp_path_factory.mktemp("trained") / WORKSPACE, engine)


@pytest.fixture(scope="session")
def trained_in_two(master: Path, engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace that `two_bench` is a copy of."""

    def make(root: Path) -> None:
        env = {"FORCE_TORCHRUN": "1", "NPROC_PER_NODE": "2", "OMP_NUM_THREADS": "1"}
        done = copied(master, root, engine).run(*SAME, "-o", IN_TWO, env=env)
        assert "effective batch 8 on 2 processes; 20 steps" in done.stderr

    return made_once(tmp_path_factory, "in two", make)


@pytest.fixture
def two_bench(trained_in_two: Path, engine: Engine, tmp_path: Path) -> Bench:
    """A fresh copy of the master workspace with the run `IN_TWO`: `SAME`, in two processes of one host."""
    return copied(trained_in_two, tmp_path / WORKSPACE, engine)
