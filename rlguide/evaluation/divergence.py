"""How far a policy has moved from its reference: KL(policy || reference) on what the policy itself samples."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlguide.console import progress
from rlguide.conversation import Message
from rlguide.engine.find import Engine
from rlguide.engine.job import Command, stream_worker
from rlguide.engine.worker import worker_command
from rlguide.errors import EngineError
from rlguide.inference.loaded import content_of
from rlguide.policy.policy import Policy
from rlguide.remembered import remembered
from rlguide.statistics import Estimate, mean
from rlguide.workspace import Workspace

# The guide's limit: beyond it a policy is far from what was checked (nats per response).
LIMIT = 10.0
FAR = f"the policy is far from its reference: more than {LIMIT:g} nats per response"
SEED = 0
_BATCH = 16


@dataclass(frozen=True)
class Divergence:
    """KL(policy || reference) in nats.

    Attributes:
        response: of a whole response, mean over prompts with its 95 % interval.
        token: of one token, mean over prompts of each response's mean.
        log_ratio: log policy(y) - log reference(y), the usual estimate of the same, for comparison.
        tokens: mean length of the responses.
        cut: responses that were cut at the limit of tokens, so that their KL is only of their beginning.
    """

    response: Estimate
    token: Estimate
    log_ratio: Estimate
    prompts: int
    tokens: float
    cut: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        estimates = {name: getattr(self, name).as_dict() for name in ("response", "token", "log_ratio")}
        return {**estimates, "prompts": self.prompts, "tokens": self.tokens, "cut": self.cut, "verdict": self.verdict}

    @property
    def verdict(self) -> str:
        """What the figure says, in a sentence."""
        cut = f" ({self.cut} of {self.prompts} responses were cut, so it is more)" if self.cut else ""
        if self.response.value > LIMIT:
            return f"{FAR}{cut}"
        if self.response.high < 1e-6:
            return "the policy responds as its reference does: nothing was learnt"
        return f"the policy is near its reference: within {LIMIT:g} nats per response{cut}"


def measure(
    ws: Workspace,
    engine: Engine,
    models: tuple[Policy, Policy],
    args: Mapping[str, Any],
    conversations: Sequence[Sequence[Message]],
    max_new_tokens: int,
) -> Divergence:
    """Sample a response of the policy to each conversation and score it by both models.

    Args:
        models: the policy and its reference.
        args: LLaMA-Factory's keys that load either, but for their parts.

    Raises:
        EngineError: the engine failed, or gave no usable result.
    """
    policy, reference = models
    shared = dict(args)
    is_on_top = reference.base == policy.base and reference.adapters == policy.adapters[:-1]
    asked = [list(messages) for messages in conversations]
    settings = {"max_new_tokens": max_new_tokens, "batch_size": _BATCH, "seed": SEED}
    request = {
        "args": {**shared, **policy.model_config()},
        "reference": None if is_on_top else {**shared, **reference.model_config()},
        **settings,
    }
    what: dict[str, Any] = dict(settings)
    for name, model in (("policy", policy), ("reference", reference)):
        what[name] = content_of(ws, engine, model, shared)

    def sample(missing: list[int]) -> Iterator[tuple[int, Any]]:
        for index, row in _sampled(ws, engine, {**request, "conversations": [asked[at] for at in missing]}):
            yield missing[index], row

    return summarize(remembered("divergence", what, asked, sample))


def summarize(rows: Sequence[Mapping[str, Any]]) -> Divergence:
    """The figures of the rows that the worker gave. Raises EngineError if they are not usable."""
    try:
        kl = [float(row["kl"]) for row in rows]
        ratios = [float(row["log_ratio"]) for row in rows]
        tokens = [int(row["tokens"]) for row in rows]
        cut = sum(row["is_whole"] is not True for row in rows)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise EngineError("the engine gave no usable divergence", "run `rlguide doctor`, then try again") from error
    if not rows or not all(math.isfinite(value) for value in (*kl, *ratios)):
        raise EngineError(
            "the divergence is not a number: the policy's or the reference's weights are damaged",
            "train again with a lower learning rate",
        )
    per_token = [value / max(1, count) for value, count in zip(kl, tokens, strict=True)]
    return Divergence(mean(kl), mean(per_token), mean(ratios), len(rows), sum(tokens) / len(rows), cut)


def _sampled(ws: Workspace, engine: Engine, request: Mapping[str, Any]) -> Iterator[tuple[int, Any]]:
    total = len(request["conversations"])
    with tempfile.TemporaryDirectory() as folder, progress("responses") as bar:
        path = Path(folder) / "request.json"
        path.write_text(json.dumps(dict(request)), encoding="utf-8")
        task = bar.add_task("loading the models", total=total)
        command = Command(tuple(worker_command(engine, "sample_kl", str(path))), ws.root)
        with closing(stream_worker(engine, command)) as documents:
            for told in documents:
                if isinstance(told, dict) and "phase" in told:
                    bar.update(task, description=str(told["phase"]))
                elif isinstance(told, dict) and isinstance(told.get("index"), int):
                    bar.update(task, description="scoring responses", advance=1)
                    yield told["index"], told
