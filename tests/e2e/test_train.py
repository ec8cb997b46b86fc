"""Training on the real engine: identities that are false if the wrong thing is trained."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from rlguide.engine.process import group_alive
from tests.e2e.conftest import SFT, Bench, settings

pytestmark = pytest.mark.engine

DPO = "saves/tiny/lora/dpo"
PNG = b"\x89PNG\r\n\x1a\n"


def first_log(bench: Bench, output_dir: str) -> dict[str, float]:
    return next(row for row in bench.history(output_dir) if "loss" in row)


def assert_starts_at_reference(row: dict[str, float]) -> None:
    """Policy = reference: loss ln 2, every reward 0."""
    assert row["step"] == 1
    assert row["loss"] == pytest.approx(math.log(2), abs=1e-3)
    for key in ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"):
        assert row[key] == 0, key


def test_reference_is_the_sft_model(trained: Bench) -> None:
    assert_starts_at_reference(first_log(trained, DPO))
    manifest = json.loads((trained.root / DPO / "run.json").read_text(encoding="utf-8"))
    assert manifest["base"] == "models/tiny"
    assert manifest["stack"] == [SFT, DPO]
    assert manifest["reference"] == {"base": "models/tiny", "adapters": [SFT]}
    assert manifest["status"] == "finished"
    assert manifest["start_check"]["ok"] is True


def test_usual_recipe_has_another_reference(bench: Bench) -> None:
    """The trap itself, without rlguide: were it gone, the test above would prove nothing."""
    bench.run("configure", "--sft-ckpt", SFT, "--dataset", "polite", *settings("max_steps=1", "eval_strategy=no"))
    path = bench.root / "configs/dpo_config.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("create_new_adapter: true\n", ""), encoding="utf-8")
    bench.llamafactory("train", "configs/dpo_config.yaml")
    assert abs(first_log(bench, DPO)["loss"] - math.log(2)) > 0.01
    refused = bench.run("train", "--config", "configs/dpo_config.yaml", "--output-dir", "saves/x", code=2)
    assert "reference is the base model" in refused.stderr
    assert not (bench.root / "saves/x").exists()


def test_what_a_run_leaves(trained: Bench) -> None:
    run = trained.root / DPO
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4, 5, 6]
    assert rows == [{"step": row["step"], **row} for row in trained.history(DPO) if "loss" in row or "eval_loss" in row]
    for name in ("loss.png", "rewards.png"):
        assert (run / name).read_bytes().startswith(PNG)
    assert "Running training" in (run / "engine.log").read_text(encoding="utf-8")
    summary = json.loads((trained.root / "train.out").read_text())
    assert summary["status"] == "finished"
    assert summary["last"]["loss"] < math.log(2)
    err = (trained.root / "train.err").read_text()
    assert "effective batch 2; 6 steps (24 an epoch)" in err
    assert "48 pairs, 12 held out" in err
    assert f"next: rlguide eval {DPO}" in err


def test_steps_and_batch_are_as_announced(trained: Bench) -> None:
    log = (trained.root / DPO / "engine.log").read_text(encoding="utf-8")
    assert "Num examples = 48" in log
    assert "Total optimization steps = 6" in log
    assert "(w. parallel, distributed & accumulation) = 2" in log


def test_full_sft_checkpoint(bench: Bench) -> None:
    bench.run("train", "--sft-ckpt", "saves/tiny/full/sft", "--dataset", "polite", *settings("max_steps=2"))
    assert_starts_at_reference(first_log(bench, DPO))
    manifest = json.loads((bench.root / DPO / "run.json").read_text(encoding="utf-8"))
    assert (manifest["base"], manifest["stack"]) == ("saves/tiny/full/sft", [DPO])
    assert bench.run("eval", "--json", "--set", "max_samples=3").stdout.count('"pairs": 3') == 1


def test_config_runs_unchanged_without_rlguide(bench: Bench) -> None:
    """The rendered file, given to llamafactory-cli, trains exactly what `rlguide train --config` trains."""
    options = settings("max_steps=3")
    bench.run("configure", "--sft-ckpt", SFT, "--dataset", "polite", *options)
    bench.llamafactory("train", "configs/dpo_config.yaml")
    bench.run("train", "--config", "configs/dpo_config.yaml", "--output-dir", "saves/again")
    keys = ("step", "loss", "rewards/margins", "logps/chosen")
    plain, guided = (
        [[row[key] for key in keys] for row in bench.history(d) if "loss" in row] for d in (DPO, "saves/again")
    )
    assert plain == guided
    assert_starts_at_reference(first_log(bench, DPO))


def test_interrupted_run_resumes_to_the_same_end(bench: Bench) -> None:
    """Ctrl-C after step 25 of 100, resume from a checkpoint before it: the adapter is the same, byte for byte."""
    options = settings("eval_strategy=no", "max_steps=100", "save_steps=20")
    bench.run("train", "--sft-ckpt", SFT, "--dataset", "polite", "-o", "saves/whole", *options)
    process = bench.start("train", "--sft-ckpt", SFT, "--dataset", "polite", "-o", "saves/cut", *options)
    metrics = bench.root / "saves/cut/metrics.jsonl"
    wait_until(lambda: metrics.exists() and '"step": 25,' in metrics.read_text(), process)
    group = json.loads((bench.root / "saves/cut/run.json").read_text(encoding="utf-8"))["pid"]
    assert group_alive(group)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "rlguide train --resume saves/cut" in err
    assert not group_alive(group)
    assert not (bench.root / "saves/cut/adapter_model.safetensors").exists()

    resumed = bench.run("train", "--resume", "saves/cut")
    assert "resuming from step" in resumed.stderr
    whole, cut = (bench.root / "saves" / name / "adapter_model.safetensors" for name in ("whole", "cut"))
    assert whole.read_bytes() == cut.read_bytes()
    assert (bench.root / "saves/cut/metrics.jsonl").read_text().count("\n") == 100
    again = bench.run("train", "--resume", "saves/cut", code=2)
    assert "is finished" in again.stderr


def test_training_survives_a_closed_terminal(bench: Bench) -> None:
    """SIGHUP ends rlguide, not the training; the record is settled afterwards."""
    options = settings("eval_strategy=no", "max_steps=120", "save_steps=120")  # long enough to be asked meanwhile
    process = bench.start("train", "--sft-ckpt", SFT, "--dataset", "polite", *options)
    metrics = bench.root / DPO / "metrics.jsonl"
    wait_until(lambda: metrics.exists() and '"step": 1' in metrics.read_text(), process)
    group = json.loads((bench.root / DPO / "run.json").read_text(encoding="utf-8"))["pid"]
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=30)
    assert group_alive(group)
    busy = bench.run("train", "--resume", DPO, code=2)
    assert "still training" in busy.stderr
    wait_until(lambda: not group_alive(group))
    settled = bench.run("train", "--resume", DPO)
    assert "finished after 120 steps" in settled.stdout
    assert (bench.root / DPO / "loss.png").exists()


def test_kill_stops_the_engine_too(bench: Bench) -> None:
    """SIGTERM, as a batch system sends it, is Ctrl-C: nothing goes on, the run can be resumed."""
    process = bench.start("train", "--sft-ckpt", SFT, "--dataset", "polite", *settings("eval_strategy=no"))
    manifest = bench.root / DPO / "run.json"
    wait_until(lambda: manifest.exists() and '"pid"' in manifest.read_text(), process)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"rlguide train --resume {DPO}" in err
    record = json.loads(manifest.read_text(encoding="utf-8"))
    assert record["status"] == "interrupted"


def test_two_processes(bench: Bench) -> None:
    """torchrun splits its command line at blanks: the workspace has one, and the folder of the run too."""
    env = {"FORCE_TORCHRUN": "1", "NPROC_PER_NODE": "2", "OMP_NUM_THREADS": "1"}
    options = settings("max_steps=-1", "num_train_epochs=1", "eval_strategy=no", "gradient_accumulation_steps=4")
    done = bench.run("train", "--sft-ckpt", SFT, "--dataset", "polite", "-o", "saves/two cards", *options, env=env)
    assert "effective batch 8 on 2 processes; 6 steps" in done.stderr
    log = (bench.root / "saves/two cards/engine.log").read_text(encoding="utf-8")
    assert "Total optimization steps = 6" in log
    assert_starts_at_reference(first_log(bench, "saves/two cards"))


def test_cause_of_a_failure_is_shown(bench: Bench) -> None:
    """What no check can know before: the engine itself fails. Two lines, its exit code, the log named."""
    options = settings("optim=adamw_apex_fused")
    failed = bench.run("train", "--sft-ckpt", SFT, "--dataset", "polite", *options, code=1)
    lines = failed.stderr.strip().splitlines()[-2:]
    assert lines[0].startswith("error: ")
    assert "Traceback" not in failed.stderr
    assert f"{DPO}/engine.log" in lines[1]
    assert json.loads((bench.root / DPO / "run.json").read_text(encoding="utf-8"))["status"] == "failed"
    # Nothing was trained, so the same place can be used again.
    bench.run("train", "--sft-ckpt", SFT, "--dataset", "polite", "--dry-run", *settings())


def test_no_token_reaches_the_disk(bench: Bench) -> None:
    secret = "hf_" + "s3cret" * 5
    refused = bench.run("train", "--sft-ckpt", SFT, "--dataset", "polite", "--set", f"hf_hub_token={secret}", code=2)
    assert secret not in refused.stderr
    bench.run("train", "--sft-ckpt", SFT, "--dataset", "polite", *settings("max_steps=1"), env={"HF_TOKEN": secret})
    for path in bench.root.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path


def wait_until(condition, process: subprocess.Popen[str] | None = None, seconds: float = 180) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        assert process is None or process.poll() is None, process.communicate() if process else ""
        time.sleep(0.05)


def test_no_process_is_left_behind(trained: Bench) -> None:
    """After all of the above no engine of this test session runs in its workspace."""
    here = str(trained.root)
    for status in Path("/proc").glob("[0-9]*/cwd"):
        try:
            assert str(status.readlink()) != here or status.parent.name == str(os.getpid())
        except OSError:
            continue
