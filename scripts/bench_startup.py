"""What starting the command line costs: CPU time beside `import typer, rich`, as medians and ratios.

    python scripts/bench_startup.py [--runs 15] [--limit 2.0]

Run it with the Python that has rlguide. CPU time is user and system time of the process and all it started, so a busy
machine does not change it much. With --limit it ends with exit code 1 if any command of rlguide takes more than that
many times as long as importing typer and rich. Tools that are not installed are skipped.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rlguide.cli import COMMANDS

PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
BASE = "python -c 'import typer, rich'"
LIGHT = (["list"], ["methods"], ["explain", "dpo"], ["checkpoints"])


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


def cpu_seconds(command: list[str], folder: Path) -> float:
    """CPU seconds of one run; its output is thrown away. Raises CalledProcessError if it fails."""
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return usage.ru_utime + usage.ru_stime


def medians(runs: int) -> dict[str, float]:
    """Median CPU seconds of each command. The runs of different commands alternate: what slows one slows all."""
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        chosen = commands()
        for command in chosen.values():
            cpu_seconds(command, Path(folder))  # fills the file cache, writes bytecode
        for _ in range(runs):
            for name, command in chosen.items():
                times.setdefault(name, []).append(cpu_seconds(command, Path(folder)))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> int:
    """Print the table; 1 if a limit is given and broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=15, help="runs of each command")
    parser.add_argument("--limit", type=float, help="the largest ratio allowed for a command of rlguide")
    options = parser.parse_args()
    result = medians(options.runs)
    for name, seconds in result.items():
        print(f"{name:<34} {1000 * seconds:6.0f} ms {seconds / result[BASE]:8.2f} x")
    ours = {name: seconds / result[BASE] for name, seconds in result.items() if name.startswith("rlguide")}
    too_slow = [name for name, ratio in ours.items() if options.limit is not None and ratio > options.limit]
    if too_slow:
        print(f"above {options.limit} x: {', '.join(too_slow)}", file=sys.stderr)
    return int(bool(too_slow))


if __name__ == "__main__":
    sys.exit(main())
