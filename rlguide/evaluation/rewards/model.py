"""The reward model that scores responses, and how it is asked: loaded by the engine, or behind a server of it.

Both get the tokens that the reward model was trained on: LLaMA-Factory's server takes texts and makes tokens of them
without a template (llamafactory 0.9.5, chat/hf_engine.py, `_get_scores`), so it is sent texts that are written by the
template and cut as in training.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any

from rlguide.console import say, warn
from rlguide.engine.find import Engine
from rlguide.engine.hardware import list_gpus
from rlguide.engine.job import NO_GPU, Command, stream_worker
from rlguide.engine.worker import worker_command
from rlguide.errors import EngineError, UsageError
from rlguide.evaluation.config import check_run
from rlguide.evaluation.rewards.server import ScoreServer
from rlguide.inference.loaded import content_of
from rlguide.recipes.inputs import compute_keys
from rlguide.runs.best import at_step, step_meant
from rlguide.runs.choose import is_reward_model, model_keys, usable_run, why_no_result
from rlguide.runs.record import Run
from rlguide.statistics import finite
from rlguide.workspace import Workspace

AT_ONCE = 16  # texts in a request to a server


@dataclass(frozen=True)
class Scored:
    """What came of a request: the rewards of its responses and how many tokens were cut off, or why there are none."""

    index: int
    rewards: tuple[float, ...] = ()
    cut: int = 0
    why: str = ""


@dataclass(frozen=True)
class RewardModel:
    """A run's reward model, at one step, with the keys that load it."""

    ws: Workspace
    engine: Engine
    run: Run
    args: dict[str, Any]
    server: ScoreServer | None = None

    def identity(self) -> dict[str, Any]:
        """All that decides a reward but prompt and responses. Raises CheckpointError."""
        where = {"endpoint": self.server.address} if self.server else {}
        return {**content_of(self.ws, self.engine, self.run.policy, self.args), **where}

    def score(self, requests: IO[bytes]) -> Generator[Scored, None, None]:
        """Score every request, in any order.

        Args:
            requests: lines of JSON, as `rlguide_worker/score_responses.py` takes them.

        Raises:
            EngineError: the engine or the server failed; what came before counts.
        """
        documents = self._documents(requests, "texts" if self.server else "rewards")
        with closing(documents):
            if self.server is None:
                yield from map(_scored, documents)
                return
            while some := list(islice(documents, AT_ONCE)):
                yield from _by_server(self.server, some)

    def _documents(self, requests: IO[bytes], mode: str) -> Generator[dict[str, Any], None, None]:
        arguments = worker_command(self.engine, "score_responses", json.dumps(self.args), mode)
        gpus = list_gpus()
        variables = {"CUDA_VISIBLE_DEVICES": str(gpus[0].index)} if len(gpus) > 1 else {}
        command = Command(tuple(arguments), self.ws.root, NO_GPU if mode == "texts" else variables)
        with closing(stream_worker(self.engine, command, requests)) as told:
            for document in told:
                if isinstance(document, dict) and "phase" in document:
                    say(f"  {document['phase']}")
                elif isinstance(document, dict) and isinstance(document.get("index"), int):
                    yield document


def find_reward_model(
    ws: Workspace, engine: Engine, name: str | None, step: int | None, last: bool, trusts: bool
) -> RewardModel:
    """The reward model of a run; the newest one without a name.

    Args:
        step, last: which step of the run; its best by default.
        trusts: whether code that comes with the base model may run.

    Raises:
        UsageError: there is none, or the run is another model.
        CheckpointError: a part of it is missing or damaged.
    """

    def needs(run: Run) -> str:
        return why_no_result(ws, run) if is_reward_model(run) else "is a policy"

    run = usable_run(ws, name, needs, "rlguide train --method rm --sft-ckpt latest")
    if not is_reward_model(run):
        raise UsageError(
            f"{run.name} is a policy: it writes responses, it does not score them",
            "name a run of `rlguide train --method rm`",
        )
    meant = step_meant(run, step, last)
    run = at_step(run, meant)
    check_run(ws, run, {"trust_remote_code": True} if trusts else {})
    if meant.words:
        say(f"step       {meant.words}")
    say(f"reward     {run.policy.describe()}")
    return RewardModel(ws, engine, run, _arguments(ws, run, trusts))


def _arguments(ws: Workspace, run: Run, trusts: bool) -> dict[str, Any]:
    """The keys that load the model and cut its texts as in training, in the precision that `rlguide eval` uses."""
    keys, notes = model_keys(ws, run.config)
    for note in notes:
        warn(note)
    kept: dict[str, Any] = {key: run.config[key] for key in ("template", "cutoff_len") if key in run.config}
    computes = compute_keys(list_gpus(), 0)
    precision = "bfloat16" if computes.get("bf16") else "float16" if computes.get("fp16") else None
    trust = {"trust_remote_code": True} if trusts else {}
    return {**keys, **kept, **run.policy.model_config(), **trust, "stage": "rm", "autocast": precision}


def _scored(told: dict[str, Any]) -> Scored:
    """What the worker told of a request."""
    rewards, cut = told.get("rewards"), told.get("cut", 0)
    if "error" in told or not isinstance(rewards, list):
        return Scored(told["index"], why=str(told.get("error", "no reward came")))
    values = [finite(reward) for reward in rewards]
    if any(value is None for value in values):
        return Scored(told["index"], why="its reward is not a number (NaN or infinity)")
    return Scored(told["index"], tuple(value for value in values if value is not None), int(cut))


def _by_server(server: ScoreServer, told: Sequence[dict[str, Any]]) -> Iterator[Scored]:
    """Ask a server for the rewards of the texts of some requests."""
    good = [document for document in told if "texts" in document]
    yield from (_scored(document) for document in told if "texts" not in document)
    texts = [text for document in good for text in document["texts"]]
    longest = max((tokens for document in good for tokens in document["tokens"]), default=0)
    rewards = iter(server.scores(texts, longest) if texts else ())
    for document in good:
        found = list(islice(rewards, len(document["texts"])))
        if len(found) < len(document["texts"]):
            raise EngineError("the server gave only some of the rewards", "look at what the server has logged")
        yield _scored({**document, "rewards": found})
