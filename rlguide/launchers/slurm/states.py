"""What Slurm says of jobs: all that are asked for at once, and never a failure."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rlguide.console import printable
from rlguide.launchers.slurm.client import JOB_ID, SlurmError, ask

WAITING, RUNNING, OVER, UNKNOWN = "waiting", "running", "over", "unknown"
_SECONDS = 5.0  # for a listing: a controller that does not answer must not hold it up
_FRESH = 10.0  # seconds for which an answer holds: one who watches asks the controller this seldom

_COLUMNS = "%i|%T|%N|%r|%Z"  # the folder last: it may hold any character
_NO_JOB = "67108863"  # above the highest id that Slurm gives (slurm.conf, MaxJobId)

# The states of squeue(1) and sacct(1); any other is one in which the job has its nodes (COMPLETING, SUSPENDED, ...).
_WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT")
_OVER = (
    *("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "OUT_OF_MEMORY"),
    *("DEADLINE", "REVOKED"),
)
# Such an end in words; others are called by Slurm's name.
_WORDS = {
    "CANCELLED": "was cancelled",
    "TIMEOUT": "was killed at its time limit",
    "OUT_OF_MEMORY": "was killed because the main memory that it asked for ran out (--slurm mem=)",
    "NODE_FAIL": "lost its node",
    "PREEMPTED": "was preempted",
}


@dataclass(frozen=True)
class JobState:
    """A job as Slurm tells it.

    Attributes:
        job: its id.
        phase: WAITING, RUNNING, OVER, or UNKNOWN where Slurm does not answer.
        name: Slurm's name of the state; "" for a job that Slurm knows no more.
        nodes: that it has; "" without any.
        reason: why it waits, as Slurm says it.
        folder: in which it runs; "" where Slurm has not said it.
    """

    job: str
    phase: str
    name: str = ""
    nodes: str = ""
    reason: str = ""
    folder: str = ""

    @property
    def words(self) -> str:
        """In words, to stand behind the name of a run."""
        if self.phase == UNKNOWN:
            return f"is Slurm job {self.job}, and Slurm did not answer"
        if self.phase == WAITING:
            why = f" ({self.reason})" if self.reason not in ("", "None") else ""
            return f"waits in Slurm's queue as job {self.job}{why}"
        if self.phase == RUNNING:
            return f"is Slurm job {self.job} on {self.nodes}" if self.nodes else f"is Slurm job {self.job}"
        if not self.name:
            return f"Slurm does not know its job {self.job} any more"
        return f"its Slurm job {self.job} {_WORDS.get(self.name, f'ended as {self.name}')}"


def phase_of(name: str) -> str:
    """The phase of a state by Slurm's name."""
    return WAITING if name in _WAITING else OVER if name in _OVER else RUNNING


def job_states(jobs: Iterable[str], seconds: float = _SECONDS) -> dict[str, JobState]:
    """The states of jobs, and of jobs of arrays ("12_3"), by id: every one that is asked for is in it.

    It asks squeue once, and sacct once for those that squeue has forgotten (MinJobAge of slurm.conf: 300 s).

    Args:
        seconds: that each of the two may take.
    """
    wanted = list(dict.fromkeys(job for job in jobs if JOB_ID.fullmatch(job)))
    if not wanted:
        return {}
    # One job that is long gone would be an error; of two ids those that are known are listed.
    listed = ",".join(wanted if len(wanted) > 1 else [*wanted, _NO_JOB])
    try:
        text = ask(["squeue", "-h", "-r", "-t", "all", "-o", _COLUMNS, "-j", listed], seconds)
    except SlurmError:
        return {job: JobState(job, UNKNOWN) for job in wanted}
    found = read_squeue(text)
    if rest := [job for job in wanted if job not in found]:
        found |= _accounted(rest, seconds)
    return {job: found.get(job, JobState(job, OVER)) for job in wanted}


def read_squeue(text: str) -> dict[str, JobState]:
    """The jobs in what squeue prints as `_COLUMNS`; lines that do not fit are skipped."""
    found = {}
    for line in printable(text).splitlines():
        cells = line.split("|", 4)
        if len(cells) == 5 and JOB_ID.fullmatch(cells[0].strip()):
            job, name, nodes, reason = (cell.strip() for cell in cells[:4])
            found[job] = JobState(job, phase_of(name), name, nodes[:200], reason[:200], cells[4])
    return found


def _accounted(jobs: list[str], seconds: float) -> dict[str, JobState]:
    try:
        text = ask(["sacct", "-X", "-n", "-P", "-o", "JobID,State,NodeList", "-j", ",".join(jobs)], seconds)
    except SlurmError:  # many clusters keep no accounts
        return {}
    return read_sacct(text)


def read_sacct(text: str) -> dict[str, JobState]:
    """The jobs in what sacct prints as JobID|State|NodeList; lines that do not fit are skipped."""
    found = {}
    for line in printable(text).splitlines():
        cells = line.split("|")
        if len(cells) == 3 and JOB_ID.fullmatch(cells[0].strip()) and cells[1].strip():
            name = cells[1].split()[0]  # "CANCELLED by 1000"
            found[cells[0].strip()] = JobState(cells[0].strip(), phase_of(name), name, cells[2].strip()[:200])
    return found


_asked: dict[str, tuple[float, JobState]] = {}


def ask_ahead(jobs: Iterable[str]) -> None:
    """Ask for all these jobs at once, so that `job_state` has them for a while."""
    now = time.monotonic()
    stale = [job for job in jobs if not _is_fresh(job, now)]
    for job, state in job_states(stale).items():
        _asked[job] = (now, state)


def job_state(job: str) -> JobState:
    """The state of one job, as it was at most a few seconds ago."""
    ask_ahead([job])
    return _asked[job][1] if job in _asked else JobState(job, UNKNOWN)


def forget(job: str) -> None:
    """Have `job_state` ask again, because something was done with the job."""
    _asked.pop(job, None)


def _is_fresh(job: str, now: float) -> bool:
    return job in _asked and now - _asked[job][0] < _FRESH


def job_of(handle: Mapping[str, object]) -> str:
    """The id of the job in a record's handle (`Launch.handle`); "" if there is none."""
    job = handle.get("job")
    return job if isinstance(job, str) and JOB_ID.fullmatch(job) else ""
