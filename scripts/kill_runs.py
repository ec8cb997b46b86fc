"""Kill trainings at random moments, resume them until they are done, and compare what they learnt.

    python scripts/kill_runs.py                       100 kills of runs in one process
    python scripts/kill_runs.py --kills 20 --processes 2
    python scripts/kill_runs.py --keep /tmp/killed    the workspace stays

Run it with the engine's Python. One run of a tiny model is never disturbed; others of the same config get `kill -9`:
rlguide, the engine's process group, or both, at a random moment of their start or training, or within a checkpoint's
save. Each is resumed until it is finished. Printed are the kills by what was killed and what it did then, and how far
the adapters are from that of the undisturbed run: 0 in one process, that is the same bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from rlguide.engine.find import find_engine
from rlguide.engine.running import is_training
from rlguide.engine.worker import engine_environment, worker_command

WHOLE = "saves/whole"
SETTINGS = ("max_steps=-1", "num_train_epochs=3", "cutoff_len=64", "logging_steps=1", "save_steps=1",
            "eval_steps=6", "learning_rate=1e-3", "gradient_accumulation_steps=2", "lora_dropout=0.1",
            "save_total_limit=3")  # fmt: skip
WHOM = ("rlguide", "engine", "both")
DEADLINE = 300.0  # seconds for a training of some seconds


def main() -> None:
    """Make a workspace, train, kill, compare."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = options.keep or Path(name)
        root.mkdir(parents=True, exist_ok=True)
        bench = Bench(root, options.processes)
        bench.make()
        result = bench.kill_many(options.kills, random.Random(options.seed))
    print(json.dumps(result, indent=2))
    sys.exit(0 if result["largest difference"] <= (0 if options.processes == 1 else 1e-6) else 1)


class Bench:
    """A workspace with a tiny model and some pairs, and its trainings."""

    def __init__(self, root: Path, processes: int) -> None:
        self.root, self.engine = root, find_engine()
        several = {"FORCE_TORCHRUN": "1", "NPROC_PER_NODE": str(processes)} if processes > 1 else {}
        self.environment = {**os.environ, "HF_HUB_OFFLINE": "1", "RLGUIDE_ENGINE": str(self.engine.python), **several}
        self.seconds = 0.0

    def make(self) -> None:
        """The model, the data, an SFT adapter, and the run that is not disturbed."""
        command = worker_command(self.engine, "make_model", "--out", str(self.root / "models/tiny"), "--tiny")
        subprocess.run(command, check=True, env=engine_environment(self.engine), capture_output=True)
        rows = [{"instruction": f"{number} + {number}?", "chosen": f"Of course: {2 * number}.", "rejected": f"{number}"}
                for number in range(44)]  # fmt: skip
        (self.root / "pairs.json").write_text(json.dumps(rows), encoding="utf-8")
        self.finish(self.rlguide("register", "pairs.json", "--name", "polite", "--test-size", "0.25"))
        sft = ("train", "--method", "sft", "--base", "models/tiny", "--template", "qwen3_nothink", "-o", "saves/sft")
        self.finish(self.rlguide(*sft, "--dataset", "polite", "--set", "max_steps=4"))
        begun = time.monotonic()
        self.finish(self.rlguide(*self.training(WHOLE)))
        self.seconds = time.monotonic() - begun
        say(f"undisturbed: {self.seconds:.0f} s")

    def training(self, name: str) -> list[str]:
        """The command that trains into this folder."""
        settings = [word for setting in SETTINGS for word in ("--set", setting)]
        return ["train", "--sft-ckpt", "saves/sft", "--dataset", "polite", "-o", name, *settings]

    def rlguide(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start rlguide in the workspace; what it prints is added to rlguide.log."""
        with (self.root / "rlguide.log").open("ab") as log:
            command = [str(Path(sys.executable).with_name("rlguide")), *arguments]
            return subprocess.Popen(command, cwd=self.root, env=self.environment, stdout=log, stderr=log)

    def finish(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for its end, which must be a good one."""
        if process.wait(timeout=DEADLINE) != 0:
            raise SystemExit(f"rlguide failed: see {self.root / 'rlguide.log'}")

    def kill_many(self, kills: int, draw: random.Random) -> dict[str, Any]:
        """Runs that are killed and resumed, until there were so many kills."""
        counts: Counter[str] = Counter()
        differences, runs = [], 0
        while sum(counts.values()) < kills:
            name, runs = f"saves/killed-{runs}", runs + 1
            counts += self.kill_one(name, min(draw.randint(3, 10), kills - sum(counts.values())), draw)
            differences.append(difference(self.root / WHOLE, self.root / name))
            say(f"{name}: {sum(counts.values())} kills so far; largest difference {max(differences):g}")
        return {"kills": sum(counts.values()), "of": counts, "runs": runs, "largest difference": max(differences)}

    def kill_one(self, name: str, kills: int, draw: random.Random) -> Counter[str]:
        """Train into a folder with so many kills, then to the end; counts what was killed and what it did."""
        folder, counts = self.root / name, Counter[str]()
        for _ in range(kills):
            process, whom = self.go_on(name), draw.choice(WHOM)
            if draw.random() < 0.5:
                wait_for_save(process, folder)
                time.sleep(draw.uniform(0, 0.05))
            else:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(draw.uniform(0, self.seconds))
            if process.poll() is not None:  # it was done before
                break
            doing = self.kill(process, folder, whom)
            counts[f"{whom}, {doing}"] += 1
        if recorded(folder, "status") != "finished":
            self.finish(self.go_on(name))
        return counts

    def go_on(self, name: str) -> subprocess.Popen[bytes]:
        """Begin the run, or resume it, once nothing trains there any more."""
        folder = self.root / name
        wait_for(lambda: not is_training(folder, recorded(folder, "pid")))
        return self.rlguide(*(["train", "--resume", name] if (folder / "run.json").exists() else self.training(name)))

    def kill(self, process: subprocess.Popen[bytes], folder: Path, whom: str) -> str:
        """Kill -9; returns what it did: "start", "training" or "save"."""
        incomplete = any(not (path / "trainer_state.json").exists() for path in folder.glob("checkpoint-*"))
        doing = "save" if incomplete else "training" if checkpoints(folder) else "start"
        group = recorded(folder, "pid")
        if whom != "engine" or group is None:
            process.kill()
        if whom != "rlguide" and group is not None:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        process.wait(timeout=DEADLINE)
        return doing


def checkpoints(folder: Path) -> int:
    """The last step that a checkpoint's folder has, complete or not."""
    return max((int(path.name.split("-")[1]) for path in folder.glob("checkpoint-*[0-9]")), default=0)


def wait_for_save(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Until another checkpoint has a folder, or the process has ended."""
    before = checkpoints(folder)
    wait_for(lambda: checkpoints(folder) > before or process.poll() is not None)


def recorded(folder: Path, key: str) -> Any:
    """What the record of a run says, None before there is one."""
    try:
        return json.loads((folder / "run.json").read_text(encoding="utf-8"))[key]
    except (OSError, ValueError, KeyError):
        return None


def difference(one: Path, other: Path) -> float:
    """The largest absolute difference of two runs' adapters; 0 for the same bytes."""
    paths = [folder / "adapter_model.safetensors" for folder in (one, other)]
    if paths[0].read_bytes() == paths[1].read_bytes():
        return 0.0
    from safetensors.numpy import load_file

    first, second = map(load_file, paths)
    return max(float(abs(first[key] - second[key]).max()) for key in first)


def wait_for(condition: Callable[[], bool]) -> None:
    """Until it holds."""
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            raise SystemExit("nothing happened for too long")
        time.sleep(0.005)


def say(text: str) -> None:
    """To stderr."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
