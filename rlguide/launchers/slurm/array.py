"""Many jobs of one kind at once: a Slurm array."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlguide.errors import UsageError
from rlguide.launchers.slurm.client import submit
from rlguide.launchers.slurm.script import Script
from rlguide.launchers.slurm.spec import JobSpec

_MOST = 100_000


def array_script(
    folder: Path, name: str, commands: Sequence[Sequence[str]], spec: JobSpec, cwd: Path, at_once: int
) -> Script:
    """The script that runs these commands as an array, one command a job, at most `at_once` at the same time.

    Args:
        folder: where the script and what the jobs print lie (`slurm-<job>_<place>.log`).
        name: in Slurm's lists.
        commands: argument lists; the jobs know their place by SLURM_ARRAY_TASK_ID, from 0.
        cwd: in which they run.

    Raises:
        UsageError: no command, or more than an array can have.
    """
    if not 0 < len(commands) <= _MOST or at_once < 1:
        raise UsageError(f"an array of {len(commands)} jobs, {at_once} at once", "give one job or more, one at once")
    about = [f"{len(commands)} jobs, at most {at_once} at the same time. Written by rlguide; submit it with `sbatch`."]
    return Script(name, commands, cwd, folder / "slurm-%A_%a.log", spec, at_once, about)


def submit_array(
    folder: Path, name: str, commands: Sequence[Sequence[str]], spec: JobSpec, cwd: Path, at_once: int
) -> str:
    """Write `array.sbatch` into the folder and submit it; returns the id of the array ("12"), whose jobs are 12_0, ...

    Arguments and errors are those of `array_script`; a job is found by `states.job_states(["12_0"])` and ended by
    `client.cancel(["12_0"])`, the array by `cancel(["12"])`. A command that is to survive the time limit is one that
    can be run again: before the limit Slurm sends SIGUSR1 to it, and it may call `client.requeue`.

    Raises:
        UsageError: as above. SlurmError: Slurm refuses it.
    """
    return submit(folder / "array.sbatch", array_script(folder, name, commands, spec, cwd, at_once))
