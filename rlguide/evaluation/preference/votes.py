"""Votes of people on pairs of responses: a file of lines that is only added to, and what the votes come to."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from rlguide.errors import RlguideError
from rlguide.evaluation.preference.outcome import Outcome
from rlguide.statistics import Proportion, proportion, wins

VOTES = "votes.jsonl"
Choice = Literal["model", "other", "tie", "skip", "undo"]
_CHOICES: dict[Any, Choice] = {"model": "model", "other": "other", "tie": "tie", "skip": "skip", "undo": "undo"}
_MARGINS = {"model": 1.0, "tie": 0.0, "other": -1.0}


@dataclass(frozen=True)
class Vote:
    """One vote.

    Attributes:
        key: of the record and the two models (`Compared.key`).
        model, other: their short names; `choice` is in terms of them. "undo" takes back the voter's vote on the pair.
        left: which of them stood on the left; `seed`: of the order.
    """

    key: str
    voter: str
    choice: Choice
    model: str
    other: str
    left: Literal["model", "other"]
    seed: int


def add_vote(folder: Path, vote: Vote) -> None:
    """Add a vote to the file. It is on the disk when this returns; a line that a kill left unfinished stays alone.

    Raises:
        RlguideError: it cannot be written.
    """
    path = folder / VOTES
    try:
        with path.open("ab") as file:
            # In one write, begun with a line end: what was cut before cannot take this line with it.
            file.write(b"\n" + json.dumps(asdict(vote)).encode("ascii") + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise RlguideError(
            f"cannot write {path}: {error.strerror}", "free some space, then run the same command again"
        ) from None


def read_votes(folder: Path, model: str, other: str) -> dict[tuple[str, str], Vote]:
    """The votes on these two models that stand, by (voter, key), in the order in which they were given.

    Damaged lines are left out; a later vote takes the place of an earlier one.
    """
    try:
        lines = (folder / VOTES).read_bytes().split(b"\n")
    except OSError:
        return {}
    found: dict[tuple[str, str], Vote] = {}
    for line in lines:
        try:
            vote = _vote_of(json.loads(line))
        except (ValueError, RecursionError):
            continue
        if vote is None or {vote.model, vote.other} != {model, other}:
            continue
        found.pop((vote.voter, vote.key), None)
        if vote.choice != "undo":
            found[vote.voter, vote.key] = vote
    return found


def _vote_of(value: Any) -> Vote | None:
    if not isinstance(value, Mapping):
        return None
    texts = [value.get(name) for name in ("key", "voter", "model", "other")]
    choice, left, seed = value.get("choice"), value.get("left"), value.get("seed")
    if not isinstance(choice, str) or choice not in _CHOICES or left not in ("model", "other"):
        return None
    if not isinstance(seed, int) or not all(isinstance(text, str) for text in texts):
        return None
    key, voter, model, other = map(str, texts)
    return Vote(key, voter, _CHOICES[choice], model, other, "model" if left == "model" else "other", seed)


@dataclass(frozen=True)
class Election:
    """What the votes on a model against another one come to.

    Attributes:
        votes: those that stand, on pairs that are in the comparison.
        pairs: how many that are.
    """

    model: str
    other: str
    votes: Sequence[Vote]
    pairs: int

    @property
    def decided(self) -> list[Vote]:
        """Without those that were skipped."""
        return [vote for vote in self.votes if vote.choice != "skip"]

    def margins(self) -> dict[str, float]:
        """Of each pair the mean of its votes: 1 where all are for the model, -1 where all are against it."""
        given: dict[str, list[float]] = {}
        for vote in self.decided:
            margin = _MARGINS[vote.choice]
            given.setdefault(vote.key, []).append(margin if vote.model == self.model else -margin)
        return {key: sum(values) / len(values) for key, values in given.items()}

    @property
    def win_rate(self) -> Proportion | None:
        """Over the pairs that were voted on; of several voters the majority counts, and a draw is a tie."""
        margins = self.margins()
        return wins(list(margins.values()))[0] if margins else None

    def agreement(self) -> Proportion | None:
        """The share of pairs of votes by two voters on the same pair that are equal; None without any."""
        given: dict[str, dict[str, float]] = {}
        for vote in self.decided:
            margin = _MARGINS[vote.choice]
            given.setdefault(vote.key, {})[vote.voter] = margin if vote.model == self.model else -margin
        both = [pair for votes in given.values() for pair in combinations(votes.values(), 2)]
        return proportion(sum(one == two for one, two in both), len(both)) if both else None

    def with_judge(self, outcome: Outcome) -> Proportion | None:
        """The share of pairs on which votes and judge name the same winner, of those on which both name one."""
        margins = self.margins()
        named = [
            (margins[item.key] > 0, item.preference > 0.5)
            for item in outcome.read
            if item.preference != 0.5 and margins.get(item.key, 0.0) != 0
        ]
        return proportion(sum(one == two for one, two in named), len(named)) if named else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        rate, agreement, margins = self.win_rate, self.agreement(), self.margins().values()
        return {
            "model": self.model,
            "against": self.other,
            "pairs": self.pairs,
            "voted": len(margins),
            "wins": sum(value > 0 for value in margins),
            "losses": sum(value < 0 for value in margins),
            "ties": sum(value == 0 for value in margins),
            "skipped": sum(vote.choice == "skip" for vote in self.votes),
            "voters": sorted({vote.voter for vote in self.votes}),
            "win_rate": rate.as_dict() if rate else None,
            "agreement": agreement.as_dict() if agreement else None,
        }

    def sentences(self) -> list[str]:
        """What it comes to, for a screen."""
        found, rate, agreement = self.as_dict(), self.win_rate, self.agreement()
        if rate is None:
            return ["no votes yet"]
        said = [
            f"{self.model} wins {found['wins']}, loses {found['losses']}, {found['ties']} ties, of {found['voted']}"
            f" pairs voted on ({self.pairs} in all): win rate {_interval(rate)}"
        ]
        if agreement is not None:
            said.append(f"{len(found['voters'])} voters; two of them agree on {_interval(agreement)} of the pairs")
        return said


def _interval(value: Proportion) -> str:
    return f"{100 * value.value:.1f} % (95 %: {100 * value.low:.1f} to {100 * value.high:.1f})"


def election(folder: Path, keys: Sequence[str], model: str, other: str) -> Election:
    """What the votes in a folder come to.

    Args:
        keys: of the pairs of the comparison; votes on others, of another time, do not count.
    """
    known = set(keys)
    votes = [vote for vote in read_votes(folder, model, other).values() if vote.key in known]
    return Election(model, other, votes, len(keys))
