"""How the losses of a run went whose first loss proves nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from rlguide.runs.diagnosis.diagnose import diagnose
from rlguide.runs.diagnosis.logs import Facts

_ON_LOSSES = ("diverged", "loss_not_falling", "overfitted")


@dataclass(frozen=True)
class Course:
    """Whether the losses of a run went as they must, in a sentence."""

    ok: bool
    message: str


def course(config: Mapping[str, Any], rows: Sequence[Mapping[str, float]]) -> Course | None:
    """How the losses of a finished run without a reference went.

    Args:
        rows: its logs in order, each with its `step`.

    Returns:
        Whether the training loss fell, and the held-out loss did not rise again; None of fewer than two logs.
    """
    losses = [row["loss"] for row in rows if "loss" in row]
    if len(losses) < 2:
        return None
    found = diagnose(config, rows, Facts(is_over=True), _ON_LOSSES)
    if found:
        return Course(False, f"{found[0].seen}: {found[0].fix}")
    some = max(1, len(losses) // 4)  # the loss of one batch says little
    first, last = fmean(losses[:some]), fmean(losses[-some:])
    fell = f"the training loss {'fell' if last < first else 'went'} from {first:.4f} to {last:.4f}"
    is_evaluated = len({row["step"] for row in rows if "eval_loss" in row}) > 1
    return Course(True, f"{fell}, and the held-out loss did not rise again" if is_evaluated else fell)
