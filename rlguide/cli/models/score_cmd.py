"""`rlguide score`: a reward on every row of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlguide.cli import _complete
from rlguide.cli._options import (
    EngineOption,
    JsonOption,
    LastOption,
    StepOption,
    TrustCodeOption,
    WorkspaceOption,
    open_workspace,
)


def command(
    file: Annotated[
        Path,
        typer.Argument(help="JSON, JSON lines, CSV, Parquet, ... with a prompt and one response a row, or a pair."),
    ],
    reward_model: Annotated[
        str | None,
        typer.Option(
            "--reward-model",
            metavar="RUN",
            help="Run of `rlguide train --method rm`; the newest by default.",
            autocompletion=_complete.of(_complete.runs),
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File of JSON lines to write; stdout by default.")
    ] = None,
    field: Annotated[
        str,
        typer.Option(
            "--field", metavar="NAME", help="Field that gets the reward; of pairs chosen_NAME, rejected_NAME."
        ),
    ] = "reward",
    endpoint: Annotated[
        str | None,
        typer.Option("--endpoint", metavar="URL", help="Ask a server that has loaded the reward model, instead."),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="Shape of the rows, as for register.")] = "auto",
    columns: Annotated[
        str | None, typer.Option("--columns", help="What columns hold: prompt=question,response=text.")
    ] = None,
    step: StepOption = None,
    last: LastOption = False,
    trust_remote_code: TrustCodeOption = False,
    workspace: WorkspaceOption = Path(),
    engine: EngineOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a reward on every row of a file of prompts and responses; pairs get two.

    The whole stack and the value head score, with the template and the length limit of training. Rewards that
    came are kept: after Ctrl-C, the same command goes on.

    \b
    rlguide score responses.jsonl -o scored.jsonl
    rlguide score pairs.parquet --reward-model saves/qwen3-4b-base/lora/rm -o scored.jsonl
    rlguide score responses.csv --columns prompt=question,response=text -o scored.jsonl --json
    rlguide score responses.jsonl --endpoint http://127.0.0.1:8000/v1 -o scored.jsonl
    """
    import sys
    from dataclasses import replace

    from rlguide.console import say, show_json
    from rlguide.data.ingest.options import IngestOptions
    from rlguide.engine.find import find_engine
    from rlguide.errors import UsageError
    from rlguide.evaluation.rewards.model import find_reward_model
    from rlguide.evaluation.rewards.score import Wanted, score_file
    from rlguide.evaluation.rewards.server import ScoreServer

    if as_json and output is None:
        raise UsageError("--json prints the summary on stdout, where the rows would come", "name a file: --output FILE")
    server = ScoreServer(endpoint) if endpoint is not None else None
    options = IngestOptions(form=form, columns=columns)
    options.check()
    ws = open_workspace(workspace)
    model = find_reward_model(ws, find_engine(engine), reward_model, step, last, trust_remote_code)
    summary = score_file(replace(model, server=server), Wanted(file, options, field), output, sys.stdout)
    for line in summary.lines():
        say(line)
    if as_json:
        show_json(summary.as_dict())
