#!/usr/bin/env python3
"""How fast `rlguide register` imports data, and how much memory it needs.

usage: bench_data.py [--folder DIR] [--rows 10000,100000,1000000] [--runs 3]

Makes data of three shapes (kept in DIR for the next run), then measures whole processes, from start to end:
  UltraFeedback  61,135 rows, about 430 MB, of Parquet and as JSON lines: against `datasets` map + to_json, which only
                 convert; rlguide checks every row, holds out, writes Parquet and registers. The two run in turns
  COIG-P         up to 1,000,000 Chinese pairs of about 4 kB: how time and memory grow with the rows
  short          as many short pairs, all of them different: `rlguide inspect` and the view for KTO
The baseline needs `datasets` in this Python or in $RLGUIDE_ENGINE. Prints seconds on the clock and of the processor,
peak memory, and their ratio: of several runs the median, and the highest peak.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ULTRAFEEDBACK_ROWS = 61_135  # train_prefs, dataset card of HuggingFaceH4/ultrafeedback_binarized
BATCH = 1000

BASELINE = """
import sys
import datasets
datasets.disable_progress_bars()
def convert(row):
    return {
        "conversations": [{"from": "human", "value": row["prompt"]}],
        "system": "",
        "chosen": {"from": "gpt", "value": row["chosen"][-1]["content"]},
        "rejected": {"from": "gpt", "value": row["rejected"][-1]["content"]},
    }
kind = "json" if sys.argv[1].endswith("jsonl") else "parquet"
rows = datasets.load_dataset(kind, data_files=sys.argv[1], split="train", cache_dir=sys.argv[2] + "/cache")
rows = rows.map(convert, remove_columns=rows.column_names)
rows.to_json(sys.argv[2] + "/out.jsonl", force_ascii=False)
"""


@dataclass(frozen=True)
class Measured:
    """One run of a process: seconds on the clock and of the processor, peak of resident memory in MB."""

    seconds: float
    processor: float
    peak: float

    def __str__(self) -> str:
        return f"{self.seconds:6.2f} s ({self.processor:5.2f} s of the processor), peak {self.peak:6.0f} MB"


class Ocean:
    """A long random text; slices of it are as good as new texts, and quickly made."""

    def __init__(self, words: list[str], separator: str, seed: int) -> None:
        self._random = random.Random(seed)
        self._text = separator.join(self._random.choices(words, k=2_000_000))

    def text(self, typical: float, spread: float) -> str:
        """A text whose length in characters is log-normal around `typical`."""
        length = min(30_000, max(8, round(typical * self._random.lognormvariate(0, spread))))
        start = self._random.randrange(len(self._text) - length)
        return self._text[start : start + length].strip() or "empty"


def english() -> Ocean:
    chance = random.Random(1)
    letters = "etaoinshrdlucmfwypvbgkqjxz"
    weights = [26 - at for at in range(26)]
    words = ["".join(chance.choices(letters, weights, k=chance.randrange(1, 11))) for _ in range(30_000)]
    return Ocean([*words, *(word + "." for word in words[:3000])], " ", 2)


def chinese() -> Ocean:
    chance = random.Random(3)
    characters = [chr(0x4E00 + chance.randrange(6000)) for _ in range(3000)]
    words = ["".join(chance.choices(characters, k=chance.randrange(1, 4))) for _ in range(30_000)]
    return Ocean([*words, *(word + "。" for word in words[:4000])], "", 4)


def ultrafeedback_rows(count: int) -> Iterator[dict[str, Any]]:
    ocean = english()
    for number in range(count):
        prompt, good, bad = ocean.text(540, 0.8), ocean.text(1100, 0.7), ocean.text(900, 0.8)
        asked = {"content": prompt, "role": "user"}
        chosen = [asked, {"content": good, "role": "assistant"}]
        yield {
            "prompt": prompt,
            "prompt_id": f"{number:064x}",
            "chosen": chosen,
            "rejected": [asked, {"content": bad, "role": "assistant"}],
            "messages": chosen,
            "score_chosen": 5.0 + number % 5,
            "score_rejected": 1.0 + number % 4,
        }


def coig_rows(count: int) -> Iterator[dict[str, Any]]:
    ocean = chinese()
    for _ in range(count):
        yield {
            "conversations": [{"from": "human", "value": ocean.text(100, 0.8)}],
            "chosen": {"from": "gpt", "value": ocean.text(550, 0.6)},
            "rejected": {"from": "gpt", "value": ocean.text(450, 0.7)},
        }


def short_rows(count: int) -> Iterator[dict[str, Any]]:
    """Pairs of some hundred characters, no two with the same prompt or response; every fifth is Chinese."""
    oceans = (chinese(), english(), english(), english(), english())
    scales = (0.3, 1, 1, 1, 1)  # a Chinese character says as much as three letters
    for number in range(count):
        ocean, scale = oceans[number % 5], scales[number % 5]
        prompt, good, bad = (ocean.text(scale * length, 0.6) for length in (80, 160, 140))
        yield {
            "prompt": f"{prompt} {number}?",
            "chosen": f"{good} {number}.",
            "rejected": f"{bad} {number}!",
            "score_chosen": 5.0 + number % 5,
            "score_rejected": 1.0 + number % 4,
        }


def make(path: Path, rows: Iterator[dict[str, Any]]) -> Path:
    """Write the rows to a Parquet file, unless it is there."""
    if not path.exists():
        print(f"making {path.name}", file=sys.stderr)
        partial = path.with_suffix(".partial")
        writer = None
        while batch := list(islice(rows, BATCH)):
            table = pa.Table.from_pylist(batch)
            writer = writer or pq.ParquetWriter(partial, table.schema)
            writer.write_table(table)
        assert writer is not None
        writer.close()
        partial.rename(path)
    return path


def as_lines(path: Path) -> Path:
    """The rows of a Parquet file as JSON lines, unless they are there."""
    lines = path.with_suffix(".jsonl")
    if not lines.exists():
        print(f"making {lines.name}", file=sys.stderr)
        partial = lines.with_suffix(".partial")
        with partial.open("w", encoding="utf-8") as output, pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH):
                output.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in batch.to_pylist())
        partial.rename(lines)
    return lines


def measure(command: list[str], folder: Path, work: str | None = None) -> Measured:
    """Run a process in a folder of its own, or in the one that is given."""
    with nullcontext(work) if work is not None else tempfile.TemporaryDirectory(dir=folder) as work:
        started = time.monotonic()
        filled = [part.replace("{work}", work) for part in command]
        # What is installed is compiled once; a checkout in an environment that forbids it would be at each start.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        process = subprocess.Popen(filled, cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
        assert process.stderr is not None
        told = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{' '.join(filled)} failed:\n{told.decode()[-2000:]}")
        return Measured(time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000)


def in_turns(commands: list[list[str]], folder: Path, runs: int) -> list[Measured]:
    """Median times and highest peak of each command. They take turns, so that what else the host does meets all."""
    measured = list(zip(*([measure(command, folder) for command in commands] for _ in range(runs)), strict=True))
    return [
        Measured(
            median(one.seconds for one in ones), median(one.processor for one in ones), max(one.peak for one in ones)
        )
        for ones in measured
    ]


def compare(rlguide: str, python: str | None, path: Path, folder: Path, runs: int) -> None:
    """Time `rlguide register` and the baseline on one file."""
    print(f"UltraFeedback shape: {ULTRAFEEDBACK_ROWS:,} rows, {path.name}, {path.stat().st_size / 1e6:.0f} MB")
    commands = [[rlguide, "register", str(path), "-w", "{work}"]]
    if python is not None:
        commands.append([python, "-c", BASELINE, str(path), "{work}"])
    in_turns(commands, folder, 1)  # not counted: compiles, and brings files into memory
    ours, *others = in_turns(commands, folder, runs)
    print(f"  rlguide register        {ours}")
    for baseline in others:
        print(f"  datasets map + to_json  {baseline}")
        times, memory = baseline.seconds / ours.seconds, baseline.peak / ours.peak
        print(f"  rlguide is {times:.1f} times as fast, with 1/{memory:.1f} of the memory")
    if not others:
        print("  datasets map + to_json  not measured: no `datasets` here; set RLGUIDE_ENGINE")


def python_with_datasets() -> str | None:
    """A Python that has `datasets`: this one, or the engine's."""
    engine = os.environ.get("RLGUIDE_ENGINE")
    candidates = [sys.executable, *([str(Path(engine) / "bin" / "python")] if engine else [])]
    found = "import importlib.util, sys; sys.exit(importlib.util.find_spec('datasets') is None)"
    return next((python for python in candidates if subprocess.run([python, "-c", found]).returncode == 0), None)


def measure_views(rlguide: str, folder: Path, count: int) -> None:
    """Import short pairs, inspect them and make their view for KTO."""
    path = make(folder / f"short-{count}.parquet", short_rows(count))
    with tempfile.TemporaryDirectory(dir=folder) as work:
        for words in (
            ["register", str(path), "--name", "short"],
            ["inspect", "short", "--json"],
            ["view", "short", "--use", "kto"],
        ):
            result = measure([rlguide, *words, "-w", work], folder, work)
            print(f"  {count:>9,} rows  rlguide {words[0]:<10}{result}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "rlguide-bench")
    parser.add_argument("--rows", default="10000,100000,1000000")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    rlguide = shutil.which("rlguide", path=str(Path(sys.executable).parent)) or "rlguide"

    path = make(options.folder / f"ultrafeedback-{ULTRAFEEDBACK_ROWS}.parquet", ultrafeedback_rows(ULTRAFEEDBACK_ROWS))
    python = python_with_datasets()
    for source in (path, as_lines(path)):
        compare(rlguide, python, source, options.folder, options.runs)

    print("COIG-P shape: how the cost grows with the rows")
    first = None
    for count in map(int, options.rows.split(",")):
        path = make(options.folder / f"coig-{count}.parquet", coig_rows(count))
        result = measure([rlguide, "register", str(path), "-w", "{work}"], options.folder)
        first = first or (count, result)
        growth = f"{count / first[0]:5.0f} x rows: {result.seconds / first[1].seconds:5.1f} x time, "
        growth += f"{result.peak / first[1].peak:4.2f} x memory"
        print(f"  {count:>9,} rows ({path.stat().st_size / 1e6:5.0f} MB)  {result}   {growth}")

    print("short pairs, all different: what looks at every row again")
    for count in map(int, options.rows.split(",")):
        measure_views(rlguide, options.folder, count)


if __name__ == "__main__":
    main()
