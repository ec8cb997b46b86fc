"""What is shown of a reward model: its figures on held-out pairs, and what uses it next."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlguide.engine.find import Engine
    from rlguide.evaluation.suite import Suite
    from rlguide.runs.record import Run


def show_evaluation(suite: Suite, run: Run, engine: Engine) -> None:
    """Print the figures and the verdict (stdout), and what uses the reward model."""
    from rlguide.console import say, show, show_table
    from rlguide.evaluation.reward_model import ALIKE, Group, RewardEvaluation

    result = suite.pairs
    assert isinstance(result, RewardEvaluation)
    figures = (
        ("accuracy", "{:.4f}", result.accuracy),
        ("margin", "{:+.4f}", result.margin),
        ("loss", "{:.4f}", result.loss),
    )
    rows = [
        (name, form.format(found.value), f"{form.format(found.low)} to {form.format(found.high)}")
        for name, form, found in figures
    ]
    show_table(("figure", "value", "95 % interval"), rows)
    groups = [(f"chosen {group.name}", group) for group in result.by_length]
    groups += [(f"|margin| {group.name}", group) for group in result.by_margin]

    def line(name: str, group: Group) -> tuple[str, ...]:
        found = group.accuracy
        interval = f"{found.low:.3f} to {found.high:.3f}"
        return name, f"{found.n:,}", f"{found.value:.3f}", interval, f"{group.claimed:.3f}"

    show_table(("pairs", "number", "accuracy", "95 % interval", "claimed"), [line(*group) for group in groups])
    show(f"{result.pairs:,} held-out pairs of {', '.join(result.datasets)}")
    show(f"longer, shorter: in tokens, by more than {ALIKE:.0%}")
    show("claimed: how often the model itself expects to be right, the mean of sigmoid(|margin|)")
    show(result.verdict)
    if command := next_of(run, engine):
        say(f"next: {command}")


def next_of(run: Run, engine: Engine) -> str:
    """The commands that use a reward model, "" where there is none: PPO, after its engine is installed."""
    from rlguide.engine.installed import engine_for
    from rlguide.errors import EngineError
    from rlguide.policy.run_state import ppo_command

    command = ppo_command(run.name, run.record)
    if not command:
        return ""
    try:
        engine_for(engine, "ppo")
    except EngineError:
        return f"rlguide engine install ppo    then: {command}"
    return command
