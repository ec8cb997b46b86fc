"""The figures of a run as a page shows them: charts, a table of their ends, and the few that matter most."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlguide.catalog.best_by import Rule
from rlguide.evaluation.divergence import LIMIT
from rlguide.evaluation.lines import KL_PER_RESPONSE, Line
from rlguide.html.charts import Chart, Series, line_chart, shown
from rlguide.reports.evaluated import Evaluated
from rlguide.runs.best import Best
from rlguide.runs.curves import Panel, panels
from rlguide.runs.metrics import numbers_of, without_ties
from rlguide.runs.record import Run
from rlguide.statistics import Estimate

_COLOURS = {"chosen": 3, "rejected": 4}  # of the stylesheet; all others are 1, and 2 where they are held out


def charts_of(rows: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """A chart for each panel of the curves, all from step 0 to the last one.

    Args:
        rows: of `metrics.jsonl`.
    """
    end = max((row["step"] for row in rows), default=0)
    charts = (line_chart(_capital(panel.title), _series(panel), end) for panel in panels(rows))
    return [chart for chart in charts if chart is not None]


def _series(panel: Panel) -> list[Series]:
    is_single = len({line.label for line in panel.lines}) == 1
    found = []
    for line in panel.lines:
        part = "held out" if line.held_out else "training"
        label = part if is_single else f"{line.label}, held out" if line.held_out else line.label
        colour = _COLOURS.get(line.label, 2 if line.held_out else 1)
        found.append(Series(label, line.points, colour, line.held_out))
    return found


@dataclass(frozen=True)
class Ends:
    """A figure at its first and last log of training, and of the evaluations during it; "" where there is none."""

    name: str
    first: str
    last: str
    held_out_first: str
    held_out_last: str


def ends_of(rows: Sequence[Mapping[str, Any]]) -> list[Ends]:
    """The ends of every curve: its values in the first and in the last row of training, and of evaluation."""
    drawn, found = panels(rows), []
    steps = [_end_steps(drawn, held_out) for held_out in (False, True)]
    for panel in drawn:
        for label in dict.fromkeys(line.label for line in panel.lines):
            name = panel.title if label == panel.title else f"{panel.title}: {label}"
            points = {line.held_out: dict(line.points) for line in panel.lines if line.label == label}
            values = [points.get(held_out, {}).get(step) for held_out in (False, True) for step in steps[held_out]]
            found.append(Ends(_capital(name), *("" if value is None else shown(value) for value in values)))
    return found


def _end_steps(drawn: Sequence[Panel], held_out: bool) -> tuple[int, int]:
    """The first and the last step of all curves, -1 for none: one log alone is the first, one evaluation the last."""
    steps = [step for panel in drawn for line in panel.lines if line.held_out == held_out for step, _ in line.points]
    if len(set(steps)) < 2:
        only = steps[0] if steps else -1
        return (-1, only) if held_out else (only, -1)
    return min(steps), max(steps)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


@dataclass(frozen=True)
class Tile:
    """One of the figures that matter most; `more`: sentences that say how sure it is, and of what."""

    label: str
    value: str
    more: tuple[str, ...] = ()


def tiles_of(
    run: Run, rows: Sequence[Mapping[str, Any]], evaluated: Evaluated | None, best: Best | None, done: int | None
) -> list[Tile]:
    """What was learnt on held-out data, the best step, and how far the training went.

    Args:
        rows: of `metrics.jsonl`.
        done: steps that were done.
    """
    held_out = [*_of_evaluation(evaluated)] if evaluated else []
    found = held_out or [*_during_training(run, rows)]
    if best is not None:
        figure = f"{Rule(best.metric).words} {shown(best.value)} during training"
        found.append(Tile("Best step", f"{best.step:,}", (figure,)))
    total = run.record.total_steps
    if done is not None or total is not None:
        of_all = f" / {total:,}" if total is not None else ""
        found.append(Tile("Steps", f"{'-' if done is None else f'{done:,}'}{of_all}"))
    return found


def _of_evaluation(evaluated: Evaluated) -> Iterator[Tile]:
    lines = {line.name: line for line in evaluated.lines}
    size = (f"{evaluated.pairs:,} held-out pairs",) if evaluated.pairs is not None else ()
    accuracy = (evaluated.figures or {}).get("accuracy")
    if accuracy is not None:
        yield Tile("Reward accuracy", _percent(accuracy.value), (_interval(accuracy, _percent), *size))
    if line := lines.get("reward accuracy"):
        yield Tile("Reward accuracy", _percent(line.tuned), (_interval(_moved(line), _percent), *size))
    if line := lines.get("margin"):
        yield Tile("Margin", f"{line.tuned:+.3f}", (_interval(_moved(line), "{:+.3f}".format),))
    if line := lines.get("loss"):
        yield Tile("Held-out loss", f"{line.tuned:.4f}", (f"of the reference {line.parent:.4f}",))
    if line := lines.get(KL_PER_RESPONSE):
        yield Tile("KL from the parent", f"{line.tuned:.1f}", (f"nats per response; the guide's limit is {LIMIT:g}",))


def _moved(line: Line) -> Estimate:
    """The interval of the tuned model's own figure, of one whose parent's is known exactly."""
    found = line.difference
    return Estimate(line.tuned, found.low + line.parent, found.high + line.parent, found.n)


def _interval(found: Estimate, form: Callable[[float], str]) -> str:
    return f"95 % interval {form(found.low)} to {form(found.high)}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _during_training(run: Run, rows: Sequence[Mapping[str, Any]]) -> Iterator[Tile]:
    """The last evaluation during the training, which has no interval."""
    summary = numbers_of((run.record.summary or {}).get("held_out"))
    last = [row for row in (summary, *rows) if row is not None and "eval_loss" in row]
    values = without_ties(last[-1]) if last else {}
    more = [f"during training, at step {values['step']:,}"] if last else []
    if run.held_out_rows:
        more.append(f"{run.held_out_rows:,} held-out rows")
    for key, label, form in (
        ("eval_rewards/accuracies", "Reward accuracy", _percent),
        ("eval_accuracy", "Accuracy", _percent),
        ("eval_rewards/margins", "Margin", "{:+.3f}".format),
        ("eval_loss", "Held-out loss", "{:.4f}".format),
    ):
        if key in values:
            yield Tile(label, form(values[key]), tuple(more))
