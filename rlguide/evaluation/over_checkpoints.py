"""Which checkpoint of a run is best: instructions followed and held-out reward over KL from the parent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rlguide.console import say
from rlguide.errors import UsageError
from rlguide.evaluation import divergence
from rlguide.evaluation.asked import Asked, followed
from rlguide.runs.checkpoints import list_checkpoints, step_of
from rlguide.runs.metrics import METRICS, read_metrics
from rlguide.statistics import Proportion, proportion


@dataclass(frozen=True)
class Point:
    """One checkpoint.

    Attributes:
        kl: nats per response, of the policy from its parent.
        instructions: share of the prompts with instructions all of whose instructions it follows.
        margin: of held-out pairs, as logged in training at this step; None where that was not logged.
    """

    step: int
    kl: float
    instructions: Proportion
    margin: float | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON, and for the plot."""
        return {**asdict(self), "instructions": self.instructions.as_dict()}


def measure(asked: Asked) -> list[Point]:
    """The checkpoints of a run in the order of their steps.

    Raises:
        UsageError: it has none, or its held-out prompts cannot be read.
        EngineError: the engine failed.
    """
    run = asked.run
    steps = [step_of(path) for path in list_checkpoints(run.path)]
    conversations = asked.conversations
    if not steps or not conversations:
        what = "no checkpoint" if not steps else "no held-out prompts that can be read"
        raise UsageError(f"{run.name} has {what}", "evaluate it without --over-checkpoints")
    margins = logged_margins(read_metrics(run.path / METRICS))
    prompts = asked.prompts
    points = []
    for step in sorted(steps):
        say(f"checkpoint {step}")
        policy = replace(run.policy, adapters=(*run.policy.adapters[:-1], run.file(f"checkpoint-{step}")))
        found = asked.responses(policy, [[{"role": "user", "content": prompt.prompt}] for prompt in prompts])
        hits = sum(followed(prompts, [response.text for response in found], "strict"))
        kl = asked.divergence(policy, conversations)
        points.append(Point(step, kl.response.value, proportion(int(hits), len(prompts)), margins.get(step)))
    return points


def logged_margins(rows: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """The held-out margin at each step that was evaluated in training, from the rows of `metrics.jsonl`."""
    found = {row.get("step"): row.get("eval_rewards/margins") for row in rows}
    return {
        int(step): float(margin)
        for step, margin in found.items()
        if isinstance(step, int) and isinstance(margin, int | float)
    }


def best(points: Sequence[Point]) -> Point | None:
    """The checkpoint that follows most instructions within the limit of KL, the nearer one of equals; None of none."""
    near = [point for point in points if point.kl <= divergence.LIMIT]
    return max(near, key=lambda point: (point.instructions.hits, -point.kl), default=None)


def verdict(points: Sequence[Point]) -> str:
    """Which checkpoint is best, in a sentence."""
    found = best(points)
    if found is None:
        return f"every checkpoint is further than {divergence.LIMIT:g} nats per response from the parent"
    share = f"{found.instructions.value * 100:.1f} %"
    return (
        f"best: checkpoint-{found.step}, which follows {share} of the instructions at {found.kl:.2f} nats per response"
    )
