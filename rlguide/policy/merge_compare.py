"""Compare a merged model with the stack that it was merged from, before its folder gets its name.

Both are scored on the same prompts by `rlguide_worker/match_logits.py`, one after the other, with one model in memory
at a time and on the device of the merge.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rlguide.console import say
from rlguide.engine.find import Engine
from rlguide.engine.job import Command, stream_worker
from rlguide.engine.worker import worker_command
from rlguide.errors import EngineError
from rlguide.policy.policy import Policy

# How far the log-probability of one token may be from that of the stack, in nats, by the type of the weights.
# Measured with LLaMA-Factory 0.9.5, peft 0.18.1 and torch 2.11 on a CPU, with two adapters, on a Qwen3 of 0.2 M and on
# SmolLM2-135M (210 tokens of responses):
# - from the stack as LLaMA-Factory loads it for inference, every adapter merged in memory: 0.0 in each type. It is the
#   same arithmetic; what is allowed is for the last bits of weights, should a GPU add up in another order;
# - from the stack as it was trained, its last adapter beside the weights: at most 3e-5 in float32, 0.044 in float16,
#   0.28 in bfloat16 (0.000003, 0.005 and 0.04 on average), because the merged weights are rounded to their type.
TOLERANCES = {"float32": 1e-3, "float16": 0.02, "bfloat16": 0.1}
TRAINED_TOLERANCES = {"float32": 1e-3, "float16": 0.2, "bfloat16": 1.0}
# Keys that the merged folder, an ordinary model, is loaded with; the others are in it already (its vocabulary, say).
_KEYS = ("template", "infer_dtype", "export_dir", "export_device", "trust_remote_code", "flash_attn", "enable_thinking")
_TEXT_KEYS = ("use_fast_tokenizer", "split_special_tokens", "default_system", "tool_format")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """How far a merged model is from its stack, largest difference of a token's log-probability in nats.

    Attributes:
        tokens: tokens of the responses that were scored.
        difference: from the stack as LLaMA-Factory loads it for inference.
        trained_difference: from the stack as it was trained, its last adapter beside the weights.
    """

    prompts: int
    tokens: int
    dtype: str
    difference: float
    tolerance: float
    trained_difference: float
    trained_tolerance: float

    def as_dict(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self)


def compare(engine: Engine, root: Path, policy: Policy, values: Mapping[str, Any]) -> Comparison:
    """Score the stack and the folder that was merged from it, and say how far they are from each other.

    Args:
        root: the workspace.
        values: the config of the merge.

    Raises:
        EngineError: they differ, or could not be compared.
    """
    folder = str(values["export_dir"])
    kept = {key: values[key] for key in (*_KEYS, *_TEXT_KEYS) if values.get(key) is not None}
    merged = {**kept, "model_name_or_path": folder}
    command = worker_command(engine, "match_logits", json.dumps(dict(values)), json.dumps(merged))
    scores: dict[str, list[Row]] = {}
    try:
        with closing(stream_worker(engine, Command(tuple(command), root))) as documents:
            for told in documents:
                if isinstance(told, dict) and "prompts" in told:
                    say(f"comparing the merged model with the stack on {told['prompts']} prompts")
                if isinstance(told, dict) and "phase" in told:
                    say(f"  {told['phase']}")
                elif isinstance(told, dict) and "model" in told:
                    scores[str(told["model"])] = told["rows"]
        return verdict(scores, str(values["infer_dtype"]))
    except Differ as error:
        raise EngineError(
            f"the merged model is not the stack: {error}",
            "use base and adapters as they are, as `rlguide chat` does; or run `rlguide doctor` and merge again",
        ) from error
    except (EngineError, KeyError, TypeError) as error:
        what = error.what if isinstance(error, EngineError) else "the engine gave no usable result"
        again = f"rlguide export {shlex.quote(policy.adapters[-1])} --no-verify"
        raise EngineError(
            f"the merged model could not be compared with the stack: {what}",
            f"run `rlguide doctor`; or merge without the comparison: `{again}`",
        ) from error


class Differ(Exception):
    """Why a merged model is not its stack."""


def verdict(scores: Mapping[str, Sequence[Row]], dtype: str) -> Comparison:
    """Compare the scores that the worker gave.

    Args:
        scores: the rows of "trained", "stack" and "merged".
        dtype: of the weights; of an unknown one ("auto") the widest tolerance is taken.

    Raises:
        Differ: the merged model is not the stack; says why.
        KeyError, TypeError: the scores are not complete.
    """
    stack, merged, trained = scores["stack"], scores["merged"], scores["trained"]
    if not stack:
        raise TypeError("no prompt was scored")
    tolerance = TOLERANCES.get(dtype, max(TOLERANCES.values()))
    trained_tolerance = TRAINED_TOLERANCES.get(dtype, max(TRAINED_TOLERANCES.values()))
    apart = _largest_difference(stack, merged)
    if apart > tolerance:
        raise Differ(f"log-probabilities differ by up to {apart:.2g} nats ({tolerance:g} allowed in {dtype})")
    from_trained = _largest_difference(trained, merged)
    if from_trained > trained_tolerance:
        raise Differ(
            f"log-probabilities differ by up to {from_trained:.2g} nats from those in training "
            f"({trained_tolerance:g} allowed in {dtype})"
        )
    for number, (one, other) in enumerate(zip(stack, merged, strict=True), start=1):
        # Each of two log-probabilities may be off by the tolerance, so a smaller gap may close.
        if _is_flipped(one, other, 2 * tolerance):
            raise Differ(f"its greedy response to prompt {number} of {len(stack)} is another one")
    tokens = sum(len(row["logps"]) for row in stack)
    return Comparison(len(stack), tokens, dtype, apart, tolerance, from_trained, trained_tolerance)


def _largest_difference(rows: Sequence[Row], others: Sequence[Row]) -> float:
    """Of the log-probability of any token, in nats. Raises Differ where tokens differ or one has no number."""
    largest = 0.0
    if len(rows) != len(others):
        raise Differ(f"{len(others)} of {len(rows)} prompts were scored")
    for row, other in zip(rows, others, strict=True):
        if row["tokens"] != other["tokens"] or len(row["logps"]) != len(other["logps"]):
            raise Differ("its tokenizer encodes the same text as other tokens")
        for one, two in zip(row["logps"], other["logps"], strict=True):
            if math.isnan(one):
                raise Differ("the stack itself gives no number (NaN) as a log-probability")
            if math.isnan(two):
                raise Differ("it gives no number (NaN) as a log-probability")
            largest = max(largest, 0.0 if one == two else abs(one - two))  # two infinities may be equal
    return largest


def _is_flipped(row: Row, other: Row, gap: float) -> bool:
    """Whether two greedy responses part where the better token was ahead by more than `gap` nats."""
    for place, (one, two) in enumerate(zip(row["greedy"], other["greedy"], strict=False)):
        if one != two:  # from here on they answer to different beginnings
            return not row["gaps"][place] <= gap  # NaN is not within it
    return len(row["greedy"]) != len(other["greedy"])
