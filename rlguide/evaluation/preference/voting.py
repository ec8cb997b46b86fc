"""Votes in a terminal with single keys, or in a pipe by lines; blind: neither names nor results are shown before."""

from __future__ import annotations

import hashlib
import os
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rlguide.console import cleaned, console, say
from rlguide.evaluation.comparison.record import Compared
from rlguide.evaluation.preference.votes import Choice, Vote, add_vote, election, read_votes

Action = Literal["left", "right", "tie", "skip", "undo", "result", "quit"]
_KEYS: dict[str, Action] = {
    **dict.fromkeys(("l", "1", "left", "\x1b[D", "\x1bOD"), "left"),
    **dict.fromkeys(("r", "2", "right", "\x1b[C", "\x1bOC"), "right"),
    **dict.fromkeys(("t", "0", "tie", "\x1b[B", "\x1bOB"), "tie"),
    **dict.fromkeys(("s", "skip"), "skip"),
    **dict.fromkeys(("u", "undo", "\x7f", "\x08"), "undo"),
    **dict.fromkeys(("w", "result"), "result"),
    **dict.fromkeys(("q", "quit", "\x04", ""), "quit"),
}
_HELP = "l or ← left better, r or → right better, t tie, s skip, u undo, w win rate so far, q quit"
_NARROWEST = 34  # cells of a column


@dataclass(frozen=True)
class Booth:
    """Where one person votes on a model against another one.

    Attributes:
        seed: of the order of the prompts and of the sides; recorded with every vote.
    """

    folder: Path
    records: Sequence[Compared]
    model: str
    other: str
    voter: str
    seed: int = 0

    def ballot(self) -> list[Compared]:
        """The pairs in the order in which this voter sees them; those whose responses are equal are left out."""
        found = {
            record.key(self.model, self.other): record
            for record in self.records
            if record.responses[self.model].text != record.responses[self.other].text
        }
        keys = sorted(found)
        random.Random(f"{self.seed} {self.voter}").shuffle(keys)
        return [found[key] for key in keys]

    def left(self, record: Compared) -> Literal["model", "other"]:
        """Which model stands on the left: as if thrown for each pair and voter, and the same when it is seen again."""
        text = f"{self.seed} {self.voter} {record.key(*sorted((self.model, self.other)))}"
        first = min(self.model, self.other) if hashlib.sha256(text.encode()).digest()[0] % 2 else None
        first = first or max(self.model, self.other)
        return "model" if first == self.model else "other"

    def vote(self, next_action: Callable[[], Action | None]) -> None:
        """Ask for a vote on each pair that has none of this voter yet.

        Args:
            next_action: gives what the person did, None for something that means nothing.

        Raises:
            RlguideError: a vote cannot be written.
        """
        ballot = self.ballot()
        keys = [record.key(self.model, self.other) for record in ballot]
        done = self._done(keys)
        say(_HELP)
        while len(done) < len(ballot):
            at = next(place for place, key in enumerate(keys) if key not in done)
            show_pair(ballot[at], self._names(ballot[at]), f"{len(done) + 1} of {len(ballot)}")
            action = next_action()
            while action is None:
                say(_HELP)
                action = next_action()
            if action == "quit":
                break
            if action == "result":
                self._say_result()
            elif action == "undo":
                self._undo(ballot, keys, done)
            else:
                self._add(ballot[at], self._choice(ballot[at], action))
                done.append(keys[at])
        left = len(ballot) - len(done)
        say(f"{left} pairs are left; the same command continues with them" if left else "all pairs have a vote")

    def _done(self, keys: Sequence[str]) -> list[str]:
        votes = read_votes(self.folder, self.model, self.other)
        return [key for voter, key in votes if voter == self.voter and key in set(keys)]

    def _undo(self, ballot: Sequence[Compared], keys: Sequence[str], done: list[str]) -> None:
        if not done:
            return say("there is no vote to undo")
        self._add(ballot[keys.index(done.pop())], "undo")
        return say("undone")

    def _choice(self, record: Compared, action: Action) -> Choice:
        if action == "tie":
            return "tie"
        if action == "skip":
            return "skip"
        return "model" if (action == "left") == (self.left(record) == "model") else "other"

    def _add(self, record: Compared, choice: Choice) -> None:
        key = record.key(self.model, self.other)
        add_vote(self.folder, Vote(key, self.voter, choice, self.model, self.other, self.left(record), self.seed))

    def _names(self, record: Compared) -> tuple[str, str]:
        return (self.model, self.other) if self.left(record) == "model" else (self.other, self.model)

    def _say_result(self) -> None:
        keys = [record.key(self.model, self.other) for record in self.records]
        for sentence in election(self.folder, keys, self.model, self.other).sentences():
            say(sentence)


def show_pair(record: Compared, names: tuple[str, str], place: str) -> None:
    """A prompt with two responses, left and right, without the names of the models (stderr: votes are no data)."""
    from rich.text import Text

    screen = console(stderr=True)
    screen.rule(Text(place))
    for message in record.prompt:
        role = "prompt" if message is record.prompt[-1] else message["role"]
        screen.print(Text(f"{role}: ", style="bold").append(cleaned(message["content"]), style="not bold"))
    texts = [Text(cleaned(record.responses[name].text) or "(empty)") for name in names]
    if sys.stderr.isatty() and screen.width >= 2 * _NARROWEST + 3:
        screen.print(_side_by_side(texts))
        return
    for side, text in zip(("left", "right"), texts, strict=True):
        screen.print(Text(f"{side}:", style="bold cyan"))
        screen.print(text)


def _side_by_side(texts: Sequence[Any]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False, padding=(0, 1))
    for side in ("left", "right"):
        table.add_column(side, ratio=1, overflow="fold", header_style="bold cyan")
    table.add_row(*texts)
    return table


@contextmanager
def actions() -> Iterator[Callable[[], Action | None]]:
    """What gives the next action of the person: a key on a terminal, a line in a pipe; its end is quitting."""
    if not sys.stdin.isatty():
        yield lambda: _KEYS.get(line.strip().lower() or " ") if (line := sys.stdin.readline()) else "quit"
        return
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        pressed = _pressed(descriptor)
        yield lambda: next(pressed)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _pressed(descriptor: int) -> Iterator[Action | None]:
    """The actions of the keys; several that came at once, such as those of somebody fast, each count."""
    while True:
        got = os.read(descriptor, 64).decode("utf-8", "replace")
        if not got:
            yield "quit"
        while got:
            size = 3 if got[:2] in ("\x1b[", "\x1bO") and len(got) >= 3 else 1
            key, got = got[:size], got[size:]
            yield _KEYS.get(key if size == 3 else key.lower())
