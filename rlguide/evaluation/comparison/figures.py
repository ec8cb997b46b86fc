"""What the responses of several models come to: each against the first, prompt by prompt, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlguide.evaluation.asked import followed
from rlguide.evaluation.comparison.measures import Measures, measure
from rlguide.evaluation.comparison.record import INSTRUCTIONS, Compared
from rlguide.evaluation.instructions.prompts import LANGUAGES, InstructionPrompt, load_prompts
from rlguide.evaluation.lines import Line
from rlguide.statistics import Estimate, Proportion, mean, paired, paired_share, proportion

# A bootstrap over fewer prompts gives intervals that are too narrow: of three prompts all may lie on one side.
_LEAST = 10
_LENGTH = "length"
POINTS = "points"  # the unit of the difference of two shares, whose values are shown in per cent
_SHARES: dict[str, tuple[Callable[[Measures], bool], str]] = {  # and which is better, more or less of it
    "loops": (lambda found: found.loops, "less"),
    "refusals": (lambda found: found.refuses, ""),
    "language switches": (lambda found: found.switches, "less"),
    "empty responses": (lambda found: found.empty, "less"),
    "cut responses": (lambda found: found.cut, ""),
}


@dataclass(frozen=True)
class Against:
    """One model beside the first one.

    Attributes:
        lines: the figures; `parent` is the first model's, `tuned` this one's.
        same: the share of prompts to which both responded with the same text.
    """

    model: str
    first: str
    lines: list[Line]
    same: Proportion

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        lines = [line.as_dict() for line in self.lines]
        figures = [
            {("first" if k == "parent" else "value" if k == "tuned" else k): v for k, v in line.items()}
            for line in lines
        ]
        return {"model": self.model, "first": self.first, "figures": figures, "same": self.same.as_dict()}

    @property
    def verdict(self) -> str:
        """What differs beyond chance, in words, and nothing else."""
        if self.same.hits == self.same.n:
            return f"{self.model} gives the same response as {self.first} to every prompt"
        apart = [line for line in self.lines if _is_apart(line)]
        if not apart:
            return f"beside {self.first}, {self.model} shows no difference beyond chance"
        said = "; ".join(f"{_more(line)} ({_amount(line)})" for line in apart)
        return f"beside {self.first}, {self.model} shows {said}"


def measured(records: Sequence[Compared]) -> dict[str, list[Measures]]:
    """What is counted in each response, by model, in the order of the records; at least one record."""
    return {
        model: [measure(record.prompt, record.responses[model]) for record in records] for model in records[0].models
    }


def against_first(records: Sequence[Compared], found: Mapping[str, Sequence[Measures]]) -> list[Against]:
    """Each model but the first beside the first.

    Args:
        found: of `measured`.
    """
    first, *others = records[0].models
    follows = _followed(records)
    compared = []
    for model in others:
        before, after = found[first], found[model]
        lines = [
            _mean("repetition", [item.repetition for item in before], [item.repetition for item in after], "less"),
            *(
                share(name, [is_so(item) for item in before], [is_so(item) for item in after], goal)
                for name, (is_so, goal) in _SHARES.items()
            ),
            _length([float(item.length) for item in before], [float(item.length) for item in after]),
            *(share(name, values[first], values[model], "more") for name, values in follows.items()),
        ]
        equal = sum(record.responses[first].text == record.responses[model].text for record in records)
        compared.append(Against(model, first, lines, proportion(equal, len(records))))
    return compared


def chance(compared: Sequence[Against]) -> str:
    """How many of so many intervals leave out 0 by chance alone, in a sentence; "" without any."""
    count = sum(bool(line.interval) for item in compared for line in item.lines)
    if not count:
        return ""
    return (
        f"each interval holds by itself: without any true difference 1 in 20 leaves out 0, and there are {count} here"
    )


def share(name: str, before: Sequence[bool], after: Sequence[bool], goal: str) -> Line:
    """How the share of prompts with a property differs."""
    old, new = (sum(values) / len(values) for values in (before, after))
    return Line(name, old, new, paired_share(before, after), goal, "Clopper-Pearson", 3, POINTS)


def _length(before: Sequence[float], after: Sequence[float]) -> Line:
    line = _mean(_LENGTH, before, after, "")
    return Line(line.name, line.parent, line.tuned, line.difference, "", line.interval, 1, "words, Chinese characters")


def _mean(name: str, before: Sequence[float], after: Sequence[float], goal: str) -> Line:
    difference = paired(before, after)
    if len(before) < _LEAST:
        return Line(name, mean(before).value, mean(after).value, _unknown(difference), goal, "")
    return Line(name, mean(before).value, mean(after).value, difference, goal, "bootstrap over prompts")


def _unknown(difference: Estimate) -> Estimate:
    return Estimate(difference.value, float("-inf"), float("inf"), difference.n)


def _followed(records: Sequence[Compared]) -> dict[str, dict[str, list[bool]]]:
    """Whether each model follows all instructions of a prompt, where it is one of the bundled ones; by language."""
    known: dict[str, InstructionPrompt] = {}
    if any(record.source == INSTRUCTIONS for record in records):
        known = {item.prompt: item for item in load_prompts()}
    asked = [(known[text], record) for record in records if (text := record.prompt[-1]["content"]) in known]
    found: dict[str, dict[str, list[bool]]] = {}
    for code in dict.fromkeys(prompt.language for prompt, _ in asked):
        prompts, own = zip(*((prompt, record) for prompt, record in asked if prompt.language == code), strict=True)
        found[f"{LANGUAGES[code]} instructions followed"] = {
            model: [bool(value) for value in followed(prompts, [item.responses[model].text for item in own], "strict")]
            for model in records[0].models
        }
    return found


def _is_apart(line: Line) -> bool:
    return not line.difference.low <= 0 <= line.difference.high


def _more(line: Line) -> str:
    is_more = line.difference.value > 0
    if line.name == _LENGTH:
        return "longer responses" if is_more else "shorter responses"
    word = "more" if is_more else "fewer" if line.unit == POINTS else "less"
    return f"{word.upper() if line.is_better is False else word} {line.name}"


def _amount(line: Line) -> str:
    if line.unit == POINTS:
        return f"{100 * line.difference.value:+.1f} points"
    return f"{line.difference.value:+.{line.digits}f}"
