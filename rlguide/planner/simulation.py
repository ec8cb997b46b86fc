"""What a step of a training holds and does: LLaMA-Factory's own step, simulated in its Python on tensors without data.

The worker (`rlguide_worker/simulate_step.py`) runs it with a few layers. All that is counted is affine in the number of
layers as long as it is counted in the same place of the step, so that two runs give the whole model.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rlguide.catalog.yaml_file import read_yaml
from rlguide.console import say
from rlguide.engine.find import Engine
from rlguide.engine.job import NO_GPU, Command, stream_worker
from rlguide.engine.worker import worker_command
from rlguide.policy.base import language_part
from rlguide.remembered import some_remembered

STAGES = ("dpo", "kto", "rm", "sft")
_STEPS = 2  # as in the worker
_OF_BITSANDBYTES = ("8bit", "paged_", "rmsprop_bnb")  # in the names of its optimizers
_AT_MOST = 12  # layers that are simulated where the pattern of layers is longer
_MOST_LAYERS = 1000  # Llama-3.1-405B has 126; all of them may have to be simulated


@dataclass(frozen=True)
class Counted:
    """What a micro-batch does: FLOPs of products, those of attention, bytes that others move, operations."""

    flops: float = 0.0
    attention: float = 0.0
    bytes: float = 0.0
    operations: float = 0.0


@dataclass(frozen=True)
class Step:
    """A step of training on one device with all layers.

    Attributes:
        kinds: bytes that are alive at the peak, by what they are.
        policy, reference, backward: the work of one micro-batch; the way back has forward again if checkpointed.
        parameters, trained: of the model; of these, those that are trained.
        optimizer: bytes of the optimizer's state.
        tokens, squares: of the micro-batch with its padding: rows x length, rows x length^2.
    """

    kinds: Mapping[str, int]
    policy: Counted
    reference: Counted
    backward: Counted
    parameters: int
    trained: int
    optimizer: int
    tokens: int
    squares: int

    @property
    def peak(self) -> int:
        """Bytes that are alive at the peak."""
        return sum(self.kinds.values())


@dataclass(frozen=True)
class Case:
    """A step that is asked for.

    Attributes:
        config: the training's config; model: the model's config.json.
        lengths: (prompt, response, ...) of each example of a micro-batch, in tokens.
        is_plain: as LLaMA-Factory does it, instead of with less memory and time (`recipes.lean`).
    """

    config: Mapping[str, Any]
    model: Mapping[str, Any]
    lengths: tuple[tuple[int, ...], ...]
    is_plain: bool
    is_checkpointed: bool

    def given(self, layers: int) -> dict[str, Any]:
        """What the worker is given to simulate it with so many layers."""
        config = {key: value for key, value in self.config.items() if key not in _aside()}
        optimizer = str(self.config.get("optim") or "")
        has_stand_in = any(word in optimizer for word in _OF_BITSANDBYTES) and "galore" not in optimizer
        if has_stand_in:
            config.pop("optim")
        accumulates = self.config.get("gradient_accumulation_steps", 1) > 1
        return {
            "config": {**config, "gradient_accumulation_steps": 2 if accumulates else 1},
            "model": text_model(self.model),
            "layers": layers,
            "lengths": self.lengths,
            "is_half": is_half(self.config),
            "is_plain": self.is_plain,
            "is_checkpointed": self.is_checkpointed,
            "is_padded": self.config.get("flash_attn") != "fa2",
            "has_liger": bool(self.config.get("enable_liger_kernel")),
            "optimizer": optimizer if has_stand_in else None,
        }


def is_half(config: Mapping[str, Any]) -> bool:
    """Whether a training computes in 16-bit floats."""
    return any(config.get(key) for key in ("bf16", "fp16", "pure_bf16"))


@cache
def _aside() -> frozenset[str]:
    """Keys of a config that decide nothing about a step."""
    groups = read_yaml(Path(__file__).with_name("aside.yaml"))
    return frozenset(key for keys in groups.values() for key in keys)


def simulate(
    engine: Engine, cases: Sequence[Case], is_enough: Callable[[Step | str], bool] = lambda _: False
) -> list[Step | str]:
    """The step of each case, or why it cannot be simulated. Kept in the cache; else about 6 s, and 3 s a case more.

    Args:
        is_enough: whether, with this for the first case, the others need not be simulated.

    Raises:
        EngineError: the engine does not start.
    """
    counts = [_layer_counts(text_model(case.model)) for case in cases]
    items = [case.given(count) for case, both in zip(cases, counts, strict=True) for count in both]

    failed: dict[int, Any] = {}  # not remembered: it may have been this machine

    def make(places: list[int]) -> Iterable[tuple[int, Any]]:
        say("simulating training steps in the engine's Python (about 10 s)")
        first: list[Any] = []
        with closing(_answers(engine, [items[place] for place in places])) as answers:
            for place, answer in zip(places, answers, strict=False):
                if isinstance(answer, dict) and "error" not in answer:
                    yield place, answer
                else:
                    failed[place] = answer
                first.append(answer)
                if place + 1 == len(first) == len(counts[0]) and is_enough(_step_of(cases[0], counts[0], first)):
                    return

    what = {"versions": dict(engine.versions), "worker": _worker_digest()}
    found = {**some_remembered("steps", what, items, make), **failed}
    steps: list[Step | str] = []
    place = 0
    for case, both in zip(cases, counts, strict=True):
        answers = [found.get(place + offset) for offset in range(len(both))]
        place += len(both)
        steps.append(_step_of(case, both, answers))
    return steps


def _answers(engine: Engine, items: list[dict[str, Any]]) -> Generator[Any, None, None]:
    command = Command(tuple(worker_command(engine, "simulate_step")), variables=NO_GPU)
    with tempfile.TemporaryFile() as given:
        given.write("".join(json.dumps(item) + "\n" for item in items).encode())
        given.seek(0)
        yield from stream_worker(engine, command, given)


def _worker_digest() -> str:
    """The checksum of what simulates, so that what was kept is of the same code."""
    import hashlib

    folder = Path(__file__).resolve().parents[2] / "rlguide_worker"
    names = ("simulate_step", "without_data", "live_bytes", "stand_ins", "lean", "lazy_logits", "recompute")
    return hashlib.sha256(b"".join((folder / f"{name}.py").read_bytes() for name in names)).hexdigest()[:16]


def text_model(model: Mapping[str, Any]) -> Mapping[str, Any]:
    """The language model's part of a config.json."""
    part = language_part(model)
    return part if "num_hidden_layers" in part else model


def _layer_counts(model: Mapping[str, Any]) -> tuple[int, ...]:
    """With how many layers a step is simulated: two counts, one round of the pattern of layers apart, or all."""
    layers = model.get("num_hidden_layers")
    if type(layers) is not int or not 1 <= layers <= _MOST_LAYERS:
        return ()
    kinds = model.get("layer_types")
    period = _period(kinds) if isinstance(kinds, list) and len(kinds) == layers else 1
    period = max(period, _count(model, "sliding_window_pattern"), _count(model, "decoder_sparse_step"))
    few = max(2, _count(model, "first_k_dense_replace") + period)
    if few + period >= layers or few + period > _AT_MOST:
        return (layers,)
    return (few, few + period)


def _count(model: Mapping[str, Any], key: str) -> int:
    """A count in a config.json, which anybody may have written; 0 where it is none."""
    value = model.get(key)
    return value if type(value) is int and value > 0 else 0


def _period(kinds: list[Any]) -> int:
    return next(size for size in range(1, len(kinds) + 1) if kinds[size:] == kinds[:-size] or size == len(kinds))


def _step_of(case: Case, counts: tuple[int, ...], answers: Sequence[Any]) -> Step | str:
    """The step with all layers from those with some of them."""
    if not counts:
        return f"its config.json does not say how many layers it has, up to {_MOST_LAYERS} (num_hidden_layers)"
    for answer in answers:
        if not isinstance(answer, dict) or "error" in answer:
            return str(answer["error"]) if isinstance(answer, dict) else "the engine gave no answer"
    layers = int(text_model(case.model)["num_hidden_layers"])
    share = (layers - counts[0]) / (counts[-1] - counts[0]) if len(counts) > 1 else 0.0

    def extended(low: float, high: float) -> float:
        return low + (high - low) * share

    low, high = answers[0], answers[-1]
    peaks = [_extended(low["peaks"][name], high["peaks"].get(name, {}), extended) for name in low["peaks"]]
    accumulated = 2 if case.config.get("gradient_accumulation_steps", 1) > 1 else 1
    works = {}
    for part in ("policy", "reference", "backward"):
        one, other = low["done"].get(part, {}), high["done"].get(part, {})
        work = {key: extended(one[key], other[key]) / (_STEPS * accumulated) for key in one}
        works[part] = Counted(**work)
    sides = [prompt + response for prompt, *responses in case.lengths for response in responses]
    width = -(-max(sides) // 8) * 8
    return Step(
        kinds=max(peaks, key=lambda kinds: sum(kinds.values())),
        parameters=round(extended(low["parameters"], high["parameters"])),
        trained=round(extended(low["trained"], high["trained"])),
        optimizer=round(extended(low["optimizer"], high["optimizer"])),
        tokens=len(sides) * width,
        squares=len(sides) * width**2,
        **works,
    )


def _extended(low: Mapping[str, int], high: Mapping[str, int], extended: Any) -> dict[str, int]:
    return {kind: round(extended(low.get(kind, 0), high.get(kind, 0))) for kind in {**low, **high}}
