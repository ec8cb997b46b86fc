"""Read what LLaMA-Factory prints: progress bars, logged metrics, and the cause of a failure."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Any

# tqdm: " 12%|█▏   | 6/50 [00:10<01:20,  1.8s/it]", with "name: " in front for anything but the trainer's own bars.
_BAR = re.compile(r"^(?P<name>.*?)\s*(?P<percent>\d{1,3})%\|[^|]*\|\s*(?P<done>\d+)/(?P<total>\d+) \[")
_TOTAL = re.compile(r"Total (?:optimization|training) steps = ([\d,]+)")
_BARE_NAN = re.compile(r"(?<=: )-?(?:nan|inf)(?=[,}])")
_DICT = re.compile(r"\{'[^{}]*\}")


@dataclass(frozen=True)
class Progress:
    """`done` of `total`. `phase`: "train" (optimizer steps), "eval" (batches), or the name the engine prints."""

    phase: str
    done: int
    total: int


@dataclass(frozen=True)
class Logged:
    """One dictionary of metrics, as the trainer printed it. Numbers only."""

    values: dict[str, float]

    @property
    def kind(self) -> str:
        """ "train" (has `loss`), "eval" (has `eval_loss`) or "summary" (the end of train)."""
        if "train_runtime" in self.values:
            return "summary"
        return "eval" if any(key.startswith("eval_") for key in self.values) else "train"


class OutputParser:
    """Turns lines into events; remembers which of the unnamed bars is the trainer's and which an evaluation's."""

    def __init__(self) -> None:
        self.total_steps: int | None = None
        self._phase = "train"

    def feed(self, line: str) -> list[Progress | Logged]:
        """The events in one line: there may be a metrics dictionary behind a progress bar."""
        if match := _TOTAL.search(line):
            self.total_steps = int(match.group(1).replace(",", ""))
        if "Running Evaluation" in line:
            self._phase = "eval"
        elif "Running training" in line or "Saving model checkpoint" in line:
            self._phase = "train"
        events: list[Progress | Logged] = []
        if match := _BAR.search(line):
            events.append(self._progress(match))
        if (values := parse_metrics(line)) is not None:
            logged = Logged(values)
            if logged.kind == "eval":
                self._phase = "train"
            events.append(logged)
        return events

    def _progress(self, match: re.Match[str]) -> Progress:
        name = match["name"].strip().rstrip(":")
        done, total = int(match["done"]), int(match["total"])
        if name:
            return Progress(name, done, total)
        return Progress("train" if self._phase == "train" and total == self.total_steps else "eval", done, total)


def parse_metrics(line: str) -> dict[str, float] | None:
    """The metrics dictionary in a line, or None. Values that are no numbers are left out; 'nan' stays NaN."""
    match = _DICT.search(line)
    if match is None:
        return None
    text = _BARE_NAN.sub(r"'\g<0>'", match.group())
    try:
        value: Any = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if not isinstance(value, dict) or not (
        {"loss", "train_runtime"} & set(value) or any("eval_" in str(k) for k in value)
    ):
        return None
    numbers: dict[str, float] = {}
    for key, item in value.items():
        if isinstance(item, (int, float, str)) and not isinstance(item, bool):
            try:
                numbers[str(key)] = float(item)
            except ValueError:
                continue
    return numbers
