"""How many instructions two policies followed, and the tables and samples that show it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from rlguide.demo.tasks import Pair, Task, follows, on_topic

DATA = files("rlguide.demo") / "data"


@dataclass(frozen=True)
class Count:
    """`done` of `total`."""

    done: int
    total: int

    @property
    def value(self) -> float:
        """Between 0 and 1."""
        return self.done / self.total

    def __str__(self) -> str:
        return f"{self.value:.0%} ({self.done} of {self.total})"


@dataclass(frozen=True)
class Comparison:
    """One line of the comparison: a group of held-out prompts before and after DPO."""

    name: str
    sft: Count
    dpo: Count

    @property
    def points(self) -> float:
        """The change, in percentage points."""
        return 100 * (self.dpo.value - self.sft.value)

    def cells(self) -> tuple[str, str, str, str]:
        """For a table."""
        return self.name, str(self.sft), str(self.dpo), f"{self.points:+.0f} points"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"name": self.name, "sft": self.sft.value, "dpo": self.dpo.value, "n": self.sft.total}


def read_held_out() -> list[Pair]:
    """The bundled held-out pairs, each with the task that responses are checked against."""
    rows = [json.loads(line) for line in (DATA / "heldout.jsonl").read_text(encoding="utf-8").splitlines()]
    return [
        Pair(
            Task(row["language"], row["kind"], row["argument"], tuple(row["topics"]), row["prompt"]),
            row["chosen"],
            row["rejected"],
        )
        for row in rows
    ]


def compare(tasks: Sequence[Task], sft: Sequence[str], dpo: Sequence[str]) -> list[Comparison]:
    """Lines: all instructions, those of each language, those of each kind, and responses that stay on topic."""

    def line(name: str, chosen: Sequence[int], passes: Callable[[Task, str], bool]) -> Comparison:
        before, after = (
            Count(sum(passes(tasks[i], responses[i]) for i in chosen), len(chosen)) for responses in (sft, dpo)
        )
        return Comparison(name, before, after)

    def obeys(task: Task, response: str) -> bool:
        return follows(task.language, task.kind, task.argument, response)

    every = range(len(tasks))
    groups: dict[str, Sequence[int]] = {"instructions followed": every}
    for name, language in (("English", "en"), ("Chinese", "zh")):
        groups[f"  in {name}"] = [index for index in every if tasks[index].language == language]
    for kind in sorted({task.kind for task in tasks}):
        groups[f"  {_KIND_NAMES[kind]}"] = [index for index in every if tasks[index].kind == kind]
    lines = [line(name, chosen, obeys) for name, chosen in groups.items()]
    return [*lines, line("responses on topic", every, lambda task, text: on_topic(task.language, task.topics, text))]


_KIND_NAMES = {
    "brackets": "each in 【】",
    "bullets": "bullet points",
    "capitals": "in capitals",
    "count": "exact number",
    "json": "as a JSON list",
    "numbered": "numbered list",
    "sentence": "in one sentence",
    "start": "given start",
}


def samples(tasks: Sequence[Task], sft: Sequence[str], dpo: Sequence[str], number: int = 2) -> list[int]:
    """Indices of prompts to show: in each language the first of different kinds with different responses.

    They are picked for a difference in wording, not for who followed.
    """
    picked: list[int] = []
    for language in ("en", "zh"):
        kinds: set[str] = set()
        for index, task in enumerate(tasks):
            is_new = task.language == language and task.kind not in kinds and sft[index] != dpo[index]
            if is_new and len(kinds) < number:
                kinds.add(task.kind)
                picked.append(index)
    return picked
