"""What `rlguide train` adds to `llamafactory-cli train`: the same tiny run, in turn, with and without it.

usage: python scripts/bench_train_wrapper.py [PAIRS]

Both train one rendered config in the same environment; the cached argument table is warmed first. Prints each
pair of runs, and the medians of each side and of the differences: by the clock, and in CPU time, which other programs
on the machine disturb less. Needs the engine; about 30 s a pair.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rlguide.engine.config_file import load_config
from rlguide.engine.find import Engine, find_engine
from rlguide.engine.worker import engine_environment, worker_command

RLGUIDE = str(Path(sys.executable).with_name("rlguide"))
SFT = "saves/tiny/lora/sft"
CONFIG = "configs/dpo_config.yaml"
SETTINGS = {"max_steps": 6, "cutoff_len": 64, "logging_steps": 1, "save_steps": 6, "eval_steps": 6}
SFT_CONFIG = {
    "model_name_or_path": "models/tiny",
    "stage": "sft",
    "do_train": True,
    "dataset": "sft",
    "dataset_dir": "data",
    "template": "qwen3_nothink",
    "finetuning_type": "lora",
    "output_dir": SFT,
    "max_steps": 1,
    "use_cpu": True,
    "report_to": "none",
}


@dataclass(frozen=True)
class Times:
    """Seconds of one run: by the clock, and of all its processes on the processors."""

    wall: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.wall:.2f} s (cpu {self.cpu:.2f} s)"


def main() -> None:
    """Prepare a workspace, then time both ways in turn."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    engine = find_engine()
    with tempfile.TemporaryDirectory(prefix="rlguide-bench-") as folder:
        root = Path(folder)
        environment = {**engine_environment(engine), "HF_HUB_OFFLINE": "1", "RLGUIDE_ENGINE": str(engine.python)}
        prepare(root, engine, environment)
        rlguide = {**environment, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
        train = [RLGUIDE, "train", "--config", CONFIG, "--output-dir"]
        plain: list[Times] = []
        guided: list[Times] = []
        for number in range(count):
            config = json.dumps({**load_config(root / CONFIG), "output_dir": f"saves/plain-{number}"})
            (root / "plain.yaml").write_text(config, encoding="utf-8")  # JSON is YAML
            plain.append(measure([str(engine.cli), "train", "plain.yaml"], root, environment))
            guided.append(measure([*train, f"saves/guided-{number}"], root, rlguide))
            print(f"llamafactory-cli {plain[-1]}   rlguide {guided[-1]}", flush=True)
    for name in ("wall", "cpu"):
        both = [[getattr(item, name) for item in times] for times in (plain, guided)]
        added = [with_it - without for without, with_it in zip(*both, strict=True)]
        sides = " and ".join(f"{median(side):.2f} s" for side in both)
        print(f"{name}: medians {sides}; rlguide adds {median(added):.2f} s")


def prepare(root: Path, engine: Engine, environment: dict[str, str]) -> None:
    """A tiny model, an SFT adapter, 60 registered pairs and a rendered config."""
    rlguide = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    call(worker_command(engine, "make_model", "--out", "models/tiny", "--tiny"), root, environment)
    pairs = [{"prompt": f"What is {n}?", "chosen": f"It is {n}.", "rejected": f"{n + 1}"} for n in range(60)]
    (root / "pairs.json").write_text(json.dumps(pairs), encoding="utf-8")
    call([RLGUIDE, "register", "pairs.json", "--name", "pairs", "--test-size", "0.2"], root, rlguide)
    rows = [{"instruction": row["prompt"], "output": row["chosen"]} for row in pairs]
    (root / "data/sft.json").write_text(json.dumps(rows), encoding="utf-8")
    info = json.loads((root / "data/dataset_info.json").read_text(encoding="utf-8"))
    info["sft"] = {"file_name": "sft.json", "columns": {"prompt": "instruction", "response": "output"}}
    (root / "data/dataset_info.json").write_text(json.dumps(info), encoding="utf-8")
    (root / "sft.yaml").write_text(json.dumps(SFT_CONFIG), encoding="utf-8")
    call([str(engine.cli), "train", "sft.yaml"], root, environment)
    settings = [item for key, value in SETTINGS.items() for item in ("--set", f"{key}={value}")]
    call([RLGUIDE, "configure", "--sft-ckpt", SFT, "--dataset", "pairs", *settings], root, rlguide)


def call(command: list[str], root: Path, environment: dict[str, str]) -> None:
    """Run to the end; the output of a failed command is printed."""
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])


def measure(command: list[str], root: Path, environment: dict[str, str]) -> Times:
    """Seconds of a command and all it waits for. Ends the script if it fails."""
    started = time.monotonic()
    with (root / "output").open("wb") as output:
        process = subprocess.Popen(command, cwd=root, env=environment, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit((root / "output").read_text(encoding="utf-8", errors="replace")[-2000:])
    return Times(time.monotonic() - started, usage.ru_utime + usage.ru_stime)


if __name__ == "__main__":
    main()
