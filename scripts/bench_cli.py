"""What the command line costs: its start, and a training by `rlguide train` beside `llamafactory-cli train`.

    python scripts/bench_cli.py                             both
    python scripts/bench_cli.py start [--runs 15] [--limit 2.0]
    python scripts/bench_cli.py train [--runs 5] [--epochs 1] [--check]

Run it with the Python that has rlguide and the engine.

start: CPU time beside `import typer, rich`, as medians and ratios. CPU time is user and system time of the process and
all it started, so a busy machine does not change it much. With --limit it ends with exit code 1 if any command of
rlguide takes more than that many times as long as importing typer and rich. Tools that are not installed are skipped.

train: wall and CPU time of the whole command on the same config, in turn: llamafactory-cli, rlguide with
--plain (which does the same work), rlguide. The model has SmolLM2-135M's shapes, but 2 layers, and random weights
(bench_train.py), so that most of the time is what a wrapper could add to.
With --check it ends with exit code 1 if the median of the differences in pairs, with --plain, is above 1 s and 1 %, or
the adapters are not the same bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench_train import CONFIG, make_workspace

from rlguide.cli import COMMANDS

PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
BASE = "python -c 'import typer, rich'"
ENGINE = "engine"
WAYS = {
    ENGINE: ("llamafactory-cli", "train"),
    "plain": ("rlguide", "train", "--plain", "--config"),
    "rlguide": ("rlguide", "train", "--config"),
}
LENGTH, VOCABULARY = 160, 49152  # tokens of a response with its prompt; SmolLM2's
LIGHT = (["list"], ["methods"], ["recipes"], ["explain", "dpo"], ["checkpoints"])


def commands() -> dict[str, list[str]]:
    """What is measured, by the name that is printed; the first is what the others are compared with."""
    found = {BASE: [sys.executable, "-c", "import typer, rich"]}
    helps = [["--help"], *([name, "--help"] for name in COMMANDS)]
    for words in (*(["rlguide", *words] for words in (*helps, *LIGHT)), ["hf", "--help"]):
        program = shutil.which(words[0], path=PATH)
        if program is None:
            print(f"{words[0]} is not installed: skipped", file=sys.stderr)
        else:
            found[" ".join(words)] = [program, *words[1:]]
    return found


@dataclass(frozen=True)
class Times:
    """Seconds of one run: by the clock, and of all its processes on the processors."""

    wall: float
    cpu: float


def measure(command: list[str], folder: Path) -> Times:
    """Seconds of a command and all it waits for. Raises SystemExit with the end of what it said if it fails."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"{command}: {said.read().decode(errors='replace')[-3000:]}")
    return Times(time.perf_counter() - began, usage.ru_utime + usage.ru_stime)


def medians(runs: int) -> dict[str, float]:
    """Median CPU seconds of each command. The runs of different commands alternate: what slows one slows all."""
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        chosen = commands()
        for command in chosen.values():
            measure(command, Path(folder))  # fills the file cache, writes bytecode
        for _ in range(runs):
            for name, command in chosen.items():
                times.setdefault(name, []).append(measure(command, Path(folder)).cpu)
    return {name: statistics.median(values) for name, values in times.items()}


def trainings(folder: Path, runs: int, epochs: int) -> dict[str, list[Times]]:
    """What each way to train the same config takes, in turn; each round begins with another way."""
    scripts = Path(sys.executable).parent
    taken: dict[str, list[Times]] = {way: [] for way in WAYS}
    for way in WAYS:
        config = {**CONFIG, "num_train_epochs": epochs, "cutoff_len": LENGTH, "output_dir": f"runs/{way}"}
        (folder / f"{way}.yaml").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    for number in range(runs + 1):
        turn = number % len(WAYS)
        for way in (*list(WAYS)[turn:], *list(WAYS)[:turn]):
            program, *arguments = WAYS[way]
            times = measure([str(scripts / program), *arguments, f"{way}.yaml"], folder)
            print(f"{way:<8} {times.wall:6.2f} s (cpu {times.cpu:.2f} s)", file=sys.stderr, flush=True)
            if number:  # the first fills caches
                taken[way].append(times)
    return taken


def show_trainings(taken: dict[str, list[Times]], is_same: bool) -> bool:
    """Print the medians as a table; whether the wrapper costs at most 1 s and 1 % and changes nothing."""
    print("| | Wall | More, in pairs | CPU | More, in pairs |\n|---|---|---|---|---|")
    more = {}
    for way, (program, *arguments) in WAYS.items():
        cells = [" ".join([program, *arguments]).removesuffix(" --config")]
        for kind in ("wall", "cpu"):
            ours, engine = ([getattr(one, kind) for one in taken[name]] for name in (way, ENGINE))
            differences = [one - other for one, other in zip(ours, engine, strict=True)]
            more[way, kind] = statistics.median(differences)
            spread = f" ({min(differences):+.2f} to {max(differences):+.2f})" if way != ENGINE else ""
            cells += [f"{statistics.median(ours):.2f} s", f"{more[way, kind]:+.2f} s{spread}" if spread else ""]
        print(f"| {' | '.join(cells)} |")
    is_cheap = more["plain", "wall"] <= 1 + 0.01 * statistics.median(one.wall for one in taken[ENGINE])
    print(f"\nat most 1 s and 1 % more, with --plain: {'yes' if is_cheap else 'NO'}")
    print(f"the same adapters: {'yes' if is_same else 'NO'}")
    return is_cheap and is_same


def bench_train(options: argparse.Namespace) -> int:
    """Time trainings; 1 if --check is given and broken."""
    os.environ.update(HF_HUB_OFFLINE="1", CUDA_VISIBLE_DEVICES="", RLGUIDE_ENGINE=sys.executable)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_workspace(folder, VOCABULARY, LENGTH, options.pairs, options.layers)
        taken = trainings(folder, options.runs or 5, options.epochs)
        adapters = {(folder / "runs" / way / "adapter_model.safetensors").read_bytes() for way in taken}
    return int(not show_trainings(taken, len(adapters) == 1) and options.check)


def bench_start(options: argparse.Namespace) -> int:
    """Time starts and print the table; 1 if a limit is given and broken."""
    result = medians(options.runs or 15)
    for name, seconds in result.items():
        print(f"{name:<34} {1000 * seconds:6.0f} ms {seconds / result[BASE]:8.2f} x")
    ours = {name: seconds / result[BASE] for name, seconds in result.items() if name.startswith("rlguide")}
    too_slow = [name for name, ratio in ours.items() if options.limit is not None and ratio > options.limit]
    if too_slow:
        print(f"above {options.limit} x: {', '.join(too_slow)}", file=sys.stderr)
    return int(bool(too_slow))


def main() -> int:
    """Print what was asked for; 1 if a limit is broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="?", choices=["start", "train"], help="both by default")
    parser.add_argument("--runs", type=int, help="runs of each command; 15 starts or 5 trainings")
    parser.add_argument("--limit", type=float, help="the largest ratio allowed for the start of a command of rlguide")
    parser.add_argument("--pairs", type=int, default=8, help="that a training has; 8 by default")
    parser.add_argument("--layers", type=int, default=2, help="of the model; 2 by default, SmolLM2-135M has 30")
    parser.add_argument("--epochs", type=int, default=1, help="of a training; 1 by default")
    parser.add_argument("--check", action="store_true", help="exit code 1 if the wrapper costs more than it may")
    options = parser.parse_args()
    code = 0 if options.what == "train" else bench_start(options)
    return code if options.what == "start" else max(code, bench_train(options))


if __name__ == "__main__":
    sys.exit(main())
