"""`rlguide eval`: evaluate a run on held-out pairs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlguide.cli._options import EngineOption, JsonOption, TrustCodeOption, WorkspaceOption, open_workspace
from rlguide.cli._training import SetOption

if TYPE_CHECKING:
    from rlguide.evaluation.pairs import Evaluation


def command(
    run: Annotated[
        str | None, typer.Argument(help="Folder of the run; the newest that can be evaluated by default.")
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", "-d", help="Registered pairs to evaluate on; those the run held out by default."),
    ] = None,
    settings: SetOption = None,
    trust_remote_code: TrustCodeOption = False,
    workspace: WorkspaceOption = Path(),
    engine: EngineOption = None,
    as_json: JsonOption = False,
) -> None:
    """Reward accuracy, margin and loss on held-out pairs against the SFT reference, with confidence intervals.

    \b
    rlguide eval
    rlguide eval saves/qwen3-4b-base/lora/dpo --dataset ultrafeedback_test
    rlguide eval --set max_samples=200 --json
    """
    from rlguide.console import show_json
    from rlguide.engine.config_file import parse_settings, split_names
    from rlguide.engine.find import find_engine
    from rlguide.evaluation.held_out import why_not_evaluable
    from rlguide.evaluation.pairs import evaluate
    from rlguide.runs.choose import usable_run

    ws = open_workspace(workspace)
    chosen = usable_run(ws, run, lambda item: why_not_evaluable(ws, item, has_pairs=dataset is not None))
    keys = {**parse_settings(settings or []), **({"trust_remote_code": True} if trust_remote_code else {})}
    result = evaluate(ws, find_engine(engine), chosen, split_names(dataset), keys)
    if as_json:
        show_json(result.as_dict())
    else:
        _show(result)


def _show(result: Evaluation) -> None:
    import shlex

    from rlguide.console import say, show, show_table

    rows = [
        (name, form.format(estimate.value), f"{form.format(estimate.low)} to {form.format(estimate.high)}", meaning)
        for name, estimate, form, meaning in (
            ("reward accuracy", result.accuracy, "{:.3f}", "0.5 is chance"),
            ("margin", result.margin, "{:+.4f}", "0 is no preference"),
            ("loss", result.loss, "{:.4f}", "0.6931 (ln 2) is no preference, with sigmoid loss"),
            ("chosen reward", result.chosen_reward, "{:+.4f}", "below 0: less likely than under the reference"),
            ("rejected reward", result.rejected_reward, "{:+.4f}", "should be below the chosen reward"),
        )
    ]
    show_table(("metric", "value", "95 % interval", "how to read it"), rows)
    show(f"{result.pairs:,} held-out pairs of {', '.join(result.datasets)}")
    show(result.verdict)
    say(f"every pair: {result.scores}    next: rlguide chat {shlex.quote(result.run)}")
