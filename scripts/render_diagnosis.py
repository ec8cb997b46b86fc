"""Write docs/diagnosis.md: each rule, and how often it was right on the runs of sick_runs.yaml.

    python scripts/render_diagnosis.py

Nothing is trained: the logs that make_sick_runs.py left in tests/runs/sick/ are diagnosed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from rlguide.catalog.diagnosis import Rule, diagnosis_rules  # noqa: E402
from rlguide.runs.diagnosis.diagnose import diagnose  # noqa: E402
from rlguide.runs.diagnosis.logs import Facts  # noqa: E402

RUNS = ROOT / "scripts" / "sick_runs.yaml"
LOGS = ROOT / "tests" / "runs" / "sick"
PAGE = ROOT / "docs" / "diagnosis.md"


@dataclass(frozen=True)
class Judged:
    """What was found in a run, beside what is wrong with it.

    Attributes:
        round: 2 and 3 were trained after the rules were settled on the runs before.
        hits, missed: rules that had to be found, and were or were not.
        wrong: rules that were found, although nothing of the kind is wrong.
        follows: rules that were found, and follow from what is wrong.
    """

    name: str
    round: int
    hits: frozenset[str]
    missed: frozenset[str]
    wrong: frozenset[str]
    follows: frozenset[str]

    @property
    def is_sick(self) -> bool:
        """Whether something is wrong with it."""
        return bool(self.hits or self.missed)


def rows_of(recorded: dict[str, Any]) -> list[dict[str, Any]]:
    """The logs of a recorded run as rows, in the order of steps."""
    rows = []
    for part in ("train", "eval"):
        table = recorded[part]
        for index in range(len(table.get("step", ()))):
            rows.append({key: values[index] for key, values in table.items() if values[index] is not None})
    return sorted(rows, key=lambda row: row["step"])


def judge(names: Iterable[str] | None = None) -> list[Judged]:
    """Diagnose the recorded runs, all by default."""
    runs = yaml.safe_load(RUNS.read_text(encoding="utf-8"))
    found = []
    for name in names or runs:
        recorded = json.loads((LOGS / f"{name}.json").read_text(encoding="utf-8"))
        findings = diagnose(recorded["config"], rows_of(recorded), Facts(is_over=True, data=recorded["data"]))
        said = frozenset(finding.rule for finding in findings)
        expected, allowed = (frozenset(runs[name].get(key, ())) for key in ("expect", "allow"))
        wrong = said - expected - allowed
        number, follows = int(runs[name].get("round", 1)), (said & allowed) - expected
        found.append(Judged(name, number, said & expected, expected - said, wrong, follows))
    return found


def figures(judged: list[Judged]) -> dict[str, float]:
    """Precision and recall over findings, and how many sound runs have none."""
    hits, missed, wrong = (sum(len(getattr(run, key)) for run in judged) for key in ("hits", "missed", "wrong"))
    sound = [run for run in judged if not run.is_sick]
    return {
        "sick": len(judged) - len(sound),
        "sound": len(sound),
        "hits": hits,
        "missed": missed,
        "wrong": wrong,
        "clean": sum(not run.wrong for run in sound),
        "precision": hits / (hits + wrong) if hits + wrong else 1.0,
        "recall": hits / (hits + missed) if hits + missed else 1.0,
    }


def page(judged: list[Judged]) -> str:
    """The text of docs/diagnosis.md."""
    parts = {"all runs": judged}
    parts |= {f"round {number}": [run for run in judged if run.round == number] for number in (1, 2, 3)}
    lines = [
        _INTRODUCTION,
        "| Runs | Broken | Faults found | Faults missed | False alarms | Precision | Recall | Sound without finding |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, some in parts.items():
        told = figures(some)
        counts = " | ".join(f"{told[key]:g}" for key in ("sick", "hits", "missed", "wrong"))
        rates = f"{told['precision']:.0%} | {told['recall']:.0%} | {told['clean']:g} of {told['sound']:g}"
        lines.append(f"| {name} | {counts} | {rates} |")
    lines += [
        "",
        _REST,
        "| Rule | Runs that have it | Found | Also found, and true | False alarms |",
        "|---|---|---|---|---|",
    ]
    for name in diagnosis_rules():
        counts = [sum(name in getattr(run, key) for run in judged) for key in ("hits", "missed", "follows", "wrong")]
        lines.append(f"| `{name}` | {counts[0] + counts[1]} | {counts[0]} | {counts[2]} | {counts[3]} |")
    lines += ["", *_exceptions(judged), "## The rules", ""]
    lines += [line for rule in diagnosis_rules().values() for line in _described(rule)]
    return "\n".join(lines).rstrip() + "\n"


def _exceptions(judged: list[Judged]) -> list[str]:
    lines = [f"- `{run.name}`: missed {', '.join(sorted(run.missed))}" for run in judged if run.missed]
    lines += [f"- `{run.name}`: false alarm {', '.join(sorted(run.wrong))}" for run in judged if run.wrong]
    return ["What went wrong:", "", *lines, ""] if lines else []


def _described(rule: Rule) -> list[str]:
    at = ", ".join(f"{name} {value:g}" for name, value in rule.at.items())
    return [
        f"**`{rule.name}`** ({rule.level}): {rule.title}. Thresholds: {at}. Source: {rule.source}.",
        "",
    ]


_INTRODUCTION = """\
# What rlguide says about a training, and how often it is right

Written by `scripts/render_diagnosis.py`; the rules with their words are in `rlguide/catalog/diagnosis.yaml`.

On 2026-11-26 `scripts/make_sick_runs.py` trained the runs of `scripts/sick_runs.yaml` on LLaMA-Factory 0.9.5: broken on
purpose, each with the rules that must find it, and sound ones, in which nothing may be found. A finding that follows
from what is wrong (a policy whose learning rate is a hundred times too high overfits, too) counts neither for a rule
nor against it.

How it went, as each round was judged first. A third of the first 112 runs, chosen by a hash of the name, was not
looked at while rules and thresholds were written: 22 of 28 faults were found, with 2 false alarms (precision 92 %,
recall 79 %), one of them on a sound run, because SimPO's held-out accuracy begins below one half, which had been
taken for noise. In three of the six that were missed the fault that was meant had not come about, or shows itself
otherwise (notes in the file). The rules were settled on all of these, and a second round of other seeds, data and
settings was trained: 30 of 35, with 3 false alarms (91 %, 86 %), one on a sound run. They were settled on it, too,
and a third round was trained: 28 of 29, with 2 false alarms (93 %, 97 %), none on its 10 sound runs. That is what to
expect of runs like these that the rules do not know. The tables below are of the rules as they are now, which know
all three rounds.

The model has 0.2 million weights and its runs 40 to 160 steps. Thresholds that a publication gives do not depend on
that; those that are measured here were put between what sound and broken runs do, and are for a real model what a first
guess is. Beside these runs, nothing is found in the published figures of sound runs of 7B and 8B models, and nothing in
simulated ones of 20 to 6000 steps at any tenth of the way (`tests/runs/test_diagnosis.py`).
"""

_REST = "Each rule, over all runs:\n"


def main() -> None:
    """Write the page, and say what went wrong."""
    judged = judge()
    PAGE.write_text(page(judged), encoding="utf-8", newline="\n")
    print("\n".join(_exceptions(judged)) or "all as it should be")


if __name__ == "__main__":
    main()
