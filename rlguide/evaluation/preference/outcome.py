"""What the verdicts of a judge come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rlguide.evaluation.preference.judge_prompt import Verdict
from rlguide.evaluation.preference.length_controlled import LengthControlled, length_controlled
from rlguide.statistics import Estimate, Proportion, proportion, wins
from rlguide.workspace import write_json

PREFERENCES = "preferences.json"
_MANY_UNREAD = 0.1  # of the pairs: with more, those that are left may be of another kind than those that are not


@dataclass(frozen=True)
class Judged:
    """The verdicts on one pair, in terms of the models: "first" is the model that a win counts for.

    Attributes:
        key: of the record and the two models (`Compared.key`).
        there, back: where its response stood first, and where it stood second; None: no verdict could be read.
        lengths: of its response and of the other one, in characters.
        same: both responded the same, so nobody was asked.
    """

    key: str
    there: Verdict | None
    back: Verdict | None
    lengths: tuple[int, int]
    same: bool = False

    @property
    def is_read(self) -> bool:
        """Whether both verdicts could be read; with one alone the place of a response would count."""
        return self.there is not None and self.back is not None

    @property
    def flips(self) -> bool:
        """Whether the other response is preferred when the order is the other one."""
        return {self.there, self.back} == {"first", "second"}

    @property
    def preference(self) -> float:
        """1 where the model is preferred in both orders, 0 where the other one is, else 0.5.

        So L. Zheng et al. count (arXiv 2306.05685, 3.4): a win needs both orders, the rest is a tie.
        """
        return {("first", "first"): 1.0, ("second", "second"): 0.0}.get((str(self.there), str(self.back)), 0.5)


@dataclass(frozen=True)
class Outcome:
    """What a judge says of a model against another one.

    Attributes:
        asked_again: replies that were no verdict at first.
    """

    model: str
    other: str
    judge: str
    judged: Sequence[Judged]
    asked_again: int

    @property
    def read(self) -> list[Judged]:
        """The pairs with both verdicts."""
        return [item for item in self.judged if item.is_read]

    @property
    def without_a_verdict(self) -> int:
        """How many pairs lack one of their verdicts, or both."""
        return len(self.judged) - len(self.read)

    @property
    def win_rate(self) -> Proportion | None:
        """Wins, ties as half; None where no pair that was asked has both verdicts."""
        is_known = self.read and (self.position is not None or not self.without_a_verdict)
        return wins([item.preference - 0.5 for item in self.read])[0] if is_known else None

    @cached_property
    def controlled(self) -> LengthControlled:
        """The win rate at equal lengths, over the pairs with both verdicts."""
        return length_controlled([item.preference for item in self.read], [item.lengths for item in self.read])

    @property
    def position(self) -> Proportion | None:
        """The share of the pairs that were asked and read whose preference flips with the order."""
        asked = [item for item in self.read if not item.same]
        return proportion(sum(item.flips for item in asked), len(asked)) if asked else None

    def counts(self) -> dict[str, int]:
        """How many pairs are what; those of `wins`, `losses` and `ties` are all that were read."""
        preferences = [item.preference for item in self.read]
        return {
            "pairs": len(self.judged),
            "wins": sum(value == 1 for value in preferences),
            "losses": sum(value == 0 for value in preferences),
            "ties": sum(value == 0.5 for value in preferences),
            "same_response": sum(item.same for item in self.judged),
            "flips_to_the_one_shown_first": sum(item.flips and item.there == "first" for item in self.judged),
            "flips_to_the_one_shown_second": sum(item.flips and item.there == "second" for item in self.judged),
            "without_a_verdict": self.without_a_verdict,
            "asked_again": self.asked_again,
        }

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        rate, position = self.win_rate, self.position
        return {
            "model": self.model,
            "against": self.other,
            "judge": self.judge,
            **self.counts(),
            "win_rate": rate.as_dict() if rate else None,
            "length_controlled": self.controlled.as_dict(),
            "position_bias": position.as_dict() if position else None,
        }

    def rows(self) -> list[tuple[str, str, str]]:
        """Figures, values and intervals, for a table."""
        counts = self.counts()
        found = [
            ("win rate", *_percent(self.win_rate)),
            ("win rate at equal lengths", *_percent(self.controlled.win_rate)),
            ("wins, ties, losses", f"{counts['wins']}, {counts['ties']}, {counts['losses']}", ""),
            ("preference flips with the order", *_percent(self.position)),
        ]
        toward = counts["flips_to_the_one_shown_first"], counts["flips_to_the_one_shown_second"]
        if sum(toward):
            found.append(("flips to the one shown first, second", f"{toward[0]}, {toward[1]}", ""))
        found.append(("pairs without a verdict", str(counts["without_a_verdict"]), ""))
        return found

    @property
    def verdict(self) -> str:
        """What it comes to, in a sentence."""
        rate = self.win_rate
        if rate is None:
            replies = [verdict for item in self.judged if not item.same for verdict in (item.there, item.back)]
            return (
                f"the judge gave no verdict on {self.model} against {self.other}: {replies.count(None)} of its"
                f" {len(replies)} replies are not A, B or C, asked again or not; take another judge or --judge-prompt"
            )
        if rate.low > 0.5 or rate.high < 0.5:
            said = f"the judge prefers {self.model if rate.low > 0.5 else self.other}"
        else:
            said = f"the judge does not tell {self.model} from {self.other} beyond chance"
        if self.without_a_verdict > _MANY_UNREAD * len(self.judged):
            said += f"; it gave no verdict on {self.without_a_verdict} of {len(self.judged)} pairs, which are left out"
        controlled = self.controlled
        if controlled.win_rate is None:
            return f"{said}; win rate at equal lengths: {controlled.reason}"
        is_same = (controlled.win_rate.low > 0.5, controlled.win_rate.high < 0.5) == (rate.low > 0.5, rate.high < 0.5)
        return said if is_same else f"{said}; at equal lengths that is another verdict"


def keep_preferences(folder: Path, value: Mapping[str, Any], outcomes: Sequence[Outcome]) -> None:
    """Write `preferences.json` in the folder of a comparison: the figures, and the verdicts on each pair.

    Raises:
        RlguideError: it cannot be written.
    """
    verdicts = {outcome.model: [asdict(item) for item in outcome.judged] for outcome in outcomes}
    write_json(folder / PREFERENCES, {**value, "verdicts": verdicts})


def _percent(value: Estimate | None) -> tuple[str, str]:
    if value is None:
        return "-", "-"
    return f"{100 * value.value:.1f} %", f"{100 * value.low:.1f} to {100 * value.high:.1f}"
