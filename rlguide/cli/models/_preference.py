"""The options `--judge` and `--vote` of `rlguide compare`, and what is done with them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rlguide.evaluation.comparison.compare import Comparison
    from rlguide.evaluation.preference.judge_prompt import JudgePrompt
    from rlguide.evaluation.preference.outcome import Outcome
    from rlguide.evaluation.preference.votes import Election
    from rlguide.inference.choose import Choice
    from rlguide.inference.endpoint import Endpoint
    from rlguide.inference.model import Model
    from rlguide.reports.compared import Preferred

JudgeOption = Annotated[
    str | None,
    typer.Option(
        "--judge",
        metavar="MODEL",
        help="Let a model judge each pair, in both orders: one of the endpoint, an address, a run or a folder.",
    ),
]
JudgeEndpointOption = Annotated[
    str | None,
    typer.Option(
        "--judge-endpoint",
        metavar="URL",
        help="Where the judge is; OPENAI_BASE_URL by default. Its key: RLGUIDE_API_KEY or OPENAI_API_KEY.",
    ),
]
JudgePromptOption = Annotated[
    Path | None, typer.Option("--judge-prompt", metavar="FILE", help="What the judge is asked (YAML).")
]
JudgeTokensOption = Annotated[
    int, typer.Option("--judge-tokens", min=1, help="Longest reply of the judge; a judge that thinks needs thousands.")
]
ConcurrencyOption = Annotated[
    int, typer.Option("--concurrency", min=1, max=64, help="Requests at once to the judge's endpoint.")
]
VoteOption = Annotated[
    bool, typer.Option("--vote", help="Vote yourself: blind, shuffled, with single keys; goes on where it was left.")
]
VoterOption = Annotated[str, typer.Option("--voter", metavar="NAME", help="Who votes, if several do.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Of the order in which pairs and sides are shown.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before many calls of the judge.")]


@dataclass(frozen=True)
class Judge:
    """Who judges, and by which prompt."""

    model: Model
    prompt: JudgePrompt


def judge_of(
    choice: Choice, name: str | None, endpoint: str | None, prompt: Path | None, concurrency: int
) -> Judge | None:
    """The judge that the options name; None if they name none.

    Raises:
        UsageError, DataError: there is no such judge, or no such prompt.
        EngineError: an endpoint of which no model is named cannot be asked which it has.
    """
    from rlguide.errors import UsageError
    from rlguide.evaluation.preference.judge_prompt import load_judge_prompt
    from rlguide.inference.address import OPENAI_ADDRESS
    from rlguide.inference.choose import BASE, SFT, at_its_step
    from rlguide.inference.endpoint import Endpoint, is_address
    from rlguide.policy.checkpoint import locate

    if name is None and endpoint is None:
        if prompt is not None:
            raise UsageError("--judge-prompt without a judge", "add --judge MODEL")
        return None
    words = load_judge_prompt(prompt)
    if endpoint is None and name is not None:
        if is_address(name):
            return _at(Endpoint(name, None, concurrency), words)
        if name in (BASE, SFT) or at_its_step(choice.ws, name) or locate(choice.ws, name).exists():
            return Judge(choice.named(name), words)
        endpoint = os.environ.get(OPENAI_ADDRESS, "").strip() or None
    if endpoint is None:
        raise UsageError(
            f"--judge {name} is no run or folder here, and no endpoint is named",
            f"add --judge-endpoint URL, or set {OPENAI_ADDRESS}",
        )
    return _at(Endpoint(endpoint, name, concurrency), words)


def _at(endpoint: Endpoint, prompt: JudgePrompt) -> Judge:
    endpoint.identity()  # what it lacks is said now, and not after hours in which the models responded
    return Judge(endpoint, prompt)


def judged(found: Comparison, judge: Judge, longest: int, yes: bool) -> list[Outcome]:
    """Ask the judge about each model against the first one; what it takes is said before, and many calls are confirmed.

    Args:
        longest: reply of the judge, in tokens.

    Raises:
        EngineError: the judge failed; what it has said is kept.
    """
    from rlguide.cli._options import agree, typed_again
    from rlguide.console import say
    from rlguide.evaluation.preference.judging import MANY_CALLS, Judging

    first, *others = found.titles
    every = [Judging(found.records, model, first, judge.model, judge.prompt, longest) for model in others]
    for judging in every:
        say(f"judging {judging.model} against {judging.other}: {judging.plan()}")
    calls = sum(len(judging.missing) for judging in every)
    if calls > MANY_CALLS:
        agree(f"Make {calls:,} calls?", yes, typed_again("--yes"), default=False)
    return [judging.run() for judging in every]


def voted(found: Comparison, voter: str, seed: int) -> None:
    """Let a person vote on each model against the first one."""
    from rlguide.evaluation.preference.voting import Booth, actions

    first, *others = found.titles
    with actions() as next_action:
        for model in others:
            Booth(found.folder, found.records, model, first, voter, seed).vote(next_action)


def elections(found: Comparison) -> list[Election]:
    """What the votes come to that were ever given on this comparison; models without a vote are left out."""
    from rlguide.evaluation.preference.votes import election

    first, *others = found.titles
    each = [
        election(found.folder, [record.key(model, first) for record in found.records], model, first) for model in others
    ]
    return [item for item in each if item.votes]


def preferences(found: Comparison, outcomes: list[Outcome], votes: list[Election]) -> dict[str, Any]:
    """Judge and votes for JSON, which is also kept beside the responses; {} where there is neither."""
    from rlguide.evaluation.preference.outcome import keep_preferences

    if not outcomes and not votes:
        return {}
    value: dict[str, Any] = {
        "judge": [outcome.as_dict() for outcome in outcomes],
        "votes": [election.as_dict() for election in votes],
        "agreement": [
            {"model": election.model, **both.as_dict()}
            for outcome, election in _both(outcomes, votes)
            if (both := election.with_judge(outcome))
        ],
    }
    keep_preferences(found.folder, value, outcomes)
    return value


def preferred_in(outcomes: list[Outcome], votes: list[Election]) -> list[Preferred]:
    """Judge and votes as they stand on the page, and on the screen."""
    from rlguide.reports.compared import Preferred

    found = [Preferred(item.model, item.other, "judge", item.rows(), [item.verdict]) for item in outcomes]
    by_model = {outcome.model: outcome for outcome in outcomes}
    for election in votes:
        sentences = election.sentences()
        outcome = by_model.get(election.model)
        if outcome and (both := election.with_judge(outcome)):
            said = f"judge and votes name the same winner in {both.hits} of {both.n} pairs on which both name one"
            sentences.append(f"{said} (95 %: {100 * both.low:.0f} to {100 * both.high:.0f})")
        found.append(Preferred(election.model, election.other, "votes", [], sentences))
    return found


def show_preferences(found: list[Preferred]) -> None:
    """Judge and votes as tables and sentences (stdout)."""
    from rlguide.console import show, show_table

    for item in found:
        if item.rows:
            show("")
            show_table((item.by, f"{item.model} against {item.other}", "95 % interval"), item.rows)
        for sentence in item.sentences:
            show(sentence if item.rows else f"{item.by}: {sentence}")


def _both(outcomes: list[Outcome], votes: list[Election]) -> list[tuple[Outcome, Election]]:
    by_model = {election.model: election for election in votes}
    return [(outcome, by_model[outcome.model]) for outcome in outcomes if outcome.model in by_model]
