"""`rlguide eval`: evaluate a run on held-out pairs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlguide.cli import _complete
from rlguide.cli._options import (
    EngineOption,
    JsonOption,
    Language,
    LastOption,
    StepOption,
    TrustCodeOption,
    WorkspaceOption,
    open_workspace,
)
from rlguide.cli._training import SetOption

if TYPE_CHECKING:
    from rlguide.evaluation.benchmarks import Benchmarks
    from rlguide.evaluation.suite import Suite
    from rlguide.runs.record import Run


def command(
    run: Annotated[
        str | None,
        typer.Argument(
            help="Folder of the run; the newest that can be evaluated by default.",
            autocompletion=_complete.of(_complete.runs),
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            "-d",
            help="Registered pairs to evaluate on; those the run held out by default.",
            autocompletion=_complete.of(_complete.datasets, several=True),
        ),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            "--suite",
            metavar="PARTS",
            help="What to measure: pairs, instructions, kl, length (nothing beside --tasks); quick, usual"
            " or full: on how many prompts.",
            show_default="pairs,instructions,kl,length; of a reward model pairs",
        ),
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            "--tasks",
            metavar="NAMES",
            help="Benchmarks of lm-evaluation-harness: ifeval,ceval-valid,cmmlu,gsm8k and thousands more.",
        ),
    ] = None,
    task_folder: Annotated[
        Path | None,
        typer.Option("--task-folder", metavar="DIR", help="Tasks of your own for --tasks, in lm-eval's YAML."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="Only the first N documents of each task.")
    ] = None,
    no_chat_template: Annotated[
        bool, typer.Option("--no-chat-template", help="Prompts of --tasks as plain text, not as conversations.")
    ] = False,
    language: Annotated[
        Language | None, typer.Option("--language", help="Only prompts with instructions in this language.")
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option("--prompts", metavar="FILE", help="Your own prompts with instructions, instead of the bundled."),
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option("--max-new-tokens", min=1, help="Cut responses here; 128 to 512 tokens by size.")
    ] = None,
    worst: Annotated[
        int, typer.Option("--worst", min=0, metavar="N", help="Also show the N pairs with the lowest margins.")
    ] = 0,
    checkpoints: Annotated[
        bool,
        typer.Option("--over-checkpoints", help="Also every checkpoint: instructions over KL, and the best."),
    ] = False,
    step: StepOption = None,
    last: LastOption = False,
    settings: SetOption = None,
    trust_remote_code: TrustCodeOption = False,
    workspace: WorkspaceOption = Path(),
    engine: EngineOption = None,
    as_json: JsonOption = False,
) -> None:
    """Did it get better than its SFT parent? Held-out pairs, instructions, divergence and length, with 95 % intervals.

    A reward model: does it prefer the chosen responses of held-out pairs, also where they are not the longer ones?

    \b
    rlguide eval
    rlguide eval saves/qwen3-4b-base/lora/dpo --dataset ultrafeedback_test
    rlguide eval --last                            # although another step is better
    rlguide eval --suite quick
    rlguide eval --suite pairs --worst 10
    rlguide eval --suite quick --over-checkpoints
    rlguide eval --suite instructions,quick --language zh
    rlguide eval --suite instructions --prompts my_prompts.jsonl
    rlguide eval saves/qwen3-4b-base/lora/rm --worst 10
    rlguide eval --tasks ifeval,gsm8k --limit 100
    rlguide eval --tasks my_task --task-folder tasks
    rlguide eval --set max_samples=200 --json
    """
    from rlguide.cli._reward_model import show_evaluation
    from rlguide.console import show_json
    from rlguide.engine.config_file import parse_settings, split_names
    from rlguide.engine.find import find_engine
    from rlguide.evaluation.held_out import why_not_evaluable
    from rlguide.evaluation.suite import Wanted, evaluate_suite, wanted
    from rlguide.evaluation.tasks import wanted_tasks
    from rlguide.runs.best import at_step, step_meant
    from rlguide.runs.choose import is_reward_model, usable_run

    keys = {**parse_settings(settings or []), **({"trust_remote_code": True} if trust_remote_code else {})}
    asked = wanted_tasks(tasks, task_folder, limit, not no_chat_template, keys)
    parts, size = ((), None) if asked and suite is None else wanted(suite)
    ws = open_workspace(workspace)
    has_pairs = dataset is not None or (parts == () and not checkpoints)
    chosen = usable_run(ws, run, lambda item: why_not_evaluable(ws, item, has_pairs))
    meant = step_meant(chosen, step, last)
    chosen = at_step(chosen, meant)
    what = Wanted(parts, size, split_names(dataset), checkpoints, language, prompts, max_new_tokens, asked, meant.words)
    found = find_engine(engine)
    result = evaluate_suite(ws, found, chosen, what, keys)
    if as_json:
        show_json(result.as_dict())
    elif is_reward_model(chosen):
        show_evaluation(result, chosen, found)
    else:
        _show(result, ["--last"] * last + (["--step", str(step)] if step else []))
    if worst and not as_json:
        _show_worst(chosen, worst)
    if result.tasks is not None and not result.tasks.detail:
        raise typer.Exit(1)


def _show(result: Suite, which: list[str]) -> None:
    import shlex

    from rlguide.console import say, show, show_table

    rows = []
    for line in result.table:
        plain, signed = f"{{:.{line.digits}f}}", f"{{:+.{line.digits}f}}"
        low, high = signed.format(line.difference.low), signed.format(line.difference.high)
        mark = {True: "better", False: "WORSE", None: ""}[line.is_better]
        figures = (plain.format(line.parent), plain.format(line.tuned), signed.format(line.difference.value))
        interval = f"{low} to {high}" if line.interval else "-"
        rows.append((f"{line.name} ({line.unit})" if line.unit else line.name, *figures, interval, mark))
    if rows:
        show_table(("figure", "parent", "tuned", "difference", "95 % interval", "verdict"), rows)
    if result.pairs is not None:
        show(f"{result.pairs.pairs:,} held-out pairs of {', '.join(result.pairs.datasets)}")
    if result.checkpoints:
        _show_checkpoints(result)
    for part, why in result.skipped.items():
        show(f"{part}: not measured, {why}")
    if result.tasks is not None:
        _show_tasks(result.tasks)
    if result.verdict:
        show(result.verdict)
    if rows:
        say(f"next: {shlex.join(['rlguide', 'chat', result.run, *which])}")


def _show_tasks(found: Benchmarks) -> None:
    from rlguide.console import say, show, show_error, warn

    if found.lines:
        show(found.how)
    for note in found.notes:
        show(f"note: {note}")
    for name, why in found.failures.items():
        if found.detail:
            warn(f"{name} was not measured: {why.what}")
            say(f"  fix: {why.fix}")
        else:
            show_error(f"{name} was not measured: {why.what}", why.fix)


def _show_checkpoints(result: Suite) -> None:
    from rlguide.console import show_table

    rows = []
    for point in result.checkpoints:
        share, margin = point.instructions, "-" if point.margin is None else f"{point.margin:+.4f}"
        interval = f"{share.low:.3f} to {share.high:.3f}"
        rows.append((str(point.step), f"{point.kl:.3f}", f"{share.value:.3f}", interval, margin))
    show_table(("step", "KL per response", "instructions", "95 % interval", "held-out margin"), rows)


def _show_worst(run: Run, count: int) -> None:
    """The pairs whose rejected response the model prefers most, or chosen response least (stdout)."""
    from rlguide.console import show, show_block
    from rlguide.evaluation.scoring import scored_pairs

    for number, pair in enumerate(scored_pairs(run)[:count], start=1):
        show(f"{number}. margin {pair.margin:+.4f}")
        for message in pair.prompt:
            show_block(f"   {message['role']}", message["content"])
        show_block("   chosen", pair.chosen)
        show_block("   rejected", pair.rejected)
