"""`rlguide launch`: the training of `rlguide train` on several nodes, over ssh."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

NodesOption = Annotated[
    str | None,
    typer.Option("--nodes", metavar="HOST,...", help="The nodes, as ssh names them: [USER@]HOST[:PORT], by commas."),
]
HostfileOption = Annotated[
    Path | None, typer.Option("--hostfile", metavar="FILE", help="A file of them: a line HOST [slots=N] for each.")
]
NprocOption = Annotated[
    int | None,
    typer.Option("--nproc", min=1, metavar="N", help="Processes on each node; one on each of its GPUs by default."),
]


class Command(typer.core.TyperCommand):
    """Options of rlguide launch stand before `--`, those of the training behind it."""

    allow_interspersed_args = False


def command(
    training: Annotated[
        list[str], typer.Argument(metavar="-- train ...", help="The training, as `rlguide train` takes it.")
    ],
    nodes: NodesOption = None,
    hostfile: HostfileOption = None,
    nproc: NprocOption = None,
    max_restarts: Annotated[
        int,
        typer.Option(
            "--max-restarts",
            min=0,
            max=1000,
            metavar="N",
            help="When a node fails or is lost: wait until all are there, continue from the last checkpoint, N times.",
        ),
    ] = 0,
    restart_wait: Annotated[
        float, typer.Option("--restart-wait", min=0, metavar="SECONDS", help="How long to wait for a lost node.")
    ] = 600.0,
    ssh_config: Annotated[
        Path | None,
        typer.Option("--ssh-config", metavar="FILE", help="A config of ssh in place of ~/.ssh/config."),
    ] = None,
    print_only: Annotated[
        bool, typer.Option("--print", help="Print the commands that train on these nodes; start nothing.")
    ] = False,
) -> None:
    """Train on several nodes: check over ssh that they agree, start torchrun on each, stop all when one fails.

    \b
    rlguide launch --nodes gpu1,gpu2 --nproc 8 -- train --sft-ckpt latest --dataset ultrafeedback
    rlguide launch --hostfile hosts.txt --max-restarts 3 -- train --config configs/dpo_config.yaml
    rlguide launch --nodes gpu1,gpu2 --nproc 8 --print -- train --config configs/dpo_config.yaml
    rlguide launch --nodes gpu1,gpu3 --nproc 8 -- train --resume saves/qwen3-4b-base/lora/dpo
    """
    from rlguide.cli import build_app
    from rlguide.errors import UsageError
    from rlguide.launchers.ssh.asked import Asked, launch_for

    if training[0] != "train":
        raise UsageError(
            f"rlguide launch runs a training, and {training[0]} is none",
            "put the training behind the options: `rlguide launch --nodes gpu1,gpu2 -- train --resume`",
        )
    if print_only and "--resume" in training:
        raise UsageError("--print shows how a training begins, and --resume continues one", "leave one of them out")
    if print_only:
        training = [*training, "--dry-run"]
    shown = tuple(training) if print_only else ()
    launch = launch_for(Asked(nodes, hostfile, nproc, max_restarts, restart_wait, ssh_config, shown))
    build_app(("train",))(args=training, obj=launch, prog_name="rlguide", standalone_mode=True)
