"""How fast the command line starts, beside `import typer, rich` and other tools: medians and ratios.

    python scripts/bench_startup.py [--runs 15] [--limit 2.0]

Run it with the Python that has rlguide. With --limit it ends with exit code 1 if `rlguide --help` or `rlguide list`
takes more than that many times as long as importing typer and rich. Tools that are not installed are skipped.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
BASE = "python -c 'import typer, rich'"


def commands() -> dict[str, list[str]]:
    """What is measured, by the name that is printed; the first is what the others are compared with."""
    found = {BASE: [sys.executable, "-c", "import typer, rich"]}
    tools = (["rlguide", "--help"], ["rlguide", "list"], ["hf", "--help"], ["llamafactory-cli", "version"])
    for words in tools:
        program = shutil.which(words[0], path=PATH)
        if program is None:
            print(f"{words[0]} is not installed: skipped", file=sys.stderr)
        else:
            found[" ".join(words)] = [program, *words[1:]]
    return found


def measure(command: list[str], folder: Path) -> float:
    """Seconds of one run; its output is thrown away. Raises CalledProcessError if it fails."""
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def medians(runs: int) -> dict[str, float]:
    """Median seconds of each command. The runs of different commands alternate, so that a busy machine is fair."""
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        chosen = commands()
        for name, command in chosen.items():
            once = measure(command, Path(folder))  # fills the file cache; slow tools are not run often
            times[name] = [once] if once > 2.0 else []
        for _ in range(runs):
            for name, command in chosen.items():
                if len(times[name]) < (2 if times[name] and times[name][0] > 2.0 else runs):
                    times[name].append(measure(command, Path(folder)))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> int:
    """Print the table; 1 if a limit is given and broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=15, help="runs of each command")
    parser.add_argument("--limit", type=float, help="the largest ratio allowed for rlguide --help and rlguide list")
    options = parser.parse_args()
    result = medians(options.runs)
    for name, seconds in result.items():
        print(f"{name:<34} {seconds:8.3f} s {seconds / result[BASE]:8.2f} x")
    ours = [seconds / result[BASE] for name, seconds in result.items() if name.startswith("rlguide")]
    return int(options.limit is not None and max(ours, default=0.0) > options.limit)


if __name__ == "__main__":
    sys.exit(main())
