"""A run that was interrupted, killed or damaged ends as if nothing had happened, or is refused."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from rlguide.engine.find import Engine
from rlguide.engine.process import group_alive
from tests.e2e.conftest import SFT, WORKSPACE, Bench, settings
from tests.e2e.runs import cut, recorded, wait_until, weights

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def three_epochs(master: Path, engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A workspace with an uninterrupted run of three epochs of 24 steps in saves/whole, with all its checkpoints."""
    root = tmp_path_factory.mktemp("epochs") / WORKSPACE
    shutil.copytree(master, root)
    bench = Bench(root, engine)
    bench.run("train", "--sft-ckpt", SFT, "--dataset", "polite", "-o", "saves/whole", *THREE_EPOCHS)
    return bench


THREE_EPOCHS = settings("eval_strategy=no", "max_steps=-1", "num_train_epochs=3", "save_steps=5", "save_total_limit=99")


def test_interrupted_in_every_epoch_it_ends_the_same(three_epochs: Bench) -> None:
    """Ctrl-C or `rlguide stop` at random steps of each epoch; the adapter is the same, byte for byte."""
    bench, draw = three_epochs, random.Random(20261126)
    command = ("train", "--sft-ckpt", SFT, "--dataset", "polite", "-o", "saves/cut", *THREE_EPOCHS)
    metrics = bench.root / "saves/cut/metrics.jsonl"

    for epoch in range(3):
        process = bench.start(*command)
        step = 24 * epoch + draw.randint(2, 10)  # early enough that it does not end before the signal comes
        # Of this attempt: on a busy machine the one before may have come as far, until it is resumed.
        wait_until(lambda: recorded(bench, "saves/cut", "pid") is not None, process)
        wait_until(lambda step=step: metrics.exists() and f'"step": {step},' in metrics.read_text(), process)
        group = recorded(bench, "saves/cut", "pid")
        assert group_alive(group)
        if epoch == 1:
            os.killpg(group, signal.SIGSTOP)  # or it could end meanwhile
            busy = bench.run("train", "--resume", "saves/cut", code=2)
            assert "still training" in busy.stderr
            os.killpg(group, signal.SIGCONT)
        if epoch == 0:  # from another terminal, with time enough until its end
            assert "rlguide train --resume saves/cut" in bench.run("stop", "saves/cut").stderr
        else:
            process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        assert "rlguide train --resume saves/cut" in err
        assert not group_alive(group)
        assert not (bench.root / "saves/cut/adapter_model.safetensors").exists()
        command = ("train", "--resume", "saves/cut")
    resumed = bench.run(*command)
    assert "resuming from step" in resumed.stderr
    assert weights(bench, "saves/cut") == weights(bench, "saves/whole")
    assert metrics.read_text().count("\n") == 72
    again = bench.run("train", "--resume", "saves/cut", code=2)
    assert "is finished" in again.stderr


def test_a_resumed_run_has_the_reference_of_its_checkpoint(three_epochs: Bench) -> None:
    """Unless it is damaged or another's: then each example is computed again. The end is the same."""
    bench = three_epochs
    whole = recorded(bench, "saves/whole", "lean")
    assert (whole["computed"], whole["looked_up"]) == (48, 96)
    for name, damage in (("kept", None), ("damaged", b"not safetensors")):
        folder = cut(bench, "saves/whole", name, 65)
        if damage:
            (folder / "checkpoint-65/reference.safetensors").write_bytes(damage)
        done = bench.run("train", "--resume", f"saves/{name}")
        lean = recorded(bench, f"saves/{name}", "lean")
        assert (lean["computed"], lean["looked_up"]) == ((14, 0) if damage else (0, 14))
        assert ("the reference's pass for 14 of 14 examples" in done.stdout) == (not damage)
        assert weights(bench, f"saves/{name}") == weights(bench, "saves/whole")


def test_what_cannot_be_resumed_to_the_same_end_is_refused(three_epochs: Bench) -> None:
    bench = three_epochs
    folder = cut(bench, "saves/whole", "model only", 30)
    for path in folder.glob("checkpoint-*/optimizer.pt"):
        path.unlink()
    assert "no state of the optimizer" in bench.run("train", "--resume", "saves/model only", code=2).stderr
    changed = cut(bench, "saves/whole", "other data", 30, checksums={"polite": "0" * 64})
    refused = bench.run("train", "--resume", "saves/other data", code=2).stderr
    assert "polite is not the data that saves/other data began with" in refused
    assert not (changed / "adapter_model.safetensors").exists()


def test_a_copy_of_a_run_is_resumed_in_its_own_folder(three_epochs: Bench) -> None:
    bench = three_epochs
    cut(bench, "saves/whole", "copy", 30)
    before = {path: path.stat().st_mtime_ns for path in (bench.root / "saves/whole").rglob("*")}
    bench.run("train", "--resume", "saves/copy")
    assert weights(bench, "saves/copy") == weights(bench, "saves/whole")
    assert {path: path.stat().st_mtime_ns for path in (bench.root / "saves/whole").rglob("*")} == before


def test_a_run_that_overwrites_another_is_never_taken_for_it(three_epochs: Bench) -> None:
    """Killed before its first checkpoint: nothing of the finished run in its folder counts any more."""
    bench, folder = three_epochs, three_epochs.root / "saves/old"
    shutil.copytree(bench.root / "saves/whole", folder)
    command = ("train", "--sft-ckpt", SFT, "--dataset", "polite", "-o", "saves/old", *THREE_EPOCHS)
    process = bench.start(*command, "--set", "overwrite_output_dir=true")
    wait_until(lambda: recorded(bench, "saves/old", "status") == "running", process)  # there is none for a moment
    process.kill()
    process.communicate()
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    os.killpg(record["pid"], signal.SIGKILL)
    assert (
        "saves/old: interrupted, would resume from the beginning"
        in bench.run("train", "--resume", "saves/old", "--dry-run").stdout
    )
    assert not list(folder.glob("checkpoint-*")) and not (folder / "adapter_model.safetensors").exists()


def test_early_stopping_ends_at_the_same_step_after_a_resume(bench: Bench) -> None:
    """The count of evaluations without progress goes on where it was, and the report says how many steps were done."""
    early = ("early_stopping_steps=3", "load_best_model_at_end=true", "eval_steps=2", "learning_rate=1e-30")
    options = settings(*early, "max_steps=40", "eval_strategy=steps")
    done = bench.run("train", "--sft-ckpt", SFT, "--dataset", "polite", "-o", "saves/whole", *options)
    assert "finished after 8 of 40 planned steps" in done.stdout
    for name, step in (("cut", 6), ("stopping", 8)):  # the second one is killed as it ends: it must not go on
        cut(bench, "saves/whole", name, step)
        resumed = bench.run("train", "--resume", f"saves/{name}", "--json")
        assert "resuming from step 6 of 40" in resumed.stderr
        assert json.loads(resumed.stdout)["steps"] == 8
        assert [row for row in bench.history(f"saves/{name}") if row["step"] > 8] == []


def test_the_newest_checkpoint_is_damaged_and_two_resume_at_once(three_epochs: Bench) -> None:
    """One of them is refused; the other goes on from the checkpoint before, to the same end."""
    bench = three_epochs
    folder = cut(bench, "saves/whole", "twice", 65)
    state = folder / "checkpoint-65/optimizer.pt"
    os.truncate(state, state.stat().st_size // 2)
    both = [bench.start("train", "--resume", "saves/twice") for _ in range(2)]
    said = [process.communicate(timeout=600)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 2], said
    refused, done = sorted(said, key=lambda text: "resuming from step" in text)
    assert refused.splitlines()[0] == "error: saves/twice is still training" and len(refused.splitlines()) == 2
    assert "resuming from step 60" in done and "checkpoint-65.incomplete" in done
    assert weights(bench, "saves/twice") == weights(bench, "saves/whole")


def test_two_trainings_into_one_folder(three_epochs: Bench) -> None:
    bench = three_epochs
    command = ("train", "--sft-ckpt", SFT, "--dataset", "polite", "-o", "saves/shared", *THREE_EPOCHS)
    both = [bench.start(*command) for _ in range(2)]
    wait_until(lambda: any(process.poll() is not None for process in both))
    refused, other = sorted(both, key=lambda process: process.poll() is None)
    assert refused.returncode == 2
    assert refused.communicate()[1].splitlines()[-2] == "error: saves/shared is still training"
    wait_until(lambda: recorded(bench, "saves/shared", "pid") is not None, other)
    other.send_signal(signal.SIGINT)
    other.communicate(timeout=60)
    assert other.returncode == 130


def test_the_disk_fills_up_during_a_save(three_epochs: Bench) -> None:
    """A real file system without room; with room again the run goes on to the same end."""
    bench, folder = three_epochs, three_epochs.root / "saves/full"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "none", folder], capture_output=True).returncode:
        pytest.skip("only root may mount a file system of a certain size")
    try:
        command = ("train", "--sft-ckpt", SFT, "--dataset", "polite", "-o", "saves/full", *THREE_EPOCHS)
        process = bench.start(*command, "--set", "save_total_limit=1")
        wait_until(lambda: (folder / "checkpoint-10/trainer_state.json").exists(), process)
        filler = folder / "filler"
        with filler.open("wb") as file, suppress(OSError):
            while True:
                file.write(bytes(1 << 20))
        _, err = process.communicate(timeout=120)
        assert process.returncode == 1, err
        assert "disk is full" in err.splitlines()[-2] and "--resume saves/full" in err.splitlines()[-1]
        filler.unlink()
        done = bench.run("train", "--resume", "saves/full")
        assert "resuming from step" in done.stderr
        assert weights(bench, "saves/full") == weights(bench, "saves/whole")
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
