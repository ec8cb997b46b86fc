"""Slurm: what a job asks for (`spec`), its script, submitting it, its state, and what happens in it (`inside`)."""

from rlguide.launchers.slurm.array import submit_array
from rlguide.launchers.slurm.inside import started
from rlguide.launchers.slurm.spec import JobSpec, parse_spec

__all__ = ["JobSpec", "parse_spec", "started", "submit_array"]
