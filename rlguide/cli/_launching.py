"""The options that say how a training is launched, for the commands that start one."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Annotated

import typer

from rlguide.errors import UsageError
from rlguide.launchers.launch import LOCAL, RAY, Launch, check_gpus, in_effect, with_gpus

GpuIndicesOption = Annotated[
    str | None, typer.Option("--gpus", metavar="0,1,...", help="GPUs of this host to train on; all by default.")
]
NprocOption = Annotated[
    int | None,
    typer.Option("--nproc", min=1, metavar="N", help="Processes on each host; one on each GPU by default."),
]
LauncherOption = Annotated[
    str | None,
    typer.Option("--launcher", metavar="local|ray", help="What starts the processes; ray: workers of a Ray cluster."),
]
RayAddressOption = Annotated[
    str | None,
    typer.Option(
        "--ray-address",
        metavar="HOST:PORT",
        help="A Ray cluster that runs (also auto, ray://HOST:PORT); by default one is started here for the training.",
    ),
]


def launch_of(
    context: typer.Context,
    gpus: str | None,
    nproc: int | None,
    slurm: str | None = None,
    ray: tuple[str | None, str | None] = (None, None),
) -> Launch:
    """How the training is to be launched, in effect until the command ends.

    What runs this command for a launcher of its own (`rlguide launch`) gives its `Launch` as the context's object.

    Raises:
        UsageError: an option that is malformed.
    """
    given = context.obj if isinstance(context.obj, Launch) else Launch()
    if ray != (None, None):
        if slurm is not None or given.launcher != LOCAL:
            raise UsageError("a training has one launcher", "leave --launcher and --ray-address out, or the other")
        given = _on_ray(with_gpus(replace(given, nproc=nproc), gpus), *ray)
        nproc, gpus = given.nproc, None
    if slurm is not None:
        launch = _in_slurm(given, gpus, nproc, slurm)
    else:
        launch = with_gpus(replace(given, nproc=nproc or given.nproc), gpus)
        check_gpus(launch, os.environ)
    context.with_resource(in_effect(launch))
    return launch


def check_launcher(name: str | None) -> None:
    """Refuse what `--launcher` does not know. Raises UsageError."""
    if name not in (None, LOCAL, RAY):
        raise UsageError(f"--launcher {name} is not known", f"say --launcher {RAY}, or leave it out")


def _on_ray(launch: Launch, launcher: str | None, address: str | None) -> Launch:
    from rlguide.launchers.ray import on_ray

    check_launcher(launcher)
    if launcher != LOCAL:
        return on_ray(launch, address)
    if address is not None:
        raise UsageError("--ray-address is of --launcher ray", "leave --launcher local out")
    return launch


def _in_slurm(given: Launch, gpus: str | None, nproc: int | None, slurm: str) -> Launch:
    from rlguide.cli._slurm import slurm_launch

    if given.launcher != LOCAL:
        raise UsageError(
            "--slurm starts a training by itself", "leave `rlguide launch` out: `rlguide train --slurm gpus=4`"
        )
    if gpus is not None:
        raise UsageError("--gpus names GPUs of this host", "say how many the job is to have: --slurm gpus=4")
    return slurm_launch(slurm, nproc)
