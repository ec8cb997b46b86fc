"""The options that say how a training is launched, for the commands that start one."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Annotated

import typer

from rlguide.launchers.launch import Launch, check_gpus, in_effect, with_gpus

GpuIndicesOption = Annotated[
    str | None, typer.Option("--gpus", metavar="0,1,...", help="GPUs of this host to train on; all by default.")
]
NprocOption = Annotated[
    int | None,
    typer.Option("--nproc", min=1, metavar="N", help="Processes on each host; one on each GPU by default."),
]


def launch_of(context: typer.Context, gpus: str | None, nproc: int | None) -> Launch:
    """How the training is to be launched, in effect until the command ends.

    What runs this command for a launcher of its own (`rlguide launch`) gives its `Launch` as the context's object.

    Raises:
        UsageError: an option that is malformed.
    """
    given = context.obj if isinstance(context.obj, Launch) else Launch()
    launch = with_gpus(replace(given, nproc=nproc or given.nproc), gpus)
    check_gpus(launch, os.environ)
    context.with_resource(in_effect(launch))
    return launch
