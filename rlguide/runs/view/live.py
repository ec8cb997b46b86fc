"""What a person sees while a run trains: the whole screen of a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from rlguide.console import console, say, show
from rlguide.engine.events import Logged
from rlguide.engine.job import Event
from rlguide.runs.diagnosis.finding import finding_lines
from rlguide.runs.view.screen import Curves, lines_of, screen
from rlguide.runs.view.state import STARTING, RunState
from rlguide.runs.view.words import clock, figures

if TYPE_CHECKING:
    from rich.live import Live

_REDRAW = 0.25  # seconds
_ALIVE = 30.0  # seconds after which a pipe is told that the run goes on


class TrainingView:
    """Shows the state of a run as it changes. A context manager.

    It draws on the other screen of the terminal, as editors do: a change of its size leaves no old line behind, and
    what was there before comes back at the end, and for `train` the notes below it.

    Args:
        on_stdout: whether what is shown is data, as `watch` prints it; else it goes to stderr.
    """

    def __init__(self, state: RunState, on_stdout: bool = False) -> None:
        self.state = state
        self._console = console(stderr=not on_stdout)
        self._keeps_notes = not on_stdout
        self._print: Callable[[str], None] = show if on_stdout else say
        self._live: Live | None = None
        self._noted = len(state.notes)
        self._drawn = self._said = state.now()
        self._said_rules: set[str] = set()
        self._size = (0, 0)
        self._phase = state.phase
        self._curves = None if self._console.options.ascii_only else Curves()

    def __enter__(self) -> TrainingView:
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            from rich.live import Live

            self._live = Live(console=self._console, screen=True, auto_refresh=False)
            self._live.__enter__()
            self._draw()
        elif not self._keeps_notes:
            for line in lines_of(self.state):
                self._line(line)
            self._said_rules = {finding.rule for finding in self.state.findings}
        elif self.state.phase == STARTING:
            self._line(f"{self.state.name}: {self.state.phase}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._console.clear()  # tmux would leave some of it behind where its size has changed
            self._live.__exit__(kind, value, trace)
            self._live = None
            for note in self.state.notes if self._keeps_notes else ():
                self._print(note)

    def handle(self, event: Event) -> None:
        """Take what happened into the state, and show it."""
        self.state.see(event)
        if self._live:
            if self.state.now() - self._drawn >= _REDRAW or self._size != self._console.size:
                self._draw()
            return
        if isinstance(event, Logged) and event.kind != "summary" and self.state.rows:
            row = {key: value for key, value in self.state.rows[-1].items() if key in event.values or "token" in key}
            self._line("  ".join([self.state.position(), *figures(row), *self._left()]))
        elif self.state.phase != self._phase and self.state.step == 0:
            self._line(f"{self.state.name}: {self.state.phase}")
        elif self.state.now() - self._said > _ALIVE:
            since = f"{clock(self.state.elapsed())} since the start"
            self._line("  ".join([self.state.position(), f"{self.state.doing()}, {since}", *self._left()]))
        self._phase = self.state.phase
        self._say_notes()
        if isinstance(event, Logged):
            self._say_findings()

    def note(self, message: str) -> None:
        """A line that stays when the view is gone."""
        self.state.notes.append(message)
        if self._live:
            self._draw()
        else:
            self._say_notes()

    def _say_notes(self) -> None:
        for note in self.state.notes[self._noted :]:
            self._line(note)
        self._noted = len(self.state.notes)

    def _say_findings(self) -> None:
        """What is found for the first time."""
        for finding in self.state.findings:
            if finding.rule not in self._said_rules:
                self._said_rules.add(finding.rule)
                for line in finding_lines(finding):
                    self._line(line)

    def _left(self) -> list[str]:
        left = self.state.left()
        return [] if left is None else [f"left {clock(left)}"]

    def _line(self, text: str) -> None:
        self._said = self.state.now()
        self._print(text)

    def _draw(self) -> None:
        assert self._live is not None
        width, height = self._console.size
        if (width, height) != self._size:
            self._console.clear()  # what stood beside a smaller screen
        self._size, self._drawn = (width, height), self.state.now()
        self._live.update(screen(self.state, width, height, self._curves), refresh=True)
