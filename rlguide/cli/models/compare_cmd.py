"""`rlguide compare`: models side by side on the same prompts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlguide.cli import _complete
from rlguide.cli._options import (
    EngineOption,
    JsonOption,
    Language,
    TemplateOption,
    TrustBaseOption,
    TrustCodeOption,
    WorkspaceOption,
    open_workspace,
)
from rlguide.cli.models._preference import (
    ConcurrencyOption,
    JudgeEndpointOption,
    JudgeOption,
    JudgePromptOption,
    JudgeTokensOption,
    SeedOption,
    VoteOption,
    VoterOption,
    YesOption,
)

if TYPE_CHECKING:
    from rlguide.evaluation.comparison.compare import Comparison


def command(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[A B ...]",
            help="Runs, RUN:STEP, checkpoints, merged folders, `base`, `sft`, OpenAI-compatible addresses"
            " (http://host/v1#MODEL); `sft` and the newest run by default. All are compared with the first.",
            autocompletion=_complete.of(_complete.runs, _complete.checkpoints),
        ),
    ] = None,
    prompts: Annotated[
        str,
        typer.Option(
            "--prompts",
            metavar="FILE|suite",
            help="A prompt a line (.txt), rows with a prompt or messages; or what `rlguide eval` asks.",
        ),
    ] = "suite",
    limit: Annotated[
        int | None, typer.Option("-n", "--limit", min=1, metavar="N", help="Only N prompts; of a file 200 by default.")
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option("--max-new-tokens", min=1, help="Cut responses here; 256 tokens, without a GPU 128.")
    ] = None,
    show: Annotated[
        str, typer.Option("--show", metavar="N|all", help="Show so many prompts, those that differ most first.")
    ] = "3",
    name: Annotated[
        str | None, typer.Option("--name", help="Of the folder in comparisons/; the names of the models by default.")
    ] = None,
    judge: JudgeOption = None,
    judge_endpoint: JudgeEndpointOption = None,
    judge_prompt: JudgePromptOption = None,
    judge_tokens: JudgeTokensOption = 256,  # one that is asked for a letter has said it by then
    concurrency: ConcurrencyOption = 4,
    vote: VoteOption = False,
    voter: VoterOption = "me",
    seed: SeedOption = 0,
    yes: YesOption = False,
    language: Annotated[Language, typer.Option("--lang", help="Of the page: en or zh.")] = Language.en,
    template: TemplateOption = None,
    trust_base: TrustBaseOption = False,
    trust_remote_code: TrustCodeOption = False,
    workspace: WorkspaceOption = Path(),
    engine: EngineOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare what models respond to the same prompts: side by side, and counted without a judge, with 95 % intervals.

    On the screen, and on one page: comparisons/NAME/comparison.html.

    Repetition, loops, length, refusals, language switches, empty and cut responses; with --prompts suite also
    instructions followed. Responses are greedy; what `rlguide eval` or an earlier comparison asked is not asked again.
    A judge is asked about each pair in both orders: a win needs both, and a preference that flips with the order is a
    tie, and counted. Beside the win rate stands the one at equal lengths, as in AlpacaEval 2. What the judge said is
    stored, so that a judging that was killed goes on. Votes are kept in comparisons/NAME/votes.jsonl.
    Settings and curves of trainings are compared by `rlguide runs compare`.

    \b
    rlguide compare
    rlguide compare sft saves/qwen3-4b-base/lora/dpo --prompts my_prompts.txt
    rlguide compare base sft saves/qwen3-4b-base/lora/dpo -n 50 --show all
    rlguide compare saves/qwen3-4b-base/lora/dpo:60 saves/qwen3-4b-base/lora/dpo
    rlguide compare http://127.0.0.1:8000/v1 saves/qwen3-4b-base/lora/dpo --prompts my_prompts.jsonl
    rlguide compare --judge gpt-4.1-mini --judge-endpoint https://api.openai.com/v1
    rlguide compare sft saves/qwen3-4b-base/lora/dpo --vote --voter ann
    """
    from dataclasses import replace
    from functools import cache

    from rlguide.cli.models._preference import (
        elections,
        judge_of,
        judged,
        preferences,
        preferred_in,
        show_preferences,
        voted,
    )
    from rlguide.console import show_json
    from rlguide.engine.find import find_engine
    from rlguide.engine.hardware import list_gpus
    from rlguide.evaluation.asked import SIZES
    from rlguide.evaluation.comparison.compare import compare
    from rlguide.evaluation.comparison.prompts import SUITE, prompts_of_file, prompts_of_suite
    from rlguide.inference.choose import Choice, named_all, run_named
    from rlguide.reports.compared import write_comparison
    from rlguide.runs.choose import ModelRequest

    shown = _shown(show)
    ws = open_workspace(workspace)
    found_engine = cache(lambda: find_engine(engine))
    size = SIZES["usual" if list_gpus() else "quick"]
    run = run_named(ws, models or [])
    wanted = ModelRequest(template=template, trust_base=trust_base, trust_remote_code=trust_remote_code)
    choice = Choice(ws, found_engine, wanted, run)
    chosen, run = named_all(choice, models or [])
    judges = judge_of(replace(choice, run=run), judge, judge_endpoint, judge_prompt, concurrency)
    if prompts == SUITE and not Path(prompts).exists():
        asked = prompts_of_suite(ws, found_engine, run, size, limit)
    else:
        asked = prompts_of_file(Path(prompts), limit)
    result = compare(ws, chosen, asked, max_new_tokens or size.tokens, name)
    write_comparison(result, language.value)  # it is there, whatever becomes of the judge
    outcomes = judged(result, judges, judge_tokens, yes) if judges else []
    if vote:  # before anything is shown that says which model responded what
        voted(result, voter, seed)
    votes = elections(result)
    preferred = preferences(result, outcomes, votes)
    shown_too = preferred_in(outcomes, votes)
    page = ws.relative(write_comparison(result, language.value, shown_too))
    if as_json:
        found = {**result.as_dict(), "file": ws.relative(result.file), "page": page}
        show_json({**found, "preferences": preferred} if preferred else found)
    else:
        _show(result, shown, page)
        show_preferences(shown_too)


def _show(result: Comparison, shown: int | None, page: str) -> None:
    from rlguide.console import say, show
    from rlguide.evaluation.comparison.screen import by_difference, show_figures, show_responses

    places = by_difference(result.records)[:shown]
    show_responses(result.records, places)
    show_figures(result)
    if len(places) < len(result.records):
        say(f"{len(places)} of {len(result.records)} prompts shown, those that differ most; more with --show")
    show(page)


def _shown(text: str) -> int | None:
    """How many prompts are shown; None for all. Raises UsageError."""
    from rlguide.errors import UsageError

    if text == "all":
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        raise UsageError(f"--show {text} is no number", "give a number, or all")
    return int(text)
