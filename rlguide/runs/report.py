"""The summary at the end of a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rlguide.recipes.lean import outcome
from rlguide.runs.best import best_step
from rlguide.runs.checkpoints import steps_done
from rlguide.runs.diagnosis.course import course
from rlguide.runs.diagnosis.diagnose import findings_of
from rlguide.runs.diagnosis.finding import Finding, finding_lines
from rlguide.runs.metrics import METRICS, read_metrics, without_ties
from rlguide.runs.record import LOG, Run
from rlguide.runs.retry import survived
from rlguide.runs.verdict import counts_of, repeated, unit_of, verdict_of


def report(run: Run) -> dict[str, Any]:
    """What a run came to: the verdict, its best step, what was found; its figures; the stack and the files it left."""
    record, summary = run.record, run.record.summary or {}
    rows = read_metrics(run.path / METRICS)
    return {
        "run": run.name,
        "verdict": asdict(verdict_of(run)),
        "best": best_values(run),
        "findings": [asdict(finding) for finding in findings_of(run)],
        "status": run.status,
        "steps": steps_done(run.path) or record.total_steps,
        "total_steps": record.total_steps,
        "method": run.method_name,
        "start_check": record.start_check,
        "course": _course(run),
        "first": summary.get("first"),
        "last": summary.get("last"),
        "held_out": summary.get("held_out"),
        "held_out_repeated": repeated(run),
        "counts": counts_of(run, rows),
        "unit": unit_of(run),
        "base": run.policy.base,
        "stack": list(run.policy.adapters),
        "reference": asdict(record.reference) if record.reference else None,
        "attempts": list(record.attempts or ()),
        "plain": record.plain,
        "lean": record.lean,
        "plots": list(record.plots or ()),
        "metrics": run.file(METRICS),
        "log": run.file(LOG),
    }


def best_values(run: Run) -> dict[str, Any] | None:
    """The best step for JSON, its folder as it is typed from the workspace; None where nothing was held out."""
    best = best_step(run)
    if best is None:
        return None
    folder = best.folder
    if folder is not None:
        named = run.name if folder == run.path else run.file(folder.name)
    return {**asdict(best), "folder": None if folder is None else named}


def _course(run: Run) -> dict[str, Any] | None:
    """How the losses went, of a method of which the catalog says what is normal."""
    rows = read_metrics(run.path / METRICS)
    found = course(run.config, rows) if run.method is not None and run.method.normal else None
    return None if found is None else asdict(found)


_ROWS = (
    ("loss", "eval_loss", "loss", "{:.4f}"),
    ("rewards/accuracies", "eval_rewards/accuracies", "reward accuracy", "{:.3f}"),
    ("rewards/chosen", "eval_rewards/chosen", "chosen reward", "{:+.3f}"),
    ("rewards/rejected", "eval_rewards/rejected", "rejected reward", "{:+.3f}"),
    ("rewards/margins", "eval_rewards/margins", "margin", "{:+.3f}"),
    ("kl", "eval_kl", "KL", "{:.3f}"),
    ("reward", "eval_reward", "reward", "{:+.3f}"),
    ("accuracy", "eval_accuracy", "accuracy", "{:.3f}"),
)


def report_lines(values: dict[str, Any]) -> list[str]:
    """The report as lines of text: the verdict, what was found, then the figures with their sizes."""
    verdict, done, planned = values["verdict"], values["steps"], values["total_steps"]
    of_all = "" if done == planned else f" of {planned} planned"  # stopped early, or the plan was about right only
    lines = [f"{values['run']}: {verdict['text']}", *(f"  {sentence}" for sentence in verdict["more"])]
    lines += _of_best(values["best"], done)
    lines += [line for finding in values["findings"] for line in finding_lines(Finding(**finding))]
    lines.append(f"{values['status']} after {done}{of_all} steps")
    if went_on := survived(values["attempts"]):
        lines.append(went_on)
    lines += [values[key]["message"] for key in ("start_check", "course") if values[key] and values[key]["ok"]]
    lines += _figures(values)
    if saved := outcome(values["lean"] or {}):
        lines.append(saved)
    lines.append("policy: " + " + ".join([values["base"], *values["stack"]]))
    files = [values["metrics"], *values["plots"], values["log"]]
    lines.append("files: " + "  ".join(files))
    return lines


def _of_best(best: dict[str, Any] | None, done: int | None) -> list[str]:
    if best is None:
        return []
    if best["step"] == done:
        return [f"best step: the last, {best['step']} ({best['metric']} {best['value']:.4f})"]
    kept = f"kept in {best['folder']}" if best["folder"] else "its checkpoint was not kept"
    return [f"best step: {best['step']} of {done} ({best['metric']} {best['value']:.4f}), {kept}"]


def _figures(values: dict[str, Any]) -> list[str]:
    """First, last and held-out figures side by side, each below the number of rows that it is a mean of."""
    columns = {"first": "first step", "last": "last log", "held_out": "held out"}
    if values["last"] == values["first"]:
        del columns["last"]  # of a run so short that it logged once
    rows = {key: without_ties(values[key] or {}) for key in columns}
    columns = {key: name for key, name in columns.items() if rows[key]}
    body = []
    for key, held_key, name, form in _ROWS:
        keys = {column: held_key if column == "held_out" else key for column in columns}
        if any(keys[column] in rows[column] for column in columns):  # not every method logs every figure
            found = [form.format(rows[at][keys[at]]) if keys[at] in rows[at] else "-" for at in columns]
            body.append((name, *found))
    if not body:
        return []
    counts = [values["counts"][key] for key in columns]
    sizes = [f"{count:,} {values['unit']}" if count else "size unknown" for count in counts]
    return _aligned([("", *columns.values()), ("", *sizes), *body])


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows as lines no wider than they must be: the first cell of each to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("   ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows)
    return [line.rstrip() for line in lines]
