"""What a person sees while the engine trains: a live panel on a terminal, plain lines elsewhere (stderr)."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING

from rlguide.console import console, say
from rlguide.engine.events import Begun, Progress
from rlguide.engine.job import Event, Idle, Line
from rlguide.runs.metrics import without_ties

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live


# (key in the metrics, its name on screen, its format)
_SHOWN = (
    ("loss", "loss", "{:.4f}"),
    ("rewards/accuracies", "reward accuracy", "{:.2f}"),
    ("rewards/chosen", "chosen", "{:+.3f}"),
    ("rewards/rejected", "rejected", "{:+.3f}"),
    ("rewards/margins", "margin", "{:+.3f}"),
    ("kl", "KL", "{:.3f}"),
    ("reward", "reward", "{:+.3f}"),
    ("learning_rate", "lr", "{:.1e}"),
    ("eval_loss", "held-out loss", "{:.4f}"),
    ("eval_rewards/accuracies", "held-out accuracy", "{:.2f}"),
    ("eval_accuracy", "held-out accuracy", "{:.2f}"),
    ("eval_rewards/margins", "held-out margin", "{:+.3f}"),
)

# What the engine is doing before the first step, as its log shows.
_PHASES = (
    (re.compile(r"Running tokenizer|Converting format"), "tokenizing the data"),
    (re.compile(r"Loading dataset"), "loading the data"),
    (re.compile(r"[Ll]oading (?:weights|checkpoint|configuration)|Loading checkpoint shards"), "loading the model"),
    (re.compile(r"Merged \d+ adapter|Loaded adapter"), "merging the SFT adapter"),
)


class TrainingView:
    """Shows phase, progress, time left and the latest metrics. A context manager."""

    def __init__(self, title: str, total_steps: int, start_step: int = 0) -> None:
        self.title, self.total, self.step = title, total_steps, start_step
        self.phase = "starting the engine (its imports take about 10 s)"
        self._start_step = start_step
        self._begin = time.monotonic()
        self._first_step: float | None = None
        self._metrics: dict[str, float] = {}
        self._live: Live | None = None
        self._last_line = time.monotonic()

    def __enter__(self) -> TrainingView:
        if console(stderr=True).is_terminal:
            from rich.live import Live

            self._live = Live(self._render(), console=console(stderr=True), refresh_per_second=4, transient=True)
            self._live.__enter__()
        else:
            say(f"{self.title}: {self.phase}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.__exit__(kind, value, trace)

    def handle(self, event: Event) -> None:
        """Show what the engine does; its metrics come through `metrics`, with their step."""
        if isinstance(event, Idle):
            self._tick()
        elif isinstance(event, Line):
            self._read(event.text)
        elif isinstance(event, Begun):
            self._enter("training")
        elif isinstance(event, Progress) and event.phase == "train":
            self.progress(event.done, event.total)

    def _tick(self) -> None:
        """Redraw (elapsed time moves on), or in a pipe say every 30 s that it is alive."""
        if self._live:
            self._live.update(self._render())
        elif time.monotonic() - self._last_line > 30:
            self._line(f"{self._position()}  {self.phase}, {_clock(time.monotonic() - self._begin)} since the start")

    def _read(self, line: str) -> None:
        """Recognize the phase in a line of the engine's log."""
        for pattern, phase in _PHASES if self.phase != "training" else ():
            if pattern.search(line):
                self._enter(phase)

    def _enter(self, phase: str) -> None:
        if phase != self.phase:
            self.phase = phase
            if not self._live:
                self._line(f"{self.title}: {phase}")

    def progress(self, step: int, total: int) -> None:
        """The engine has done this many optimizer steps."""
        if self._first_step is None and step > self._start_step:
            self._first_step = time.monotonic()
            self._start_step = step
        self.step, self.total = max(self.step, step), total

    def metrics(self, row: Mapping[str, float]) -> None:
        """New numbers, with their `step`."""
        self.step = max(self.step, int(row.get("step", 0)))
        self._metrics.update(row)
        self._metrics = without_ties(self._metrics)
        if not self._live:
            self._line(f"{self._position()}  {describe(row)}{self._left_text()}")

    def note(self, message: str) -> None:
        """A line that stays on screen."""
        if self._live:
            self._live.console.print(message, markup=False)
        else:
            self._line(message)

    def _line(self, text: str) -> None:
        self._last_line = time.monotonic()
        say(text)

    def _position(self) -> str:
        return f"step {self.step}/{self.total}"

    def seconds_left(self) -> float | None:
        """Time left at the rate since the first step, None before the second."""
        if self._first_step is None or self.step <= self._start_step:
            return None
        rate = (time.monotonic() - self._first_step) / (self.step - self._start_step)
        return rate * (self.total - self.step)

    def _left_text(self) -> str:
        left = self.seconds_left()
        return "" if left is None else f"  left {_clock(left)}"

    def _render(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        elapsed = _clock(time.monotonic() - self._begin)
        head = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=max(self.total, 1), completed=self.step, width=36)
        head.add_row(Spinner("dots"), Text(self.title), bar, Text(f"{self._position()}  {elapsed}{self._left_text()}"))
        numbers = Table.grid(padding=(0, 3))
        for group in ("", "eval_"):
            cells = [Text(f"{n} {f.format(self._metrics[k])}") for k, n, f in _SHOWN if self._has(k, group)]
            if cells:
                numbers.add_row(*cells)
        return Group(head, numbers if numbers.row_count else Text(f"  {self.phase}", style="dim"))

    def _has(self, key: str, group: str) -> bool:
        return key in self._metrics and key.startswith("eval_") == bool(group)


def describe(row: Mapping[str, float]) -> str:
    """The known metrics of a row as "name value", two spaces apart."""
    return "  ".join(f"{name} {form.format(row[key])}" for key, name, form in _SHOWN if key in without_ties(row))


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=int(seconds)))
