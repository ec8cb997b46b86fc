"""Random content in place of every file that rlguide reads back: an exit code and two lines, never a traceback.

The engine is a shell that would fail if it were started; its argument table takes all keys.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlguide.catalog.hyperparameters import hyperparameters
from rlguide.catalog.methods import methods
from rlguide.data.sources.card import _header
from rlguide.engine.find import Engine
from rlguide.engine.schema import Field, Schema, load_schema, schema_cache
from rlguide.engine.state import STATE, engine_folder
from rlguide.errors import EngineError
from rlguide.recipes.render import load_recipe
from rlguide.workspace import log_folder
from tests.cli.command import run
from tests.policy.checkpoint_files import write_lora, write_model
from tests.reports.folders import result, suite

QUANTIZED = "--sft-ckpt saves/tiny/lora/sft --quantization 4 --dry-run"
RUN = "saves/tiny/lora/dpo"
PAIR = {"instruction": "a", "chosen": "Yes, please.", "rejected": "no"}
RECORD: dict[str, Any] = {
    "id": "x",
    "method": "dpo",
    "loss": "sigmoid",
    "status": "interrupted",
    "pid": 1,
    "created": "2026-01-01T00:00:00+00:00",
    "base": "models/tiny-base",
    "template": "qwen3_nothink",
    "stack": ["saves/tiny/lora/sft", RUN],
    "reference": {"base": "models/tiny-base", "adapters": ["saves/tiny/lora/sft"]},
    "datasets": {"polite": 4},
    "held_out": {},
    "checksums": {},
    "processes": 1,
    "total_steps": 10,
    "config": {"stage": "dpo", "dataset": "polite", "val_size": 0.5, "output_dir": RUN, "pref_loss": "sigmoid"},
    "summary": {"first": {"loss": 0.69}, "last": {"loss": 0.5}, "held_out": None},
}
DATASETS = {
    "polite": {
        "file_name": "polite.json",
        "ranking": True,
        "columns": {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"},
    }
}
MANIFEST = {
    "name": "polite",
    "created": "2026-01-01T00:00:00+00:00",
    "rlguide": "0.5.0",
    "source": {"kind": "file", "files": ["polite.json"]},
    "options": {},
    "rows_read": 4,
    "refused": {},
    "files": [{"dataset": "polite", "file": "polite.json", "rows": 4, "bytes": 1, "mtime_ns": 1, "sha256": "x"}],
}
ADAPTER = {"peft_type": "LORA", "base_model_name_or_path": "models/tiny-base", "r": 4, "target_modules": ["q_proj"]}
STATES = {"global_step": 20, "max_steps": 20, "log_history": [{"loss": 2.5, "step": 10}]}
CONFIG: dict[str, Any] = {
    "model_name_or_path": "models/tiny-base",
    "adapter_name_or_path": "saves/tiny/lora/sft",
    "create_new_adapter": True,
    "finetuning_type": "lora",
    "stage": "dpo",
    "do_train": True,
    "dataset": "polite",
    "template": "qwen3_nothink",
    "output_dir": "saves/own",
    "learning_rate": 1e-6,
    "num_train_epochs": 1.0,
    "per_device_train_batch_size": 1,
    "lora_rank": 8,
    "lora_target": "all",
}
CHANGE = {
    "name": "polite",
    "moves": {".polite~train.tmp": "polite.parquet"},
    "manifest": MANIFEST,
    "entries": DATASETS,
    "delete": ["old.parquet"],
    "drop": ["old"],
}
MERGED = {
    "rlguide": "0.5.0",
    "base": "x",
    "base_bytes": 1,
    "dtype": "float32",
    "adapters": ["x"],
    "template": "x",
    "files": {"a": 1},
}
MODEL = {"model_type": "qwen3", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 64}
METRICS = {"step": 1, "loss": 0.6, "rewards/chosen": 0.1, "rewards/accuracies": 0.5, "eval_loss": 0.5}
PROMPT = [{"role": "user", "content": "Hello."}]
ANSWERED = {"part": "length", "prompt": PROMPT, "parent": "a", "tuned": "b"}
SCORED = {"loss": 1.0, "chosen_reward": -1.0, "rejected_reward": 0.5, "prompt": PROMPT, "chosen": "c", "rejected": "r"}

_VALUES = [
    CONFIG,
    *(load_recipe(method).sections[part] for method in methods() for part in load_recipe(method).sections),
]
_KINDS = {key: type(value[key]).__name__ for value in _VALUES for key in value if value[key] is not None}
_KINDS.update(dict.fromkeys(("val_size", "warmup_steps", "lora_dropout"), "float"), max_samples="int", cutoff_len="int")
_FIELDS = {
    key: Field(key, (_KINDS.get(key, "str"), *("none",) * (key not in CONFIG)), (), None, "")
    for key in {*hyperparameters(), *_KINDS}
}
TABLE = Schema(_FIELDS, ("qwen3_nothink", "llama3"), {"Tiny": "llama3"})

hard_text = st.sampled_from(["", "..", "/", "a" * 5000, "\x00", "\ud800", "\x1b[2J", "~x", "[/b]", "中文", "/dev/null"])
leaf = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.sampled_from([10**30, -(10**400), float("inf"), float("nan"), -0.5, 1e308]),
    hard_text,
    st.text(max_size=5),
)
anything = st.recursive(
    leaf,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=6,
)
hard_bytes = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"", b"[" * 100_000, b"1" * 5000, b'{"a":' + b"1" * 5000 + b"}", b"\xff\xfe", b"\xef\xbb\xbf{}", b"nul", b"{}"]
    ),
)
hard_yaml = st.sampled_from(
    [
        "? [a, b]\n: 1",
        "? {a: b}\n: 1",
        "a: !!int abc",
        "a: !!float x",
        "a: !!bool maybe",
        f"a: {'1' * 5000}",
        f"a: {'9' * 400}",
        "a: " + "[" * 3000,
        "a: " + "{b: " * 3000,
        "<<: 1",
        "<<: [1, 2]",
        "<<: {a: 1}\nb: 2",
        "a: &x [*x]",
        "a: &x {b: *x}",
        "a: !!binary YQ==",
        "a: !!binary '*'",
        "a: 2020-01-01",
        "a: !!timestamp 2020-01-01",
        "a: !!timestamp x",
        "a: !!set {b}",
        "a: !!omap [b: 1]",
        "a: !!pairs [b: 1]",
        "a: !!python/object/apply:os.system [ls]",
        "a: 1\na: 2",
        "a: *nowhere",
        "a: 190:20:30",
        "a: 0x" + "f" * 5000,
        "a: 0b12",
        "a: 1e400",
        "!!null x: 1",
        "a: !!null x",
        "1: 2",
        "--- a\n--- b",
        "a:\n\tb",
        "\x00",
        "a: \x1b",
        "\n".join(
            f"{a}: &{a} [{', '.join(['*' + b] * 9)}]" for b, a in zip("abcdefgh", "bcdefghi", strict=True)
        ).replace("*a", "x"),
    ]
)


@st.composite
def mutated(draw: st.DrawFn, document: dict[str, Any]) -> bytes:
    """The document with one value, at any depth, replaced; or anything at all."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(hard_bytes)
    if kind == 1:
        return json.dumps(draw(anything)).encode()
    copy = json.loads(json.dumps(document))
    place: Any = copy
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = draw(st.sampled_from(keys))
        if isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
            place = place[key]
            continue
        place[key] = draw(anything)
        return json.dumps(copy).encode()


@pytest.fixture(scope="module")
def workspace() -> Iterator[Path]:
    """A base, an SFT adapter, pairs, and an interrupted DPO run with a checkpoint."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        root = Path(name)
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        patch.setenv("XDG_DATA_HOME", str(root / "share"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        engine = Engine(root / "no/bin/python", {"llamafactory": "0.9.5", "trl": "0.19.1"})
        patch.setattr("rlguide.engine.find.find_engine", lambda explicit=None: engine)
        for user in ("recipes.checks", "runs.choose", "inference.choose", "serving.export", "evaluation.config"):
            patch.setattr(f"rlguide.{user}.load_schema", lambda engine: TABLE, raising=False)
        write_model(root / "models/tiny-base")
        for name in ("saves/tiny/lora/sft", RUN, f"{RUN}/checkpoint-20"):
            write_lora(root / name)
        (root / RUN / "run.json").write_text(json.dumps(RECORD))
        (root / "data").mkdir()
        (root / "data/polite.json").write_text(json.dumps([{**PAIR, "instruction": str(n)} for n in range(4)]))
        (root / "data/dataset_info.json").write_text(json.dumps(DATASETS))
        (root / "data/polite.manifest.json").write_text(json.dumps(MANIFEST))
        (root / "own.yaml").write_text("\n".join(f"{key}: {json.dumps(value)}" for key, value in CONFIG.items()))
        yield root


# file, its content, the commands that read it
FILES: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    (
        f"{RUN}/run.json",
        RECORD,
        (
            "checkpoints",
            f"chat {RUN}",
            f"export {RUN} --output {RUN}/run.json",
            f"eval {RUN}",
            f"train --resume {RUN} --dry-run",
            f"train --resume {RUN}",
            f"train --from {RUN} --dry-run",
            f"train --from {RUN} --method ppo --reward-model {RUN} --dry-run",
            f"report {RUN}",
            f"report {RUN} --lang zh",
            "doctor",
        ),
    ),
    (f"{RUN}/metrics.jsonl", METRICS, (f"report {RUN}",)),
    (f"{RUN}/eval/suite.json", suite(), (f"report {RUN}",)),
    (f"{RUN}/eval/result.json", result(), (f"report {RUN}",)),
    (f"{RUN}/eval/answers.jsonl", ANSWERED, (f"report {RUN}",)),
    (f"{RUN}/eval/pairs.jsonl", SCORED, (f"report {RUN}",)),
    (
        "data/dataset_info.json",
        DATASETS,
        ("list", "list --json", "inspect polite", "train --dry-run", "view polite", "show polite", "remove polite"),
    ),
    (
        "data/polite.manifest.json",
        MANIFEST,
        ("list", "inspect polite", "train --dry-run", "register data/polite.json", "remove polite", f"report {RUN}"),
    ),
    ("saves/tiny/lora/sft/adapter_config.json", ADAPTER, ("checkpoints", "checkpoints --json", "train --dry-run")),
    ("saves/tiny/lora/sft/trainer_state.json", STATES, ("checkpoints", "checkpoints --json", "train --dry-run")),
    (f"{RUN}/checkpoint-20/trainer_state.json", STATES, (f"train --resume {RUN} --dry-run", f"chat {RUN}")),
    (f"{RUN}/trainer_state.json", STATES, (f"train --resume {RUN}",)),
    (f"{RUN}/metrics.jsonl", {"step": 1, "loss": 0.5, "rewards/chosen": 0.1}, (f"train --resume {RUN}",)),
    ("data/.polite.pending.json", CHANGE, ("list",)),
    ("saves/tiny/merged/sft/rlguide.json", MERGED, ("checkpoints", "export saves/tiny/lora/sft", f"train {QUANTIZED}")),
    ("saves/tiny/lora/sft/training_args.yaml", {"template": "llama3"}, ("checkpoints", "train --dry-run")),
    ("saves/tiny/lora/sft/adapter_model.safetensors", MODEL, ("checkpoints", "train --dry-run")),
    ("zero.json", {"zero_optimization": {"stage": 3}}, ("train --set deepspeed=zero.json --dry-run",)),
    ("own.yaml", CONFIG, ("train --config own.yaml --dry-run",)),
    ("models/tiny-base/config.json", MODEL, ("train --dry-run", "train --sft-ckpt latest --dry-run")),
    ("configs/dpo_config.yaml", CONFIG, ("train --config configs/dpo_config.yaml --dry-run", "configure")),
]
CASES = [(file, document, command) for file, document, commands in FILES for command in commands]


def check(capsys: pytest.CaptureFixture[str], *arguments: str) -> None:
    """The command ends with 0, 1 or 2, and says nothing unforeseen."""
    capsys.readouterr()
    code = run(*arguments)
    err = capsys.readouterr().err
    assert code in (0, 1, 2), err
    assert "unexpected" not in err and "Traceback" not in err, err
    if code and "Usage:" not in err and arguments[0] != "doctor":  # its findings are on stdout
        assert [line[:7] for line in err.splitlines()[-2:]] == ["error: ", "  fix: "], err


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.mark.parametrize(("file", "document", "command"), CASES, ids=[f"{f}-{c}" for f, _, c in CASES])
def test_random_content(
    workspace: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    document: dict[str, Any],
    command: str,
) -> None:
    monkeypatch.chdir(workspace)
    path = workspace / file
    before = path.read_bytes() if path.exists() else None

    @settings(max_examples=20, suppress_health_check=list(HealthCheck))
    @given(
        st.one_of(mutated(document), mutated(document), hard_yaml.map(str.encode) if ".yaml" in file else hard_bytes)
    )
    def holds(content: bytes) -> None:
        put(path, content)
        check(capsys, *command.split())

    try:
        holds()
    finally:
        if before is None:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(before)


def test_every_hard_yaml(workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace)

    @settings(max_examples=200)
    @given(hard_yaml)
    def holds(text: str) -> None:
        (workspace / "hard.yaml").write_bytes(text.encode())
        check(capsys, "train", "--config", "hard.yaml", "--dry-run")
        check(capsys, "train", "--set", f"learning_rate={text}", "--dry-run")

    holds()


KINDS = ("pipe", "socket", "folder", "loop", "unreadable", "device")


def make(kind: str, path: Path) -> None:
    """Something that is not a file."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            here = Path.cwd()
            os.chdir(path.parent)  # the name of a socket is short
            try:
                server.bind(path.name)
            finally:
                os.chdir(here)
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.touch(mode=0o000)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_a_file(
    workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(workspace)
    weights = [
        ("saves/tiny/lora/sft/adapter_model.safetensors", {}, ("checkpoints", "train --dry-run")),
        ("models/tiny-base/model.safetensors", {}, ("train --dry-run",)),
        ("models/tiny-base/tokenizer.json", {}, ("train --dry-run",)),
        ("data/polite.json", {}, ("inspect polite", "train --dry-run", "register data/polite.json", "list")),
    ]
    for file, _, commands in [*FILES, *weights]:
        path, kept = workspace / file, workspace / "kept"
        if path.exists():
            path.rename(kept)
        path.parent.mkdir(parents=True, exist_ok=True)
        make(kind, path)
        try:
            for command in commands:
                check(capsys, *command.split())
        finally:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
            if kept.exists():
                kept.rename(path)


@pytest.mark.parametrize(
    "folder", ["a" * 300, "x/" * 3000, "own.yaml/below", "loop", "loop/below", "/proc/nothing/x", "\x00"]
)
def test_a_folder_that_cannot_be_made(
    workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    monkeypatch.chdir(workspace)
    loop = workspace / "loop"
    if not loop.is_symlink():
        loop.symlink_to("loop")
    for command in ("train --output-dir", "train --dry-run --output-dir", "export --output", "chat", "chat --base"):
        check(capsys, *command.split(), folder)
    for command in ("list -w", "train --resume", "train --sft-ckpt", "train --from", "register", "train --config"):
        check(capsys, *command.split(), folder)


@pytest.mark.parametrize(
    "printed", ["", "garbage", "[]", "{}", "[" * 100_000, "\xff", '{"versions": {"llamafactory": 1}}']
)
def test_an_engine_that_prints_something_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, printed: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    python = tmp_path / "bin/python"
    python.parent.mkdir()
    (tmp_path / "printed").write_bytes(printed.encode("latin-1"))
    python.write_text(f"#!/bin/sh\ncat '{tmp_path}/printed'\n")
    python.chmod(0o755)
    for command in ("chat", "doctor", "engine list", "train"):
        check(capsys, *command.split(), "--engine", str(tmp_path), "-w", str(tmp_path))
    with pytest.raises(EngineError):
        load_schema(Engine(python, {"llamafactory": "0.9.5"}))


@settings(max_examples=100)
@given(
    mutated(
        {
            "fields": {"a": {"kinds": ["int"], "choices": [1], "default": 1, "help": "x"}},
            "templates": ["x"],
            "model_templates": {"a": "x"},
        }
    )
)
def test_a_damaged_schema_cache(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", name)
        engine = Engine(Path("/nowhere/bin/python"), {"llamafactory": "0.9.5"})
        put(schema_cache(engine), content)
        try:
            schema = load_schema(engine)
        except EngineError:  # it was read anew, and there is no engine
            return
        schema.problems({"a": 2, "b": 1})


@settings(max_examples=30, suppress_health_check=list(HealthCheck))
@given(content=mutated({"complete": True, "versions": {"trl": "0.9.6"}, "plan": "x", "python": "x", "main": "y"}))
def test_a_damaged_engine_state(capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", name)
        for engine in ("main", "ppo"):
            python = engine_folder(engine) / "bin/python"
            put(python, f"#!/bin/sh\nexec '{sys.executable}' \"$@\"\n".encode())
            python.chmod(0o755)
            put(engine_folder(engine) / STATE, content)
        check(capsys, "engine", "list")


def test_a_cache_that_cannot_be_written(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert log_folder().is_dir()
    table = {"fields": {}, "templates": [], "model_templates": {}}
    monkeypatch.setattr("rlguide.engine.schema.ask_worker", lambda *arguments: table)
    assert load_schema(Engine(Path("/nowhere/bin/python"), {"llamafactory": "0.9.5"})).fields == {}
    monkeypatch.chdir(workspace)
    for command in ("chat", "export", "train --dry-run", "inspect polite", "list"):
        check(capsys, *command.split())


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    state=mutated(
        {"global_step": 20, "max_steps": 20, "log_history": [{"loss": 0.6, "step": 1}, {"loss": 0.5, "step": 2}]}
    ),
    metrics=mutated({"step": 1, "loss": 0.5, "rewards/chosen": 0.1}),
)
def test_a_damaged_state_at_the_end_of_a_run(
    workspace: Path, capsys: pytest.CaptureFixture[str], state: bytes, metrics: bytes
) -> None:
    files = {"trainer_state.json": state, "metrics.jsonl": metrics + b"\n" + metrics, "train_results.json": b"{}"}
    for name, content in files.items():
        put(workspace / RUN / name, content)
    put(workspace / RUN / "run.json", json.dumps({**RECORD, "checksums": None}).encode())
    check(capsys, "train", "--resume", RUN, "-w", str(workspace))


@given(hard_yaml)
def test_a_card_of_a_hub(text: str) -> None:
    assert isinstance(_header(f"---\n{text}\n---\n"), dict)
