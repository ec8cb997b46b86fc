"""The script of a job: what `sbatch` reads, for a person to read, too, and to submit by hand."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rlguide.errors import UsageError
from rlguide.launchers.slurm.spec import JobSpec

IN_JOB = "RLGUIDE_SLURM"  # the variable by which a command knows that it runs in a job that rlguide has written
SIGNAL = "USR1"  # before the time limit, and nothing else


@dataclass(frozen=True)
class Script:
    """A job, or an array of jobs.

    Attributes:
        name: of the job in Slurm's lists.
        commands: what it runs: one command; of an array one for each of its jobs.
        folder: in which it runs.
        log: where Slurm writes what it prints; "%j" is the id of the job, "%A" and "%a" are those of an array's job.
        at_once: of an array, how many jobs run at the same time; 0 where it is none.
        about: what it is, in sentences for its reader.
    """

    name: str
    commands: Sequence[Sequence[str]]
    folder: Path
    log: Path
    spec: JobSpec
    at_once: int = 0
    about: Sequence[str] = ()

    @property
    def text(self) -> str:
        """The script. Raises UsageError for a path that Slurm cannot be told."""
        about = [f"# {_one_line(line)}" for line in self.about]
        options = [f"#SBATCH --{name}={_quoted(value)}" if value else f"#SBATCH --{name}" for name, value in self._rows]
        return "\n".join(["#!/bin/bash", *about, "", *options, "", *self._body, ""])

    @property
    def options(self) -> list[str]:
        """The options of sbatch that it sets."""
        return [name for name, _ in self._rows]

    @property
    def _rows(self) -> list[tuple[str, str]]:
        spec = self.spec
        rows = [("job-name", re.sub(r"[^\w./-]", "_", self.name) or "rlguide"), ("chdir", _path(self.folder))]
        rows += [("output", _path(self.log.parent).replace("%", "%%") + f"/{self.log.name}"), ("open-mode", "append")]
        if self.at_once:
            rows.append(("array", f"0-{len(self.commands) - 1}%{self.at_once}"))
        rows += [("nodes", str(spec.nodes)), ("ntasks-per-node", "1")]
        rows += [("gpus-per-node", spec.gpus)] if spec.gpu_count else []
        named = {"cpus-per-task": spec.cpus, "mem": spec.mem, "time": spec.time}
        keys = ("partition", "account", "qos", "constraint", "nodelist", "exclude", "reservation", "comment")
        named |= {key: getattr(spec, key) for key in keys}
        rows += [(name, value) for name, value in named.items() if value]
        return [*rows, ("signal", f"B:{SIGNAL}@{spec.lead}"), ("requeue", "")]

    @property
    def _body(self) -> list[str]:
        lines = [
            f"# Slurm sends {SIGNAL} before the time limit: the training is saved, and goes on after the requeue.",
            f"trap '' {SIGNAL}  # until the command below looks for it",
            f"export {IN_JOB}=1",
        ]
        if not self.at_once:
            return [*lines, f"exec {_shell(self.commands[0])}"]
        if len(set(map(tuple, self.commands))) == 1:
            return [*lines, f"exec {_shell(self.commands[0])}"]
        cases = [f"  {place}) exec {_shell(command)} ;;" for place, command in enumerate(self.commands)]
        return [*lines, 'case "$SLURM_ARRAY_TASK_ID" in', *cases, "esac"]


def _shell(command: Sequence[str]) -> str:
    """A command as the shell reads it back, on one line."""
    for word in command:
        if re.search(r"[\n\r\0]", word):
            raise UsageError(f"{word!r} has a line break, which no script can hold safely", "rename it")
    return shlex.join(command)


def _quoted(value: str) -> str:
    return value if re.fullmatch(r"[A-Za-z0-9_./:%@+,=-]+", value) else f'"{value}"'


def _path(path: Path) -> str:
    """A path as sbatch takes it in quotation marks. Raises UsageError for what would end them."""
    text = str(path)
    if re.search(r'["\\\x00-\x1f\x7f]', text):
        raise UsageError(
            f"{text!r} has a character that Slurm's options cannot hold (a quotation mark, a backslash, a line break)",
            "rename that folder",
        )
    return text


def _one_line(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f]", " ", text)
