"""Two runs or more beside each other: the settings that differ, the figures with their intervals, and the curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rlguide.catalog.best_by import loss_of
from rlguide.engine.config_file import format_value
from rlguide.errors import UsageError
from rlguide.runs.best import best_step
from rlguide.runs.checkpoints import steps_done
from rlguide.runs.curves import Panel, panels
from rlguide.runs.diagnosis.diagnose import findings_of
from rlguide.runs.manage.accuracy import evaluated_figure, held_out_accuracy, shown_step
from rlguide.runs.manage.listed import duration, percent, state_of_run
from rlguide.runs.metrics import METRICS, read_metrics
from rlguide.runs.record import Run

_NONE = "-"
_LONGEST = 16  # characters of a name beside a curve
# Where a run lies and from where it was resumed, not what it is.
_PLACES = ("output_dir", "resume_from_checkpoint", "overwrite_output_dir")


@dataclass(frozen=True)
class Comparison:
    """The runs side by side.

    Attributes:
        names: as they are typed; labels: short, in the order of the runs.
        settings: by key, one value a run as text; only those that differ.
        figures: by name, one cell a run.
        notes: why some of these figures cannot be compared.
        panels: the curves of all runs together.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    settings: dict[str, tuple[str, ...]]
    figures: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]
    panels: tuple[Panel, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: each setting and figure by the names of the runs."""

        def by_name(rows: dict[str, tuple[str, ...]]) -> dict[str, dict[str, str]]:
            return {key: dict(zip(self.names, cells, strict=True)) for key, cells in rows.items()}

        return {
            "runs": list(self.names),
            "settings": by_name(self.settings),
            "figures": by_name(self.figures),
            "notes": list(self.notes),
        }


def compare(runs: Sequence[Run]) -> Comparison:
    """Compare runs. Raises UsageError for fewer than two, or one twice."""
    names = [run.name for run in runs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None or len(names) < 2:
        what = f"{names[0]} is one run, and there is none to compare it with"
        raise UsageError(
            what if twice is None else f"{twice} cannot be compared with itself",
            "name two runs or more; `rlguide runs` lists them",
        )
    labels = short_names(names)
    return Comparison(
        tuple(names),
        labels,
        _differing([_settings(run) for run in runs]),
        _beside([_figures(run, all(map(_is_evaluated, runs))) for run in runs]),
        tuple(_notes(runs)),
        tuple(overlaid(dict(zip(curve_names(labels), runs, strict=True)))),
    )


def short_names(names: Sequence[str]) -> tuple[str, ...]:
    """The names without the folders that all of them lie in."""
    parts = [Path(name).parts for name in names]
    shared = 0
    while all(len(part) > shared + 1 and part[shared] == parts[0][shared] for part in parts):
        shared += 1
    return tuple("/".join(part[shared:]) for part in parts)


def curve_names(labels: Sequence[str]) -> tuple[str, ...]:
    """What the lines of the runs are called where there is little room: their labels, or their numbers."""
    return tuple(label if len(label) <= _LONGEST else f"run {at}" for at, label in enumerate(labels, start=1))


def _settings(run: Run) -> dict[str, str]:
    """What a run was trained with, as text; the keys of its config, and what the record says beside them."""
    record = run.record
    found = {key: format_value(value) for key, value in run.config.items() if key not in _PLACES}
    rows = ", ".join(f"{name} {count}" for name, count in (record.datasets or {}).items())
    beside = {
        "method": run.method_name,
        "reference": run.reference.describe(),
        "rows": rows,
        "effective batch": record.effective_batch,
        "processes": record.processes,
        "planned steps": record.total_steps,
        **{f"{name} (version)": version for name, version in (record.engine or {}).items()},
    }
    return {**{key: str(value) for key, value in beside.items() if value not in (None, "")}, **found}


def _differing(found: Sequence[dict[str, str]]) -> dict[str, tuple[str, ...]]:
    rows = _beside(found)
    return {key: cells for key, cells in rows.items() if len(set(cells)) > 1}


def _beside(found: Sequence[dict[str, str]]) -> dict[str, tuple[str, ...]]:
    keys = dict.fromkeys(key for values in found for key in values)
    return {key: tuple(values.get(key, _NONE) for values in found) for key in keys}


def _is_evaluated(run: Run) -> bool:
    return bool(_evaluated(run, "loss", "{}"))


def _figures(run: Run, is_evaluated: bool) -> dict[str, str]:
    """The figures of a run at its best step.

    `is_evaluated`: by `rlguide eval`, with intervals. Its loss is that of the preferences alone, the engine's also has
    `pref_ftx` in it, so that one run's is never put beside the other's.
    """
    rows, best, done = read_metrics(run.path / METRICS), best_step(run), steps_done(run.path)
    found = {"state": state_of_run(run), "steps": _NONE if done is None else str(done)}
    if best is not None:
        found["best step"] = str(best.step)
    accuracy = held_out_accuracy(run)
    if accuracy is not None:
        found["held-out accuracy"] = percent(accuracy)
    step = shown_step(run)
    for name, key, form in (("loss", "eval_loss", "{:.4f}"), ("margin", "eval_rewards/margins", "{:+.4f}")):
        value = next((row[key] for row in rows if row["step"] == step and key in row), None)
        logged = "" if value is None else form.format(value)
        if cell := _evaluated(run, name, form) if is_evaluated else logged:
            found[f"held-out {name}"] = cell
    last = {key: row[key] for row in rows for key in ("loss", "eval_loss") if key in row}
    if "eval_loss" in last:
        found["held-out loss at the end" + ", during training" * is_evaluated] = f"{last['eval_loss']:.4f}"
    if "loss" in last:
        found["training loss at the end"] = f"{last['loss']:.4f}"
    if findings := findings_of(run):
        found["findings"] = ", ".join(finding.rule for finding in findings)
    return {**found, **({} if run.seconds is None else {"took": duration(run.seconds)})}


def _evaluated(run: Run, name: str, form: str) -> str:
    """A figure of `rlguide eval` at this step with its interval; "" where it was not measured."""
    found = evaluated_figure(run, name, shown_step(run))
    if found is None:
        return ""
    value, low, high = (form.format(number) for number in (found.value, found.low, found.high))
    return f"{value} ({low} to {high})"


def _notes(runs: Sequence[Run]) -> list[str]:
    """What cannot be compared, in sentences."""
    held_out = [_held_out(run) for run in runs]
    notes = []
    if any(item != held_out[0] for item in held_out):
        notes.append("their held-out data are not the same: the held-out figures cannot be compared")
    kinds = [(run.method_name, run.record.loss, loss_of(run.config)) for run in runs]
    if any(kind != kinds[0] for kind in kinds):
        notes.append(
            "they minimise different losses, or one with other settings such as pref_beta: compare accuracies, and no"
            " losses or margins"
        )
    return notes


def _held_out(run: Run) -> dict[str, Any]:
    record = run.record
    names = dict.fromkeys(record.held_out or {})
    drawn = {key: run.config.get(key) for key in ("val_size", "seed", "dataset") if run.config.get("val_size")}
    return {**{name: (record.checksums or {}).get(name) for name in names}, **drawn}


def overlaid(runs: dict[str, Run]) -> list[Panel]:
    """The panels of several runs in one, each line labelled with its run."""
    found: dict[str, list[Any]] = {}
    for label, run in runs.items():
        for panel in panels(read_metrics(run.path / METRICS)):
            for line in panel.lines:
                name = label if line.label == panel.title else f"{label} {line.label}"
                found.setdefault(panel.title, []).append(replace(line, label=name))
    return [Panel(title, tuple(lines)) for title, lines in found.items()]
