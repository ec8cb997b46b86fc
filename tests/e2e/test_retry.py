"""Out-of-memory is survived on the real engine: the same rows, and the adapter of a run that never needed more."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rlguide.engine.find import Engine
from tests.e2e.conftest import SFT, Bench, settings
from tests.e2e.short_of_memory import make_engine

pytestmark = pytest.mark.engine

PAIRS, EPOCHS, SAVE = 48, 2, 5
TWO = {"FORCE_TORCHRUN": "1", "NPROC_PER_NODE": "2"}


def options(batch: int, accumulation: int) -> list[str]:
    sizes = (f"per_device_train_batch_size={batch}", f"gradient_accumulation_steps={accumulation}")
    run = (
        "max_steps=-1",
        f"num_train_epochs={EPOCHS}",
        f"save_steps={SAVE}",
        "eval_strategy=no",
        "save_total_limit=99",
    )
    return settings(*sizes, *run)


@pytest.fixture(scope="module")
def short(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an engine that can be short of memory."""
    return make_engine(engine.python, tmp_path_factory.mktemp("engine") / "short of memory")


def environment(short: Path, rows: Path, **asked: Any) -> dict[str, str]:
    variables = {"SHORT_OF_MEMORY": json.dumps(asked), "ROWS_FILE": str(rows), "OMP_NUM_THREADS": "1"}
    return {**variables, "RLGUIDE_ENGINE": str(short)}


def record(bench: Bench, name: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((bench.root / name / "run.json").read_text(encoding="utf-8"))
    return values


def trained_rows(path: Path) -> dict[int, Counter[str]]:
    """The pairs that each step was trained on, the last time that it was."""
    last: dict[int, int] = {}
    rows: dict[tuple[int, int], Counter[str]] = {}
    for line in path.read_text().splitlines():
        values = json.loads(line)
        attempt = values["own"] if values["alone"] else values["pid"]  # torchrun's process is the parent of all
        last[values["step"]] = attempt
        rows.setdefault((values["step"], attempt), Counter()).update(values["rows"])
    return {step: rows[step, attempt] for step, attempt in sorted(last.items())}


def assert_every_pair_once_an_epoch(path: Path, batch: int) -> None:
    steps = trained_rows(path)
    each = PAIRS // batch
    assert list(steps) == list(range(each * EPOCHS))
    assert all(rows.total() == batch for rows in steps.values())
    for epoch in range(EPOCHS):
        seen = sum((steps[step] for step in range(each * epoch, each * (epoch + 1))), Counter())
        assert len(seen) == PAIRS and set(seen.values()) == {1}


def floats(path: Path) -> dict[str, list[float]]:
    """The tensors of a file of float32."""
    import struct

    content = path.read_bytes()
    start = 8 + struct.unpack("<Q", content[:8])[0]
    found = {}
    for name, tensor in json.loads(content[8:start]).items():
        if name != "__metadata__":
            assert tensor["dtype"] == "F32"
            begin, end = (start + offset for offset in tensor["data_offsets"])
            found[name] = list(struct.unpack(f"<{(end - begin) // 4}f", content[begin:end]))
    return found


def assert_same_adapter(bench: Bench, one: str, other: str) -> None:
    one_weights, others = (floats(bench.root / name / "adapter_model.safetensors") for name in (one, other))
    assert one_weights.keys() == others.keys()
    for name, values in one_weights.items():
        assert values == pytest.approx(others[name], rel=1e-3, abs=2e-5), name
    assert any(any(values) for name, values in one_weights.items() if "lora_B" in name), "nothing was learnt"


@pytest.mark.parametrize(
    ("how", "changes"),
    [
        ("main", ["micro-batch 2 -> 1, accumulation 2 -> 4"]),  # checkpointing was tried in the process itself
        ("kill", ["gradient checkpointing on", "micro-batch 2 -> 1, accumulation 2 -> 4"]),
    ],
)
def test_it_ends_like_a_run_that_never_needed_more(
    bench: Bench, short: Path, tmp_path: Path, how: str, changes: list[str]
) -> None:
    """Memory runs out in the middle of the first epoch, after a checkpoint in its middle."""
    rows = tmp_path / "rows"
    env = environment(short, rows, above=1, at=7, how=how)
    command = ("train", "--sft-ckpt", SFT, "--dataset", "polite", "-o", "saves/short of it")
    done = bench.run(*command, "--auto-retry", *options(2, 2), env=env)
    assert done.stderr.count("resuming from step 5 of 24") == len(changes)
    assert "were planned" not in done.stderr
    times = {1: "once", 2: "twice"}[len(changes)]
    assert f"ran out of memory {times}, and continued with: {'; then '.join(changes)}" in done.stdout
    assert_every_pair_once_an_epoch(rows, 4)
    kept = record(bench, "saves/short of it")
    assert [attempt["change"] for attempt in kept["attempts"]] == changes
    failure = kept["attempts"][0]["failure"]
    assert (failure["memory"], failure["during"], failure["step"]) == ("main", "training", 7)
    if how == "main":
        assert failure["figures"]["tried"] == 2**31 and failure["figures"]["peak"] > 2**27  # torch alone is larger
    bench.run(
        "train",
        "--sft-ckpt",
        SFT,
        "--dataset",
        "polite",
        "-o",
        "saves/small",
        *options(1, 4),
        env={"OMP_NUM_THREADS": "1"},
    )
    assert_same_adapter(bench, "saves/short of it", "saves/small")
    one, other = (
        {row["step"]: row["loss"] for row in bench.history(name) if "loss" in row}
        for name in ("saves/short of it", "saves/small")
    )
    assert one == pytest.approx(other, rel=1e-3)
    state = json.loads((bench.root / "saves/short of it/checkpoint-10/trainer_state.json").read_text())
    assert (state["train_batch_size"], state["global_step"], state["epoch"]) == (1, 10, pytest.approx(10 / 12))


def test_one_of_two_processes_runs_out(bench: Bench, short: Path, tmp_path: Path) -> None:
    """First with checkpointing, which no step tries by itself there, then with smaller micro-batches."""
    rows = tmp_path / "rows"
    env = {**environment(short, rows, above=1, at=6, how="gpu", rank=1), **TWO}
    command = ("train", "--sft-ckpt", SFT, "--dataset", "polite", "-o", "saves/two")
    failed = bench.run(*command, *options(2, 1), env=env, code=1)
    last = failed.stderr.strip().splitlines()[-2:]
    assert last[0] == "error: the GPU ran out of memory"
    assert "`rlguide train --resume saves/two --auto-retry`" in last[1]
    done = bench.run("train", "--resume", "saves/two", "--auto-retry", env={**env, "FORCE_TORCHRUN": "0"})
    changes = [attempt["change"] for attempt in record(bench, "saves/two")["attempts"]]
    assert changes == ["gradient checkpointing on", "micro-batch 2 -> 1, accumulation 1 -> 2"]
    assert "were planned" not in done.stderr
    assert record(bench, "saves/two")["lean"]["why_not"] == {"checkpointing": "memory ran out without it"}
    assert_every_pair_once_an_epoch(rows, 4)
    small = environment(short, tmp_path / "other", above=1, at=0, how="gpu") | TWO
    bench.run(*command[:-1], "saves/small", *options(1, 2), env=small)
    assert_same_adapter(bench, "saves/two", "saves/small")


def test_one_of_two_processes_is_killed(bench: Bench, short: Path, tmp_path: Path) -> None:
    env = {**environment(short, tmp_path / "rows", above=1, at=6, how="kill", rank=1), **TWO}
    command = ("train", "--sft-ckpt", SFT, "--dataset", "polite", "-o", "saves/two", "--auto-retry")
    bench.run(*command, *options(2, 1), env=env)
    attempts = record(bench, "saves/two")["attempts"]
    assert {attempt["failure"]["memory"] for attempt in attempts} == {"main"}
    assert_every_pair_once_an_epoch(tmp_path / "rows", 4)


def test_an_evaluation_that_does_not_fit(bench: Bench, short: Path, tmp_path: Path) -> None:
    """Found where it is raised, and answered by fewer rows in the evaluation only."""
    env = environment(short, tmp_path / "rows", above=1, at=2, how="gpu", during="evaluation")
    quick = settings("max_steps=4", "eval_steps=2", "save_steps=1", "per_device_eval_batch_size=2")
    command = ("train", "--sft-ckpt", SFT, "--dataset", "polite", "-o", "saves/eval", "--auto-retry", "--json")
    done = bench.run(*command, *quick, env=env)
    [attempt] = json.loads(done.stdout)["attempts"]
    assert attempt["settings"] == {"per_device_eval_batch_size": 1}
    assert attempt["failure"]["during"] == "evaluation"
    assert [row["step"] for row in bench.history("saves/eval") if "eval_loss" in row] == [2, 4]
