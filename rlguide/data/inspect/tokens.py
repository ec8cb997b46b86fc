"""Lengths in tokens, counted by the engine with the template of the training, on a sample of the rows."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

from rlguide import console
from rlguide.data.example import Example
from rlguide.data.inspect.figures import Tokens, spreads
from rlguide.engine.find import Engine
from rlguide.engine.job import NO_GPU, Command, stream_worker
from rlguide.engine.worker import worker_command
from rlguide.errors import EngineError
from rlguide.progress import Ticker
from rlguide.statistics import proportion


@dataclass(frozen=True)
class Tokenizer:
    """What counts: an engine, a model (hub id or folder; only its tokenizer is loaded) and a template's name."""

    engine: Engine
    model: str
    template: str


def count_tokens(tokenizer: Tokenizer, rows: Sequence[Example]) -> list[list[int]]:
    """Tokens of prompt and responses, row by row; about 10 s of imports, then some 1,000 rows a second.

    Raises:
        EngineError: the engine does not start or cannot load the tokenizer; the message holds the cause.
    """
    arguments = worker_command(tokenizer.engine, "count_tokens", tokenizer.model, tokenizer.template)
    with tempfile.TemporaryFile() as given:
        for row in rows:
            messages = [turn.value for turn in row.messages]
            texts = {"system": row.system, "messages": messages, "responses": row.responses}
            given.write(f"{json.dumps(texts)}\n".encode())
        given.seek(0)
        console.say("starting the engine to count tokens (about 10 s)")
        documents = stream_worker(tokenizer.engine, Command(tuple(arguments), variables=NO_GPU), given)
        try:
            with closing(documents):
                counts = list(islice(documents, 1))  # the start does not count in the rate
                with Ticker("counting tokens", "rows", len(rows)) as ticker:
                    for count in documents:
                        counts.append(count)
                        ticker.update(len(counts))
        except EngineError as error:
            raise EngineError(
                f"the engine cannot count the tokens of {tokenizer.model}: {error.what}",
                "name a model with a tokenizer with --model and its template with --template, or run `rlguide doctor`",
            ) from error
    if len(counts) != len(rows):
        raise EngineError(f"the engine counted the tokens of {len(counts)} of {len(rows)} rows", "run `rlguide doctor`")
    return counts


def kept_lengths(prompt: int, response: int, cutoff: int) -> tuple[int, int]:
    """What the engine keeps of a prompt and of a response (of a pair: the longer one) at a `cutoff_len`.

    The rule is that of llamafactory/data/processor/processor_utils.py, infer_seqlen (0.9.5): the shorter side is
    kept whole if it is shorter than half of the cutoff, else both are cut in proportion.
    """
    if response * 2 < cutoff:
        most = cutoff
    elif prompt * 2 < cutoff:
        most = cutoff - prompt
    else:
        most = int(cutoff * (response / (prompt + response)))
    kept = min(most, response)
    return min(max(cutoff - kept, 0), prompt), kept


def summarise(tokenizer: Tokenizer, counts: list[list[int]], cutoff_len: int) -> Tokens | None:
    """The figures of these counts, None of no rows."""
    import numpy as np

    if not counts:
        return None
    table = np.array(counts, dtype=np.int64)
    prompts, longest = table[:, 0], table[:, 1:].max(axis=1)
    paired = table.shape[1] == 3
    columns = dict(zip(("prompt", "chosen", "rejected") if paired else ("prompt", "response"), table.T, strict=True))
    columns["prompt + longer response" if paired else "prompt + response"] = prompts + longest
    rows = list(zip(prompts.tolist(), longest.tolist(), strict=True))
    kept = [kept_lengths(prompt, response, cutoff_len) for prompt, response in rows]
    cut = sum(parts != row for parts, row in zip(kept, rows, strict=True))
    response_cut = sum(parts[1] < row[1] for parts, row in zip(kept, rows, strict=True))
    part = proportion(cut, len(rows))
    return Tokens(tokenizer.model, tokenizer.template, len(rows), spreads(columns), cutoff_len, part, response_cut)
