"""How a training is run, beside what is trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rlguide.launchers.launch import Launch
from rlguide.runs.diagnosis.stopping import DEFAULT

if TYPE_CHECKING:
    from rlguide.launchers.slurm.inside import Ending


@dataclass(frozen=True)
class RunOptions:
    """How a training is run, beside what is trained.

    Attributes:
        is_plain: just as LLaMA-Factory does; when resuming: from now on.
        auto_retry: each time that memory runs out, continue from the last checkpoint with the next setting that needs
            less and learns the same (`planner.ladder`), as long as there is one.
        stop_on: rules (`catalog/diagnosis.yaml`) that stop the training when they find something.
        launch: how its processes are started; when resuming, the record says it, unless it names hosts itself, or other
            GPUs of this host.
        ending: of the Slurm job that it runs in, where that may come before its own end.
    """

    is_plain: bool = False
    auto_retry: bool = False
    stop_on: tuple[str, ...] = DEFAULT
    launch: Launch = field(default_factory=Launch)
    ending: Ending | None = None
