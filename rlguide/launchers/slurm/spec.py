"""What a job asks of Slurm, as it is typed: `partition=gpu,nodes=2,gpus=a100:4,time=12:00:00`.

A value is data. It is checked by the shape that Slurm's manual gives it (sbatch(1)), so that nothing that a shell or
Slurm would read as something else gets into a script.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from rlguide.errors import UsageError, did_you_mean

LEAD = 120  # seconds before the time limit; Slurm may signal up to 60 s earlier still (sbatch(1), --signal)
EXAMPLE = "partition=gpu,nodes=2,gpus=4,time=12:00:00"

_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.+@-]*"
_HOSTS = r"[A-Za-z0-9_.-]+(?:\[[0-9,-]+\])?[A-Za-z0-9_.-]*"
_COUNT = r"[1-9][0-9]{0,4}"
# By key: what its value looks like, and how to say it. Several hosts, partitions and reservations go by commas.
_SHAPES: dict[str, tuple[str, str]] = {
    "partition": (rf"{_NAME}(?:,{_NAME})*", "the name of a partition"),
    "nodes": (_COUNT, "how many nodes"),
    "gpus": (rf"(?:{_NAME}:)?(?:0|{_COUNT})", "how many GPUs each node has, such as 4 or a100:4"),
    "time": (
        r"[0-9]{1,7}(?::[0-5]?[0-9]){0,2}|[0-9]{1,5}-[0-9]{1,2}(?::[0-5]?[0-9]){0,2}",
        "minutes, hours:minutes:seconds or days-hours, such as 12:00:00",
    ),
    "account": (_NAME, "the name of an account"),
    "qos": (_NAME, "the name of a quality of service"),
    "mem": (r"[1-9][0-9]{0,8}[KMGT]?", "main memory of each node, such as 64G"),
    "cpus": (_COUNT, "how many CPU cores of each node"),
    "constraint": (r"[A-Za-z0-9_.+=&|*,()\[\]-]+", "features of nodes, such as a100&nvlink"),
    "nodelist": (rf"{_HOSTS}(?:,{_HOSTS})*", "hosts, such as n[1-4],n7"),
    "exclude": (rf"{_HOSTS}(?:,{_HOSTS})*", "hosts, such as n[1-4],n7"),
    "reservation": (rf"{_NAME}(?:,{_NAME})*", "the name of a reservation"),
    "comment": (r"[\w .,:+@/=-]{1,200}", "words without quotation marks"),
    "signal": (r"[1-9][0-9]{0,3}", "seconds before the time limit at which the training is saved, such as 300"),
}
_WITH_COMMAS = ("partition", "nodelist", "exclude", "reservation", "constraint", "comment")
_COMMA = re.compile(r",(?![^\[]*\])")  # not within n[1,3]


@dataclass(frozen=True)
class JobSpec:
    """What a job asks of Slurm; "" where Slurm's own default is to hold.

    Attributes:
        nodes: that train together.
        gpus: of each node, by number or by type and number ("a100:4"); "" and "0" for none.
        time: the limit, as Slurm reads it.
        mem: main memory of each node; cpus: cores of each node.
        signal: seconds before the limit at which the training is asked to save; 0 for `lead` to choose.
    """

    partition: str = ""
    nodes: int = 1
    gpus: str = ""
    time: str = ""
    account: str = ""
    qos: str = ""
    mem: str = ""
    cpus: str = ""
    constraint: str = ""
    nodelist: str = ""
    exclude: str = ""
    reservation: str = ""
    comment: str = ""
    signal: int = 0

    @property
    def lead(self) -> int:
        """Seconds before the limit at which the training is asked to save: by default LEAD, of a short job less."""
        limit = seconds_of(self.time)
        return self.signal or (LEAD if not limit else max(1, min(LEAD, limit // 4)))

    @property
    def gpu_count(self) -> int:
        """GPUs of each node."""
        return int(self.gpus.rpartition(":")[2] or 0)

    @property
    def gpu_type(self) -> str:
        """The type of its GPUs as Slurm's configuration names it; "" if any will do."""
        return self.gpus.rpartition(":")[0]

    def as_dict(self) -> dict[str, Any]:
        """For run.json: what is asked for."""
        plain = JobSpec()
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: value for name, value in values.items() if value != getattr(plain, name)}

    def __str__(self) -> str:
        """As it is typed."""
        return ",".join(f"{name}={value}" for name, value in self.as_dict().items())


def parse_spec(text: str) -> JobSpec:
    """The job that "KEY=VALUE,..." asks for; "" asks for Slurm's defaults.

    Raises:
        UsageError: a key that there is not, one that is named twice, or a value that Slurm would not take.
    """
    given: dict[str, str] = {}
    last = ""
    for part in _COMMA.split(text) if text.strip() else ():
        key, is_pair, value = part.partition("=")
        if key.strip() not in _SHAPES and last in _WITH_COMMAS and (not is_pair or last == "comment"):
            given[last] += f",{part}"
            continue
        last = key.strip()
        if last in given:
            raise UsageError(f"--slurm: {last} is there twice", "name each key once")
        given[_known(last)] = value.strip() if is_pair else ""
    return JobSpec(**{key: _checked(key, value) for key, value in given.items()})


def seconds_of(time: str) -> int | None:
    """The seconds of a time limit as sbatch(1) reads it; None without one."""
    if not time:
        return None
    days, has_days, rest = time.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if not has_days and len(parts) < 3:  # minutes, minutes:seconds
        parts = [0, *parts]
    hours, minutes, seconds = (*parts, 0, 0)[:3]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def read_spec(settings: Mapping[str, Any]) -> JobSpec:
    """The job of a record (`Launch.settings`); a value that Slurm would not take counts as not said."""
    found = {}
    for key, value in settings.items():
        if key in _SHAPES and isinstance(value, str | int) and re.fullmatch(_SHAPES[key][0], str(value)):
            found[key] = _typed(key, str(value))
    return JobSpec(**found)


def _known(key: str) -> str:
    if key in _SHAPES:
        return key
    named = f"no key {key!r}" if key else "a key is missing"
    near = did_you_mean(key, list(_SHAPES))
    raise UsageError(f"--slurm: {named}{near}", f"keys: {', '.join(_SHAPES)}; for example --slurm {EXAMPLE}")


def _checked(key: str, value: str) -> Any:
    shape, words = _SHAPES[key]
    if not re.fullmatch(shape, value):
        raise UsageError(f"--slurm: {key}={value!r} is not {words}", f"for example --slurm {EXAMPLE}")
    return _typed(key, value)


def _typed(key: str, value: str) -> Any:
    return int(value) if key in ("nodes", "signal") else value
