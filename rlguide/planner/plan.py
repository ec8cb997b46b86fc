"""A training before it starts: the memory of each GPU, whether it fits, its work and time."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rlguide.catalog.gpus import Gpus
from rlguide.planner.communication import Passes, Traffic, exchange_seconds, traffic_of
from rlguide.planner.learnt import Outcome, allowance_for, efficiency_for
from rlguide.planner.memory import Memory, Sharing, memory_of, sharing_of
from rlguide.planner.simulation import STAGES, Case, Step, is_half, simulate, text_model
from rlguide.planner.time import Efficiency, Range, Work, seconds
from rlguide.planner.training import Training, examples_of, work_of
from rlguide.recipes.lean import PARTS, left_out
from rlguide.recipes.schedule import ACCUMULATION, MICRO_BATCH, count_of

if TYPE_CHECKING:
    from rlguide.engine.find import Engine
    from rlguide.workspace import Workspace

RESERVE = 0.1  # of a GPU's memory stays free without checkpointing (rlguide_worker/recompute.py)
_MOST_TOKENS = 1 << 22  # of a micro-batch; what is planned for is some thousands to a million


@dataclass(frozen=True)
class Plan:
    """A planned training.

    Attributes:
        step: of one GPU; memory: of each GPU.
        is_checkpointed: whether the forward pass is computed again; why: what decided it.
        work: of the whole training, on all GPUs; tokens: of the whole training, with their padding.
        forwards: forward passes, with those of the reference and of evaluations, for each that is trained on.
    """

    training: Training
    gpus: Gpus | None
    sharing: Sharing
    step: Step
    memory: Memory
    is_checkpointed: bool
    why: str
    work: Work
    tokens: float
    forwards: float = 1.0

    @property
    def traffic(self) -> Traffic:
        """What the GPUs exchange in one update."""
        training, layers = self.training, int(text_model(self.training.model)["num_hidden_layers"])
        passes = Passes(count_of(training.config, ACCUMULATION), self.forwards, layers)
        return traffic_of(self.step, self.sharing, training.config, passes)

    @property
    def exchange(self) -> float:
        """Seconds of the whole training that its GPUs pass data to each other; 0 on one."""
        if self.gpus is None:
            return 0.0
        return self.training.schedule.total_steps * exchange_seconds(self.traffic, self.gpus)

    @property
    def fits(self) -> bool | None:
        """Whether the peak is within a GPU's memory; None where that is not known."""
        return None if self.gpus is None else self.memory.peak <= self.gpus.model.memory_bytes

    @property
    def examples(self) -> int:
        """Examples that are trained on, each as often as it is."""
        return self.training.schedule.total_steps * self.training.schedule.effective_batch

    def time(self, efficiency: Efficiency) -> Range | None:
        """Seconds of the whole training; None where the GPU is not known."""
        return None if self.gpus is None else seconds(self.work, self.gpus, self.dtype, efficiency, self.exchange)

    @property
    def dtype(self) -> str:
        """The type that is computed in."""
        config = self.training.config
        return "fp16" if config.get("fp16") else "bf16" if is_half(config) else "fp32"


def choices(training: Training) -> list[bool]:
    """Checkpointed or not: what the training may do, what is faster first."""
    if training.config.get("disable_gradient_checkpointing"):
        return [False]
    if training.is_plain or "checkpointing" in left_out(training.method, training.config):
        return [True]
    return [False, True]


def case_of(training: Training, is_checkpointed: bool) -> Case:
    """The step with the longest examples, of which at least one is padded, as nearly always."""
    size = count_of(training.config, MICRO_BATCH)
    rows = [training.lengths.longest] * size
    *others, last = rows
    *before, response = last
    is_plain = training.is_plain or set(left_out(training.method, training.config)) == set(PARTS)
    lengths = (*others, (*before, max(1, response - 1)))
    return Case(training.config, training.model, lengths, is_plain, is_checkpointed)


def plan_all(ws: Workspace, engine: Engine, trainings: Sequence[Training], gpus: Gpus | None) -> list[Plan | str]:
    """The plan of each training, or why there is none; the engine starts once for all.

    Raises:
        EngineError: it does not start.
    """
    asked = [(training, is_on) for training in trainings for is_on in choices(training) if _why_not(training) == ""]
    cases = [case_of(training, is_on) for training, is_on in asked]

    def is_enough(first: Step | str) -> bool:
        (training, is_on), *_ = asked
        return len(trainings) == 1 and _chosen(ws, training, {is_on: first}, gpus) is not None

    steps = iter(simulate(engine, cases, is_enough) if asked else [])
    plans: list[Plan | str] = []
    for training in trainings:
        if why_not := _why_not(training):
            plans.append(why_not)
            continue
        found = {is_on: next(steps) for is_on in choices(training)}
        plan = _chosen(ws, training, found, gpus)
        assert plan is not None, "one of the choices is checkpointed or the only one"
        plans.append(plan)
    return plans


def _why_not(training: Training) -> str:
    if training.method.stage not in STAGES:
        return f"{training.method.name.upper()} is not planned"
    if not training.model:
        return f"the config.json of {training.config.get('model_name_or_path')} is not on this machine"
    longest, size = training.lengths.longest, count_of(training.config, MICRO_BATCH)
    tokens = size * sum(longest[0] + response for response in longest[1:])
    if tokens > _MOST_TOKENS:  # the examples are not made of nothing, and it is a slip of the finger anyway
        return f"a micro-batch of {size:,} has {tokens:,} tokens, and the most that is simulated is {_MOST_TOKENS:,}"
    return ""


def _chosen(
    ws: Workspace, training: Training, steps: Mapping[bool, Step | str], gpus: Gpus | None
) -> Plan | str | None:
    """The plan without checkpointing where it fits, else with it; None where that is not among the steps."""
    allowance = None if gpus is None else allowance_for(gpus.model)
    count = training.schedule.processes
    gpus = None if gpus is None else replace(gpus, count=count)  # fewer with NPROC_PER_NODE, more on several nodes
    sharing = sharing_of(training.config, count, ws.root, text_model(training.model))
    has_choice = len(choices(training)) > 1
    why = "" if has_choice else _why_no_choice(training)
    for is_on, step in steps.items():
        if isinstance(step, str):
            return step
        memory = memory_of(step, sharing, allowance)
        if not is_on and has_choice:
            room = gpus.model.memory_bytes * (1 - RESERVE) if gpus is not None else 0
            if memory.peak > room:
                why = f"without it a step needs {memory.peak / 2**30:.1f} GiB"
                continue
            why = "it fits without"
        work, tokens = work_of(training, step, is_on)
        seen, *forwards = examples_of(training, step)
        often = sum(forwards) / max(1, seen)
        return Plan(training, gpus, sharing, step, memory, is_on, why, work, tokens, often)
    return None


def _why_no_choice(training: Training) -> str:
    if training.config.get("disable_gradient_checkpointing"):
        return "as the config says"
    return left_out(training.method, training.config).get("checkpointing", "with --plain it stays on")


def planned_time(plan: Plan) -> Range | None:
    """Seconds of the whole training, by the speed that was measured here, else published; None without a known GPU."""
    return None if plan.gpus is None else plan.time(efficiency_for(plan.gpus, outcome_of(plan)))


def outcome_of(plan: Plan) -> Outcome:
    """A planned training as `learnt` compares it with others, with nothing measured."""
    assert plan.gpus is not None
    config = plan.training.config
    text = text_model(plan.training.model)
    setting = {
        "model": {key: value for key, value in text.items() if isinstance(value, int)},
        "tokens": round(math.log2(plan.tokens / max(plan.examples, 1)) * 2),  # of about the same length
        "micro-batch": count_of(config, MICRO_BATCH),
        "tuning": [config.get("finetuning_type"), config.get("lora_rank"), config.get("quantization_bit")],
        "checkpointed": plan.is_checkpointed,
        "plain": plan.training.is_plain,
    }
    return Outcome(
        run="",
        gpu=plan.gpus.model.name,
        count=plan.gpus.count,
        dtype=plan.dtype,
        method=plan.training.method.name,
        is_quantized=bool(config.get("quantization_bit")),
        setting=json.dumps(setting, sort_keys=True),
        planned_bytes=plan.memory.tensors,
    )
