"""The summary at the end of a training."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rlguide.catalog.methods import recorded_method
from rlguide.recipes.lean import outcome
from rlguide.runs.checkpoints import steps_done
from rlguide.runs.diagnosis.course import course
from rlguide.runs.diagnosis.diagnose import findings_of
from rlguide.runs.diagnosis.finding import Finding, finding_lines
from rlguide.runs.live import without_ties
from rlguide.runs.metrics import METRICS, read_metrics
from rlguide.runs.record import LOG, Run
from rlguide.runs.retry import survived


def report(run: Run) -> dict[str, Any]:
    """What a run came to: steps done and planned, metrics and what they say, the stack and the files it left."""
    record, summary = run.record, run.record.summary or {}
    return {
        "run": run.name,
        "status": run.status,
        "steps": steps_done(run.path) or record.total_steps,
        "total_steps": record.total_steps,
        "method": run.method_name,
        "start_check": record.start_check,
        "course": _course(run),
        "findings": [asdict(finding) for finding in findings_of(run)],
        "first": summary.get("first"),
        "last": summary.get("last"),
        "held_out": summary.get("held_out"),
        "held_out_repeated": _repeated(run),
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


def _course(run: Run) -> dict[str, Any] | None:
    """How the losses went, of a method of which the catalog says what is normal."""
    rows = read_metrics(run.path / METRICS)
    found = course(run.config, rows) if run.method is not None and run.method.normal else None
    return None if found is None else asdict(found)


def _repeated(run: Run) -> int:
    """How many held-out pairs the evaluation during training counts twice, to fill the last batch of all processes."""
    rows = [count for count in (run.record.held_out or {}).values() if isinstance(count, int)]
    batch = run.config.get("per_device_eval_batch_size", 8)
    return -sum(rows) % ((run.record.processes or 1) * (batch if isinstance(batch, int) and batch > 0 else 1))


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
    """The report as lines of text: first, last and held-out figures side by side."""
    first, last, held_out = (without_ties(values[key] or {}) for key in ("first", "last", "held_out"))
    done, planned = values["steps"], values["total_steps"]
    of_all = "" if done == planned else f" of {planned} planned"  # stopped early, or the plan was about right only
    lines = [f"{values['run']}: {values['status']} after {done}{of_all} steps"]
    if went_on := survived(values["attempts"]):
        lines.append(went_on)
    lines += [values[key]["message"] for key in ("start_check", "course") if values[key] and values[key]["ok"]]
    lines += finding_lines(Finding(**finding) for finding in values["findings"])
    lines.append(f"{'':18}{'first step':>12}{'last log':>12}{'held out':>12}")
    for key, held_key, name, form in _ROWS:
        if not any(k in row for row, k in ((first, key), (last, key), (held_out, held_key))):
            continue  # not every method logs every figure
        cells = [
            form.format(row[k]) if k in row else "-" for row, k in ((first, key), (last, key), (held_out, held_key))
        ]
        lines.append(f"{name:18}" + "".join(f"{cell:>12}" for cell in cells))
    if held_out and values["held_out_repeated"]:
        repeated, method = values["held_out_repeated"], recorded_method(values["method"])
        is_pairs = method is None or method.data == "pairs"
        exact = "; `rlguide eval` is exact" if is_pairs else ""
        unit = "pairs" if is_pairs else "examples"
        lines.append(f"held out: about, because {repeated} {unit} count twice to fill the last batch{exact}")
    saved = outcome(values["lean"] or {})
    if saved:
        lines.append(saved)
    lines.append("policy: " + " + ".join([values["base"], *values["stack"]]))
    files = [values["metrics"], *values["plots"], values["log"]]
    lines.append("files: " + "  ".join(files))
    return lines
