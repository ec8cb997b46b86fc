"""SFT as a method on the real engine: the same bytes as without rlguide, and DPO on top of what it leaves."""

from __future__ import annotations

import json
import math
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import Bench, settings

pytestmark = pytest.mark.engine

BASE = "models/tiny"


def adapter(bench: Bench, run: str) -> bytes:
    return (bench.root / run / "adapter_model.safetensors").read_bytes()


def record(bench: Bench, run: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bench.root / run / "run.json").read_text(encoding="utf-8"))
    return found


def test_a_base_model_learns_the_chosen_responses_and_dpo_starts_from_it(bench: Bench) -> None:
    """First loss of DPO: ln 2, with the SFT model as the reference."""
    data = sorted(path.name for path in (bench.root / "data").glob("*.parquet"))
    done = bench.run("train", "--method", "sft", "--base", BASE, "--dataset", "polite", *settings())
    run = "saves/tiny/lora/sft-2"  # the workspace has an SFT checkpoint made without rlguide already
    assert sorted(path.name for path in (bench.root / "data").glob("*.parquet")) == data, "no second copy"
    found = record(bench, run)
    assert (found["method"], found["base"], found["stack"]) == ("sft", BASE, [run])
    assert (found["datasets"], found["held_out"]) == ({"polite_sft": 48}, {"polite_sft_test": 12})
    summary = found["summary"]
    assert summary["last"]["loss"] < summary["first"]["loss"]
    assert "the training loss fell from" in done.stdout
    # The same training without rlguide, on the config that it left.
    config = yaml.safe_load((bench.root / "configs/sft_config.yaml").read_text(encoding="utf-8"))
    assert config == found["config"]
    (bench.root / "plain.yaml").write_text(json.dumps({**config, "output_dir": "saves/plain"}), encoding="utf-8")
    bench.llamafactory("train", "plain.yaml")
    assert adapter(bench, "saves/plain") == adapter(bench, run)
    (bench.root / "saves/plain").rename(bench.root / "plain")
    # What comes next is said, and works.
    (said,) = (line.rpartition("then: ")[2] for line in done.stderr.splitlines() if "then: rlguide train" in line)
    assert shlex.split(said) == ["rlguide", "train", "--sft-ckpt", run, "--dataset", "polite"]
    assert json.loads(bench.run("checkpoints", "--json").stdout)[0]["newest_sft"] is True
    bench.run("train", "--sft-ckpt", "latest", "--dataset", "polite", *settings())
    on_top = record(bench, "saves/tiny/lora/dpo")
    assert on_top["stack"] == [run, "saves/tiny/lora/dpo"]
    assert on_top["reference"] == {"base": BASE, "adapters": [run]}
    assert on_top["template"] == found["template"]
    first = next(row for row in bench.history("saves/tiny/lora/dpo") if "loss" in row)
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-3)
    assert first["rewards/chosen"] == 0


def test_a_registered_file_of_conversations(bench: Bench) -> None:
    """Registered, trained, resumed to the same bytes, exported; it holds no pairs out, so eval says what to name."""
    rows = [
        {"messages": [{"role": "user", "content": f"Say {n}."}, {"role": "assistant", "content": f"你好 {n}!"}]}
        for n in range(30)
    ]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (bench.root / "talks.jsonl").write_text(text, encoding="utf-8")
    assert "rlguide train --method sft" in bench.run("register", "talks.jsonl").stderr
    run = ("train", "--method", "sft", "--base", BASE, "--dataset", "talks")
    bench.run(*run, "-o", "saves/whole", *settings())
    bench.run(*run, "-o", "saves/part", *settings())
    cut_off(bench.root / "saves/part")
    bench.run("train", "--resume", "saves/part")
    assert adapter(bench, "saves/part") == adapter(bench, "saves/whole")
    refused = bench.run("eval", "saves/whole", code=2).stderr.strip().splitlines()
    assert len(refused) == 2 and "held no pairs out" in refused[0]
    result = json.loads(
        bench.run("eval", "saves/whole", "--suite", "pairs", "--dataset", "polite_test", "--json").stdout
    )
    assert (result["reference"], result["policy"]) == (BASE, f"{BASE} + saves/whole")
    said = json.loads(bench.run("export", "saves/whole", "--json").stdout)
    assert said["stack"] == ["saves/whole"] and said["compared"]["difference"] < 1e-5


def cut_off(run: Path) -> None:
    """Leave a run as if it had been killed after its second checkpoint of three."""
    shutil.rmtree(run / "checkpoint-6")
    for name in ("adapter_model.safetensors", "train_results.json", "all_results.json", "trainer_state.json"):
        (run / name).unlink()
    values = json.loads((run / "run.json").read_text(encoding="utf-8"))
    values.update(status="interrupted", summary=None)
    (run / "run.json").write_text(json.dumps(values), encoding="utf-8")
