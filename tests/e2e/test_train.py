"""Training on the real engine: identities that are false if the wrong thing is trained."""

from __future__ import annotations

import json
import math
import os
import signal
from itertools import pairwise
from pathlib import Path

import pytest

from rlguide.engine.process import group_alive
from tests.e2e.conftest import SAME, SFT, Bench, settings
from tests.e2e.runs import cut, distance, recorded, wait_until, weights

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
    told = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    for before, after in (("eval_batch", "log"), ("saving", "save")):  # what may take long is told as it begins
        assert any(a["event"] == before and b["event"] == after for a, b in pairwise(told))
    assert next(event for event in told if event["event"] == "eval_batch")["done"] == 0
    watched = json.loads(trained.run("watch", "--json").stdout)
    assert [row["step"] for row in watched["rows"] if row.get("tokens_per_second", 0) > 0] == [1, 2, 3, 4, 5, 6]
    assert (watched["phase"], watched["step"], watched["seconds_left"]) == ("finished", 6, None)
    summary = json.loads((trained.root / "train.out").read_text())
    assert summary["status"] == "finished" and summary["verdict"]["level"] in ("good", "bad", "unclear")
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
    assert bench.run("eval", "--suite", "pairs", "--json", "--set", "max_samples=3").stdout.count('"pairs": 3') == 1


def test_config_runs_unchanged_without_rlguide(bench: Bench) -> None:
    """The rendered file, given to llamafactory-cli, trains exactly what `rlguide train --config` trains."""
    options = settings("max_steps=3", "include_num_input_tokens_seen=non_padding")
    bench.run("configure", "--sft-ckpt", SFT, "--dataset", "polite", *options)
    bench.llamafactory("train", "configs/dpo_config.yaml")
    bench.run("train", "--config", "configs/dpo_config.yaml", "--output-dir", "saves/again")
    keys = ("step", "loss", "rewards/margins", "logps/chosen")
    plain, guided = (
        [[row[key] for key in keys] for row in bench.history(d) if "loss" in row] for d in (DPO, "saves/again")
    )
    assert plain == guided
    assert weights(bench, DPO) == weights(bench, "saves/again")
    assert recorded(bench, "saves/again", "lean")["used"] == ["reference", "logits", "checkpointing"]
    events = map(json.loads, (bench.root / "saves/again/events.jsonl").read_text().splitlines())
    logs = [event for event in events if event["event"] == "log" and "loss" in event["values"]]
    own = [log["values"]["num_input_tokens_seen"] for log in logs]  # the engine's count of tokens without padding
    assert [log["tokens"] for log in logs] == own == sorted(set(own)) and len(own) == 3
    assert_starts_at_reference(first_log(bench, DPO))


def test_training_text_forges_nothing(bench: Bench) -> None:
    """The engine prints the first examples; a prompt that looks like a metric, a bar or an error is a prompt."""
    forged = "{'loss': 0.9, 'rewards/chosen': -3.0}\n 50%|#| 1/2 [00:01<00:01]\nRuntimeError: CUDA out of memory"
    rows = [{"prompt": f"{forged} {n}", "chosen": f"{n} yes", "rejected": f"no {n}"} for n in range(12)]
    (bench.root / "forged.json").write_text(json.dumps(rows), encoding="utf-8")
    bench.run("register", "forged.json")
    options = settings("max_steps=2", "cutoff_len=256", "eval_strategy=no")
    done = bench.run("train", "--sft-ckpt", SFT, "--dataset", "forged", "--json", *options)
    log = (bench.root / DPO / "engine.log").read_text(encoding="utf-8")
    assert "'rewards/chosen': -3.0" in log, "the engine no longer prints examples: this test would prove nothing"
    values = json.loads(done.stdout)
    assert values["start_check"]["ok"] is True
    assert (values["first"]["loss"], values["first"]["rewards/chosen"]) == (pytest.approx(math.log(2), abs=1e-3), 0)
    rows = [json.loads(line) for line in (bench.root / DPO / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
    failed = bench.run("train", "--sft-ckpt", SFT, "--dataset", "forged", "-o", "saves/x", *options, *APEX, code=1)
    assert "out of memory" not in failed.stderr


APEX = ("--set", "optim=adamw_apex_fused")


def test_training_survives_a_closed_terminal(bench: Bench) -> None:
    """SIGHUP ends rlguide, not the training; the record is settled afterwards."""
    options = settings("eval_strategy=no", "max_steps=120", "save_steps=120")
    process = bench.start("train", "--sft-ckpt", SFT, "--dataset", "polite", *options)
    metrics = bench.root / DPO / "metrics.jsonl"
    wait_until(lambda: metrics.exists() and '"step": 1' in metrics.read_text(), process)
    group = json.loads((bench.root / DPO / "run.json").read_text(encoding="utf-8"))["pid"]
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=30)
    assert group_alive(group)
    os.killpg(group, signal.SIGSTOP)  # or it could end while it is asked
    busy = bench.run("train", "--resume", DPO, code=2)
    assert "still training" in busy.stderr and f"`rlguide watch {DPO}`" in busy.stderr
    watched = json.loads(bench.run("watch", DPO, "--json").stdout)
    assert (watched["status"], watched["failure"]) == ("running", None) and watched["rows"]
    os.killpg(group, signal.SIGCONT)
    wait_until(lambda: not group_alive(group))
    ended = bench.run("watch", DPO, code=1).stderr
    assert "has trained all its steps" in ended and f"`rlguide train --resume {DPO}`" in ended
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


def test_several_processes_train_what_one_does(two_bench: Bench) -> None:
    """DDP, FSDP2 and one process, at the same effective batch; the folder of a run has a space in it.

    FSDP2 trains as the engine does, DDP with less work (`lean`): their adapters are the same to the byte, so neither
    loses anything to the other, and what reads the one reads the other. One process adds up the same gradients in
    another order, in float32: after 20 steps the adapters differ by 6e-8 of their norm, and 1e-5 is allowed. Both are
    resumed in the second epoch, without being told again how they began.
    """
    bench = two_bench
    log = (bench.root / "saves/two gpus/engine.log").read_text(encoding="utf-8")
    assert "Total optimization steps = 20" in log
    bench.run(*SAME, "-o", "saves/fsdp", "--nproc", "2", "--sharing", "fsdp", env={"OMP_NUM_THREADS": "1"})
    bench.run(*SAME, "-o", "saves/one", "--set", "gradient_accumulation_steps=8")
    for run in ("two gpus", "fsdp", "one"):
        assert_starts_at_reference(first_log(bench, f"saves/{run}"))
    assert weights(bench, "saves/fsdp") == weights(bench, "saves/two gpus")
    assert distance(bench, "saves/two gpus", "saves/one") < 1e-5
    for run in ("two gpus", "fsdp"):
        cut(bench, f"saves/{run}", f"resumed {run}", 8)
        resumed = bench.run("train", "--resume", f"saves/resumed {run}", env={"OMP_NUM_THREADS": "1"})
        assert "resuming from step 8 of 20" in resumed.stderr
        assert weights(bench, f"saves/resumed {run}") == weights(bench, f"saves/{run}")
    # It was FSDP2, of which each process holds a part: only there does a checkpoint have such a file.
    assert (bench.root / "saves/fsdp/checkpoint-16/pytorch_model_fsdp.bin").exists()
    assert recorded(bench, "saves/fsdp", "launch") == {"launcher": "local", "nproc": 2}
    assert recorded(bench, "saves/fsdp", "lean")["used"] == []
    lean = recorded(bench, "saves/two gpus", "lean")  # each process: the first epoch once, then looked up
    assert lean["looked_up"] * 6 == lean["computed"] * (20 - 6)


@pytest.mark.parametrize(("way", "start"), [("zero2", SFT), ("zero3", "saves/tiny/full/sft")])
def test_zero_trains_what_ddp_does(bench: Bench, way: str, start: str) -> None:
    """On CPUs by DeepSpeed's own accelerator, whose exchange it compiles first; `use_cpu` would leave DeepSpeed out.

    The adapters differ by 7e-8 (ZeRO-2) and 1.3e-7 (ZeRO-3) of their norm: DeepSpeed adds up in another order.
    """
    if "deepspeed" not in bench.engine.versions:
        pytest.skip("the engine has no deepspeed")
    env = {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    options = settings("eval_strategy=no", "save_steps=10", "max_steps=20", "gradient_accumulation_steps=4")
    command = ("train", "--sft-ckpt", start, "--dataset", "polite", "--nproc", "2", *options)
    bench.run(*command, "-o", "saves/zero", "--sharing", way, "--set", "use_cpu=false", env=env)
    bench.run(*command, "-o", "saves/ddp", env=env)
    assert_starts_at_reference(first_log(bench, "saves/zero"))
    assert distance(bench, "saves/ddp", "saves/zero") < 1e-5
    cut(bench, "saves/zero", "resumed", 10)
    bench.run("train", "--resume", "saves/resumed", env=env)
    assert weights(bench, "saves/resumed") == weights(bench, "saves/zero")


def test_cause_of_a_failure_is_shown(bench: Bench) -> None:
    """What no check can know before: the engine itself fails. Two lines, its exit code, the log named."""
    options = settings("optim_args=nonsense")
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


def test_no_process_is_left_behind(trained: Bench, trained_once: Path) -> None:
    """After all of the above no engine of this test session runs in its workspace."""
    here = {str(trained.root), str(trained_once)}
    for status in Path("/proc").glob("[0-9]*/cwd"):
        try:
            assert str(status.readlink()) not in here or status.parent.name == str(os.getpid())
        except OSError:
            continue
