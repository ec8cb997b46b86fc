"""A sweep for a person: a line while it runs, a table and a plot of its trials, what can be said of the winner."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlguide.planner.report import duration
from rlguide.plotting import no_plots
from rlguide.runs.curves import Line, Panel
from rlguide.runs.manage.listed import percent
from rlguide.runs.metrics import METRICS, read_metrics
from rlguide.runs.plots import import_figure, save_figure
from rlguide.statistics import Estimate
from rlguide.sweeps.objective import Objective
from rlguide.sweeps.space import Choices, Range, short_value, words_of
from rlguide.sweeps.sweep import Sweep
from rlguide.sweeps.trials import FAILED, FINISHED, PRUNED, QUEUED, RUNNING, STOPPED, Trial, rank
from rlguide.sweeps.winner import Winner
from rlguide.workspace import Workspace

LESSER = ("took", "steps", "findings")


def figure_text(objective: Objective, value: float | None) -> str:
    """The objective of a trial."""
    if value is None or not math.isfinite(value):
        return "-"
    return (
        f"{100 * value:.1f} %"
        if objective.by == "accuracy"
        else f"{value:+.4f}"
        if objective.by == "margin"
        else f"{value:.4f}"
    )


def table(sweep: Sweep, trials: Sequence[Trial]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Names of the columns, and a row for each trial, those that can win first, the best on top."""
    ranked = rank(trials, sweep.objective)
    rest = [trial for trial in trials if trial not in ranked]
    columns = ("trial", *sweep.keys, sweep.objective.words, "best step", "state", "steps", "findings", "took")
    return columns, [_row(sweep, trial) for trial in (*ranked, *rest)]


def _row(sweep: Sweep, trial: Trial) -> tuple[str, ...]:
    shown = figure_text(sweep.objective, trial.value)
    if sweep.objective.by == "accuracy" and trial.accuracy is not None and trial.accuracy.n:
        shown = percent(trial.accuracy)
    findings = [f"{rule}!" if rule in trial.grave else rule for rule in trial.findings]
    return (
        str(trial.number),
        *(short_value(trial.settings[key]) for key in sweep.keys),
        shown,
        "-" if trial.best_step is None else str(trial.best_step),
        f"{trial.state}, cannot win" if trial.state == FINISHED and not trial.can_win else trial.state,
        f"{trial.step}/{trial.total}" if trial.total else "-",
        ", ".join(findings) or "-",
        "-" if trial.seconds is None else duration(trial.seconds),
    )


def progress_line(sweep: Sweep, trials: Sequence[Trial], slots: int) -> str:
    """Trials done, running and pruned, the best so far, and the time left."""
    states = (RUNNING, QUEUED, PRUNED, STOPPED, FAILED)
    counts = {state: sum(trial.state == state for trial in trials) for state in states}
    parts = [f"{sum(trial.is_done for trial in trials)} of {sweep.trials} trials done"]
    parts += [f"{count} {state}" for state, count in counts.items() if count]
    if ranked := rank(trials, sweep.objective):
        parts.append(f"best {figure_text(sweep.objective, ranked[0].value)} (trial {ranked[0].number})")
    left = time_left(sweep, trials, slots)
    return ", ".join(parts) + (f", about {duration(left)} left" if left else "")


def time_left(sweep: Sweep, trials: Sequence[Trial], slots: int) -> float | None:
    """Seconds until all trials are done, as long as those that finished took on average; None before the first."""
    took = [trial.seconds for trial in trials if trial.state == FINISHED and trial.seconds]
    if not took:
        return None
    begun = sum(trial.step / trial.total for trial in trials if trial.state == RUNNING and trial.total)
    open_ones = sweep.trials - sum(trial.is_done for trial in trials)
    return max(0.0, open_ones - begun) * sum(took) / len(took) / max(1, min(slots, open_ones))


def trial_line(sweep: Sweep, trial: Trial) -> str:
    """What a trial does or has come to, when it begins or ends."""
    what = words_of(trial.settings)
    if trial.state in (RUNNING, QUEUED):
        return f"trial {trial.number} {'runs' if trial.state == RUNNING else 'is queued'}: {what}"
    words = {FINISHED: "", PRUNED: "stopped early as hopeless, its checkpoints are kept, "}.get(
        trial.state, f"{trial.state}, "
    )
    shown = f"{words}{sweep.objective.words} {figure_text(sweep.objective, trial.value)}"
    grave = f"; it cannot win: {', '.join(trial.grave)}" if trial.grave else ""
    return f"trial {trial.number} ({what}): {f'failed, {trial.cause}' if trial.cause else shown}{grave}"


def winner_lines(sweep: Sweep, winner: Winner) -> list[str]:
    """What can be said of the winner."""
    objective, trial = sweep.objective, winner.trial
    figure = figure_text(objective, trial.value)
    if winner.figure is not None and winner.figure.n:
        figure = f"{_interval(objective, winner.figure)} on {winner.figure.n:,} pairs"
    lines = [f"winner     trial {trial.number}: {words_of(trial.settings)}; {objective.words} {figure}, {trial.run}"]
    if winner.next is not None:
        lines.append(
            f"next       trial {winner.next.number}: {words_of(winner.next.settings)}; {_beside(objective, winner)}"
        )
    if winner.chosen_from > 1:
        words = f"chance     the best of {winner.chosen_from} trials on the same held-out pairs: its figure is too good"
        if winner.luck:
            words += f", by up to {_size(objective, winner.luck)} on average if all were equally good"
        again = f"rlguide eval {shlex.quote(trial.run)} --dataset NAME"
        lines.append(f"{words}; measure it on pairs that no trial was chosen by: `{again}`")
    return lines


def _beside(objective: Objective, winner: Winner) -> str:
    assert winner.next is not None
    if winner.difference is None:
        figure = f"{objective.words} {figure_text(objective, winner.next.value)}"
        return f"{figure} (not measured pair by pair: run `rlguide eval` on both, then the sweep again)"
    by = _interval(objective, winner.difference, signed=True)
    if winner.is_distinguishable:
        return f"the winner is better by {by} on the same {winner.pairs:,} pairs"
    return f"not distinguishable from trial {winner.next.number} on {winner.pairs:,} pairs: the difference is {by}"


def _interval(objective: Objective, found: Estimate, signed: bool = False) -> str:
    scale, unit, digits = (100, " points" if signed else " %", 1) if objective.by == "accuracy" else (1, "", 4)
    form = f"{{:{'+' if signed else ''}.{digits}f}}"
    value, low, high = (form.format(scale * number) for number in (found.value, found.low, found.high))
    return f"{value}{unit} (95 % {low} to {high})"


def _size(objective: Objective, value: float) -> str:
    return f"{100 * value:.1f} points" if objective.by == "accuracy" else f"{value:.4f}"


def next_commands(winner: Winner, is_policy: bool) -> list[str]:
    """What to do with the winner."""
    name = shlex.quote(winner.trial.run)
    use = [f"rlguide chat {name}", f"rlguide export {name}"] if is_policy else []
    return [f"rlguide report {name}", *use]


def curves(ws: Workspace, sweep: Sweep, trials: Sequence[Trial], most: int = 6) -> Panel:
    """The objective of the best trials over their steps, for a terminal: a line for each."""
    lines = []
    for trial in rank(trials, sweep.objective)[:most]:
        rows = read_metrics(ws.root / trial.run / METRICS)
        metric = sweep.objective.metric
        points = tuple((int(row["step"]), float(row[metric])) for row in rows if metric in row and row["step"] > 0)
        lines.append(Line(f"trial {trial.number}", False, points))
    return Panel(sweep.objective.words, tuple(line for line in lines if line.points))


def plot(sweep: Sweep, trials: Sequence[Trial], path: Path) -> str:
    """Draw the objective over each swept key as a PNG; returns what to say of it: the file, or why there is none."""
    shown = [trial for trial in trials if trial.value is not None and math.isfinite(trial.value)]
    make = import_figure()
    if make is None:
        return no_plots()
    if not shown:
        return ""
    figure = make(figsize=(4.2 * len(sweep.axes), 3.4), layout="tight")
    panels = figure.subplots(1, len(sweep.axes), squeeze=False)[0]
    for axes, axis in zip(panels, sweep.axes, strict=True):
        for state, mark in (("can win", "o"), ("cannot win", "x")):
            points = [trial for trial in shown if trial.can_win == (state == "can win")]
            if points:
                axes.plot(*_points(axis, points), mark, label=state)
        if isinstance(axis, Choices):
            axes.set_xticks(range(len(axis.values)), [_drawable(short_value(value)) for value in axis.values])
        elif isinstance(axis, Range) and axis.is_log:
            axes.set_xscale("log")
        axes.set(xlabel=axis.key, ylabel=sweep.objective.words)
        axes.grid(alpha=0.3)
    panels[0].legend(fontsize="small")
    return str(save_figure(figure, path))


def _points(axis: Any, trials: Sequence[Trial]) -> tuple[list[float], list[float]]:
    values = [trial.settings[axis.key] for trial in trials]
    across = [axis.values.index(value) for value in values] if isinstance(axis, Choices) else values
    return across, [trial.value or 0.0 for trial in trials]


def _drawable(text: str) -> str:
    """Text as matplotlib's own font can draw it."""
    return text.encode("ascii", "replace").decode()[:20]
