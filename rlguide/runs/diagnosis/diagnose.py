"""The diagnosis of a run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from rlguide.catalog.diagnosis import LEVELS, Rule, diagnosis_rules
from rlguide.runs.diagnosis import broken, data, drift, held_out, learning, own
from rlguide.runs.diagnosis.advice import commands_of, try_command, values_of
from rlguide.runs.diagnosis.facts import facts_of
from rlguide.runs.diagnosis.finding import Finding
from rlguide.runs.diagnosis.logs import Facts, Logs
from rlguide.runs.diagnosis.seen import Seen
from rlguide.runs.metrics import METRICS, read_rows
from rlguide.runs.record import Run

# A run may log thousands of times, and each rule looks at all of it: while it trains, the diagnosis is made again when
# there are so many times as many rows, so that its cost grows with their number and not with its square.
LOOK_AGAIN = 1.02
_FUNCTIONS: tuple[Callable[[Logs, Mapping[str, float]], Seen | None], ...] = (
    broken.nan,
    broken.reference,
    broken.diverged,
    broken.gradient,
    learning.nothing_learnt,
    learning.loss_not_falling,
    learning.rm_at_chance,
    learning.warmup,
    held_out.overfitted,
    held_out.memorised,
    held_out.swapped,
    held_out.noise,
    drift.over_optimised,
    drift.displacement,
    drift.solved_at_once,
    drift.simpo_degrades,
    own.kto_batch,
    own.kto_weights,
    own.kto_logits,
    own.orpo_unbalanced,
    own.simpo_settings,
    own.ppo_kl,
    data.rm_length,
    data.cut,
    data.alike,
)
FUNCTIONS = {function.__name__: function for function in _FUNCTIONS}


def diagnose(
    config: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    facts: Facts | None = None,
    only: Collection[str] | None = None,
) -> list[Finding]:
    """What the figures of a run say, the gravest first; it raises nothing, whatever they are.

    Args:
        config: of the training; its `output_dir` is the run as it is typed from the workspace.
        rows: of its `metrics.jsonl`, so far: numbers, also NaN and infinities or their names as text.
        facts: what else is known of the run.
        only: names of rules; all of them by default. What one of them covers is told then, too.
    """
    logs = Logs(config, rows, facts)
    rules = diagnosis_rules()
    seen = {name: _seen(logs, rules[name]) for name in FUNCTIONS if only is None or name in only}
    hidden = {other for name, what in seen.items() if what is not None for other in rules[name].covers}
    found = [
        _finding(config, rules[name], what)
        for name, what in seen.items()
        if what is not None and (only is not None or name not in hidden)
    ]
    return sorted(found, key=lambda finding: LEVELS.index(finding.level))


def findings_of(run: Run) -> list[Finding]:
    """What is to be said of a run as it stands, the gravest first: of its figures, its data, and its evaluation."""
    return diagnose(run.config, read_rows(run.path / METRICS), facts_of(run))


def _seen(logs: Logs, rule: Rule) -> Seen | None:
    return FUNCTIONS[rule.name](logs, rule.at)


def _finding(config: Mapping[str, Any], rule: Rule, seen: Seen) -> Finding:
    settings = rule.settings if seen.settings is None else seen.settings
    words = {**commands_of(config), **seen.values}
    seen_text, means, fix = (text.format_map(words) for text in (rule.seen, rule.means, rule.fix))
    command = try_command(config.get("output_dir"), values_of(config, settings))
    return Finding(rule.name, seen.level or rule.level, seen.step, seen_text, means, fix, command, rule.source)
