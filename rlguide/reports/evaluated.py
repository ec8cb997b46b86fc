"""What `rlguide eval` left in the folder of a run, as far as it can be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlguide.errors import DataError
from rlguide.evaluation.lines import Line, lines_of_pairs, read_line
from rlguide.evaluation.pairs import ESTIMATES
from rlguide.evaluation.pairs import RESULT as OF_PAIRS
from rlguide.evaluation.suite import RESULT as OF_SUITE
from rlguide.statistics import Estimate, finite, read_estimate
from rlguide.workspace import read_json


@dataclass(frozen=True)
class Group:
    """Held-out pairs that have something in common: how often a reward model is right, and expects to be."""

    name: str
    accuracy: Estimate
    claimed: float


@dataclass(frozen=True)
class Point:
    """A checkpoint: KL from the parent (nats per response), the share of instructions followed, the held-out margin."""

    step: int
    kl: float
    instructions: Estimate
    margin: float | None


@dataclass(frozen=True)
class Evaluated:
    """The evaluations of a run; what was not measured is empty.

    Attributes:
        verdict: sentences.
        lines: figures of the parent and of the tuned model.
        figures: of a reward model, which has no parent, by the names in `pairs.ESTIMATES`.
        by_length, by_margin: of a reward model.
        datasets, pairs: what the figures of pairs were measured on: names, and how many pairs; step: of the run.
        not_measured: why parts of the suite and benchmarks were not, by name.
        notes: what else there is to know, in sentences.
    """

    verdict: tuple[str, ...] = ()
    lines: tuple[Line, ...] = ()
    figures: Mapping[str, Estimate] | None = None
    by_length: tuple[Group, ...] = ()
    by_margin: tuple[Group, ...] = ()
    datasets: tuple[str, ...] = ()
    pairs: int | None = None
    step: int | None = None
    checkpoints: tuple[Point, ...] = ()
    not_measured: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_evaluated(run_path: Path) -> Evaluated | None:
    """The evaluations of a run; None where there are none that can be read.

    Those of pairs are in a file of their own, which a later evaluation of other parts leaves as it is.
    """
    pairs, suite = (_mapping(run_path / "eval" / name) for name in (OF_PAIRS, OF_SUITE))
    if not pairs and not suite:
        return None
    figures = {key: found for key in ESTIMATES if (found := read_estimate(pairs.get(key))) is not None}
    is_reward_model = "reward_model" in pairs
    own = [] if is_reward_model else lines_of_pairs(figures, finite(pairs.get("loss_of_reference")))
    known = {line.name for line in own}
    others = [line for line in map(read_line, _list(suite.get("table"))) if line and line.name not in known]
    benchmarks = _dict(suite.get("benchmarks"))
    skipped = {name: why for name, why in _dict(suite.get("skipped")).items() if isinstance(why, str)}
    failed = {name: _text(_dict(why).get("what")) for name, why in _dict(benchmarks.get("not_measured")).items()}
    return Evaluated(
        verdict=_verdict(pairs, suite),
        lines=(*own, *others),
        figures=figures if is_reward_model else None,
        by_length=tuple(_groups(pairs.get("by_length"))),
        by_margin=tuple(_groups(pairs.get("by_margin"))),
        datasets=tuple(_texts(pairs.get("datasets"))),
        pairs=count if type(count := pairs.get("pairs")) is int else None,
        step=step if type(step := pairs.get("step")) is int else None,
        checkpoints=tuple(_points(suite.get("checkpoints"))),
        not_measured={**skipped, **failed},
        notes=tuple(filter(None, (_text(benchmarks.get("how")), *_notes(pairs, benchmarks)))),
    )


def _verdict(pairs: Mapping[str, Any], suite: Mapping[str, Any]) -> tuple[str, ...]:
    """Of the suite, which has that of the pairs in it; of the pairs alone where no suite was measured."""
    said = [part for found in (pairs.get("verdict"), suite.get("summary")) for part in _text(found).split("; ")]
    return tuple(dict.fromkeys(filter(None, said)))


def _notes(*sources: Mapping[str, Any]) -> Iterator[str]:
    for source in sources:
        yield from _texts(source.get("notes"))


def _groups(value: Any) -> Iterator[Group]:
    for item in map(_dict, _list(value)):
        accuracy, claimed = read_estimate(item.get("accuracy")), finite(item.get("claimed"))
        if accuracy is not None and claimed is not None:
            yield Group(_text(item.get("name")), accuracy, claimed)


def _points(value: Any) -> Iterator[Point]:
    for item in map(_dict, _list(value)):
        share, kl, step = read_estimate(item.get("instructions")), finite(item.get("kl")), item.get("step")
        if share is not None and kl is not None and type(step) is int:
            yield Point(step, kl, share, finite(item.get("margin")))


def _mapping(path: Path) -> dict[str, Any]:
    try:
        return _dict(read_json(path))
    except DataError:
        return {}


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _texts(value: Any) -> Iterable[str]:
    return (item for item in _list(value) if isinstance(item, str))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
