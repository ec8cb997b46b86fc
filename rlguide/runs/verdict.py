"""What a training came to, in a sentence or two: what was learnt on held-out data, and how sure that is."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlguide.catalog.diagnosis import LEVELS, diagnosis_rules
from rlguide.errors import DataError
from rlguide.recipes.schedule import EVAL_BATCH, UNITS, count_of
from rlguide.runs.best import best_step
from rlguide.runs.diagnosis.course import course
from rlguide.runs.diagnosis.diagnose import findings_of
from rlguide.runs.diagnosis.first_step import first_loss
from rlguide.runs.metrics import METRICS, accuracy_of, numbers_of, read_metrics, read_rows
from rlguide.runs.record import EVALUATED, Run
from rlguide.statistics import Estimate, proportion, read_estimate
from rlguide.workspace import read_json

_MARGIN = "eval_rewards/margins"
# The guide's: of the recorded runs, those that are sound ended below 0.98 of the reference's loss, and those with a
# learning rate of 1e-8 at 1.00 (tests/runs/sick).
_NEAR = 0.99


@dataclass(frozen=True)
class Verdict:
    """The verdict.

    Attributes:
        level: "good", "unclear", "bad" or "unknown" (nothing was held out).
        text: a sentence, with interval and size; more: further sentences.
    """

    level: str
    text: str
    more: tuple[str, ...] = ()


def verdict_of(run: Run) -> Verdict:
    """The verdict on a run, from its evaluation during training, or from `rlguide eval` where that was run."""
    verdict = _evaluated(run) or _during_training(run)
    check = run.record.start_check
    if check is None or check.get("ok") is not False:
        return _beside_findings(run, verdict)
    other = "the reference is not the starting policy, so that its figures compare with another model"
    return Verdict("bad" if verdict.level != "unknown" else verdict.level, verdict.text, (other, *verdict.more))


def _beside_findings(run: Run, verdict: Verdict) -> Verdict:
    """The verdict, which is not good beside an error that the diagnosis has found, whatever the accuracy."""
    errors = [finding.seen for finding in findings_of(run) if finding.level == LEVELS[0]]
    if verdict.level != "good" or not errors:
        return verdict
    return Verdict("unclear", verdict.text, (f"the diagnosis has an error: {errors[0]}", *verdict.more))


def _during_training(run: Run) -> Verdict:
    rows = read_metrics(run.path / METRICS)
    last = (run.record.summary or {}).get("held_out")
    held_out = [row for row in rows if "eval_loss" in row] or [row for row in [numbers_of(last)] if row]
    if not held_out:
        return _without_held_out(run, rows)
    best = best_step(run)
    at_best = [row for row in held_out if best is not None and best.folder is not None and row["step"] == best.step]
    row = (at_best or held_out)[-1]
    if (accuracy := accuracy_of(row)) is not None:
        return _by_accuracy(run, accuracy, row, held_out)
    return _by_loss(run, row, held_out)


def judge(
    accuracy: Estimate, ties: int = 0, harm: str = "", weak: str = "", is_reward_model: bool = False
) -> tuple[str, str]:
    """The level of a reward accuracy on held-out pairs, and what it says, in words.

    Args:
        ties: pairs whose responses have the same reward, which count as half.
        harm: what speaks against it all the same, in words; "" if nothing does.
        weak: why it is little, although it is sure; "" if it is not.
    """
    half = f" ({ties} ties count as half)" if ties else ""
    what = "the reward model" if is_reward_model else "the policy"
    if ties and ties == accuracy.n:
        alike = "the reward model scores" if is_reward_model else "policy and reference score"
        return "bad", f"{alike} all pairs alike: nothing was learnt; check learning rate and steps"
    if accuracy.low > 0.5:
        learnt = "prefers the chosen responses" if is_reward_model else "has learnt the preference"
        sure = f"{what} {learnt}: the confidence interval of its accuracy is above chance{half}"
        level = "bad" if harm else "unclear" if weak else "good"
        return level, "; ".join(filter(None, (sure, harm or weak)))
    if accuracy.high < 0.5:
        rate = "" if is_reward_model else " and the learning rate"
        return "bad", f"{what} prefers the REJECTED responses{half}: check the data's columns{rate}"
    if harm:
        return "bad", f"no clear preference{half}; {harm}"
    return (
        "unclear",
        f"no clear preference: the confidence interval includes chance (0.5){half}; use more pairs or train longer",
    )


def above_reference(loss_of_reference: float) -> str:
    """What is said of a policy whose held-out loss is above its reference's."""
    return (
        f"its loss on held-out pairs is above the reference's ({loss_of_reference:.4f}): it errs more than it gains."
        " Train fewer epochs, with a lower learning rate or a higher pref_beta"
    )


def near_reference(loss: float, loss_of_reference: float | None) -> str:
    """What is said of a policy whose held-out loss is hardly below its reference's; "" of any other.

    An accuracy tells the sign of margins alone: with a learning rate far too small it is above chance, too.
    """
    if loss_of_reference is None or loss < _NEAR * loss_of_reference:
        return ""
    return (
        f"its loss on held-out pairs is still near the reference's ({loss_of_reference:.4f}): hardly more than the"
        " direction is learnt. Train longer, or with a higher learning rate"
    )


def counts_of(run: Run, rows: list[dict[str, Any]]) -> dict[str, int | None]:
    """Of how many rows the "first" and the "last" log of training are means, and a "held_out" one; None: not known.

    A run that logged once has no last log. A log is a mean over all rows since the log before it (transformers 4.57,
    Trainer; train/dpo/trainer.py for the rewards).
    """
    steps = [int(row["step"]) for row in rows if "loss" in row]
    batch = run.record.effective_batch
    first = steps[0] * batch if steps and batch else None
    last = (steps[-1] - steps[-2]) * batch if len(steps) > 1 and batch else None
    return {"first": first, "last": last, "held_out": run.held_out_rows or None}


def repeated(run: Run) -> int:
    """How many held-out pairs the evaluation during training counts twice, to fill the last batch of all processes."""
    rows = [count for count in (run.record.held_out or {}).values() if isinstance(count, int)]
    return -sum(rows) % ((run.record.processes or 1) * count_of(run.config, EVAL_BATCH))


def unit_of(run: Run) -> str:
    """What a row of its data is called."""
    return UNITS[run.method.data] if run.method is not None else "pairs"


def _by_accuracy(run: Run, value: float, row: Mapping[str, float], held_out: list[dict[str, Any]]) -> Verdict:
    """Of a method whose evaluation counts how often the chosen response has the higher reward."""
    count, step = run.held_out_rows, int(row["step"])
    if not count or not 0 <= value <= 1:
        return Verdict("unknown", f"of how many pairs the held-out accuracy {value:.3f} is, is not on record")
    found, is_model = proportion(round(value * count), count), run.method is not None and run.method.trains != "policy"
    about = "about " if repeated(run) else ""
    size = (
        f"accuracy {about}{value:.3f} on {count:,} held-out pairs, {found.low:.3f} to {found.high:.3f}, at step {step}"
    )
    if run.method is not None and not run.method.has_reference and not is_model:
        return _without_reference(run, found, size, held_out)
    all_ties = row.get(_MARGIN) == 0 and value == 0
    wanted, loss = first_loss(run.config), row["eval_loss"]
    harm = above_reference(wanted) if wanted is not None and loss > _risen(wanted) else ""
    level, said = judge(found, count if all_ties else 0, harm, near_reference(loss, wanted), is_model)
    return Verdict(level, said if all_ties else f"{said} ({size})", _more(run))


def _without_reference(run: Run, found: Estimate, size: str, held_out: list[dict[str, Any]]) -> Verdict:
    """ORPO and SimPO: the accuracy is that of the policy alone, which its start had too, in part."""
    side = "more likely than" if found.low > 0.5 else "LESS likely than" if found.high < 0.5 else "as likely as"
    course_level, _ = _course_of_loss(held_out)
    is_good = found.low > 0.5 and course_level == "good"
    level = "bad" if found.high < 0.5 or course_level == "bad" else "good" if is_good else "unclear"
    before = "how much of that its start had is not measured; `rlguide eval` compares with it"
    return Verdict(level, f"it finds the chosen responses {side} the rejected ones ({size}); {before}", _more(run))


def _by_loss(run: Run, row: Mapping[str, float], held_out: list[dict[str, Any]]) -> Verdict:
    """Of SFT, and of KTO, whose evaluation gives means alone."""
    count, unit, step, loss = run.held_out_rows, unit_of(run), int(row["step"]), row["eval_loss"]
    size = f"{count:,} held-out {unit}" if count else "held-out data"
    more = ("an evaluation during training gives means alone, so without an interval", *_more(run))
    wanted = first_loss(run.config)
    if wanted is None or run.method is None or not run.method.has_reference:
        level, said = _course_of_loss(held_out)
        return Verdict(level, f"{said} ({size})", more)
    figures = f"loss {loss:.4f} against {wanted:.4f} of the reference, margin {row.get(_MARGIN, 0.0):+.3f}"
    where = f"({figures}, on {size}, at step {step})"
    if row.get(_MARGIN) == 0:
        return Verdict("bad", f"nothing was learnt: policy and reference are alike {where}", more)
    if loss < wanted and row.get(_MARGIN, 0.0) > 0 and near_reference(loss, wanted):
        return Verdict("unclear", f"the policy has hardly moved towards the good responses {where}", more)
    if loss < wanted and row.get(_MARGIN, 0.0) > 0:
        return Verdict("good", f"the policy has moved towards the good responses {where}", more)
    return Verdict("bad", f"the policy has not moved towards the good responses {where}", more)


def _risen(loss: float) -> float:
    """From where on a held-out loss is above this one, and not just another evaluation's."""
    return (1 + diagnosis_rules()["overfitted"].at["rise"]) * loss


def _course_of_loss(held_out: list[dict[str, Any]]) -> tuple[str, str]:
    """The level of how the held-out loss went, and that in words."""
    points = {int(row["step"]): float(row["eval_loss"]) for row in held_out}
    first, last, best = min(points), max(points), min(points, key=lambda step: points[step])
    if len(points) < 2:
        return "unclear", f"the held-out loss is {points[last]:.4f}, measured once, so that it has no course"
    if points[last] > _risen(points[best]):
        rose = f"from {points[best]:.4f} at step {best} to {points[last]:.4f} at step {last}"
        return "bad", f"the held-out loss rose again, {rose}: it is overfitted"
    went = f"from {points[first]:.4f} at step {first} to {points[last]:.4f} at step {last}"
    if points[last] < points[first]:
        return "good", f"the held-out loss fell {went}"
    return "unclear", f"the held-out loss did not fall ({went})"


def _without_held_out(run: Run, rows: list[dict[str, Any]]) -> Verdict:
    if any("eval_loss" in row for row in read_rows(run.path / METRICS)):
        return Verdict("bad", "the held-out loss is not a number: what was learnt is lost")
    held_out = "was held out" if not run.held_out_rows else "was evaluated on the held-out data"
    nothing = f"nothing {held_out}, so that nothing is known of what was learnt"
    rewards = [row["reward"] for row in rows if "reward" in row]
    if len(rewards) > 1:  # PPO
        some = max(1, len(rewards) // 4)
        before, after = (math.fsum(part) / some for part in (rewards[:some], rewards[-some:]))
        way = f"{'rose' if after > before else 'did not rise'} ({before:+.3f} to {after:+.3f}"
        means = f"{way}, means of {some} logs at the beginning and at the end)"
        return Verdict("unknown", f"{nothing} but by the reward model: the reward of its own responses {means}")
    is_said = run.method is not None and bool(run.method.normal)  # in a line of its own
    went = None if is_said else course(run.config, rows)
    return Verdict("unknown", nothing, () if went is None else (f"of the training data: {went.message}",))


def _more(run: Run) -> tuple[str, ...]:
    count = repeated(run)
    if not count:
        return ()
    exact = f"; `rlguide eval {shlex.quote(run.name)}` is exact" if unit_of(run) == "pairs" else ""
    return (f"about, because {count} {unit_of(run)} count twice to fill the last batch{exact}",)


def _evaluated(run: Run) -> Verdict | None:
    """The verdict by what `rlguide eval` has left; None where there is nothing usable."""
    try:
        values = read_json(run.path / EVALUATED)
    except DataError:
        return None
    if not isinstance(values, dict):
        return None
    accuracy, loss = (read_estimate(values.get(key)) for key in ("accuracy", "loss"))
    if accuracy is None or not isinstance(values.get("ties"), int):
        return None
    wanted = values.get("loss_of_reference")
    harm = above_reference(wanted) if isinstance(wanted, float) and loss is not None and loss.low > wanted else ""
    is_model = run.method is not None and run.method.trains != "policy"
    weak = near_reference(loss.value, wanted) if isinstance(wanted, float) and loss is not None else ""
    level, said = judge(accuracy, values["ties"], harm, weak, is_model)
    size = f"accuracy {accuracy.value:.3f} on {accuracy.n:,} pairs, {accuracy.low:.3f} to {accuracy.high:.3f}"
    at_step = f", at step {values['step']}" if isinstance(values.get("step"), int) else ""
    return Verdict(level, f"{said} ({size}, by `rlguide eval`{at_step})")
