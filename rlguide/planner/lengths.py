"""How long the examples of a training are, in tokens: counted by the engine's tokenizer on a sample."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from rlguide.catalog.methods import method_of
from rlguide.console import say
from rlguide.data.example import Example
from rlguide.data.ingest.views import view_names, viewed
from rlguide.data.inspect.tokens import Tokenizer, count_tokens, kept_lengths
from rlguide.data.store.dataset_info import dataset_kind, read_registry
from rlguide.data.store.reading import read_examples
from rlguide.data.store.registered import RegisteredDataset, check_registered, checksum
from rlguide.engine.find import Engine
from rlguide.errors import RlguideError, UsageError
from rlguide.recipes.data import VIEWS, data_home
from rlguide.recipes.shadow import shadow
from rlguide.remembered import some_remembered
from rlguide.workspace import Workspace

SAMPLE = 1000  # rows whose tokens are counted; the mean of lengths is then known within about 3 %
LONGEST = 50  # rows that look longest are counted besides: memory must hold the longest of all
_SEEN = 200_000  # rows of each dataset that they are chosen from
_SEED = 20
_PER_TOKEN = 4.0  # characters of English in a token; of CJK text it is 1.5
_PER_TOKEN_CJK = 1.5


@dataclass(frozen=True)
class Lengths:
    """Tokens of (prompt, response, ...) of examples, as the engine keeps them at `cutoff_len`, and how that is known.

    `rows`: drawn at random. `longest`: the example with the longest side of all.
    """

    rows: tuple[tuple[int, ...], ...]
    longest: tuple[int, ...]
    why: str

    @property
    def mean(self) -> float:
        """Tokens of an example, all sides, without padding."""
        return sum(sum(row[0] + response for response in row[1:]) for row in self.rows) / len(self.rows)


def at_most(cutoff: int, responses: int) -> Lengths:
    """Examples that fill `cutoff_len`, where the data are not known."""
    prompt = cutoff // 4
    row = (prompt, *(max(1, cutoff - prompt - 8 * place) for place in range(responses)))
    return Lengths((row,), row, f"no data: every example fills cutoff_len {cutoff}")


def lengths_of(
    ws: Workspace, engine: Engine, datasets: Sequence[RegisteredDataset], config: dict[str, Any], responses: int
) -> Lengths:
    """The lengths of a sample of the data of a training; estimated where no tokenizer is on this machine.

    Args:
        config: the training's config: its model, template and `cutoff_len`.
        responses: of an example that the method trains on: 2 of a pair, else 1.
    """
    cutoff = int(config.get("cutoff_len") or 2048)
    with _readable(ws, datasets, config) as (place, found):
        drawn, longest = _sample(place, found, responses)
        what = {"data": {item.name: checksum(place, item) for item in found}, "workspace": str(ws.root)}
    if not drawn:
        return at_most(cutoff, responses)
    texts = [*drawn, *longest]
    try:
        if not config.get("template"):
            raise UsageError("the chat template is not known", "name it with --template")
        counts = _counted(engine, what, texts, config)
        why = f"{len(drawn):,} of {_total(datasets)} rows, tokens of {config['model_name_or_path']}"
    except RlguideError as error:
        say(f"note: lengths are estimated by characters: {error.what}")
        counts = [_estimated(example) for example in texts]
        why = f"{len(drawn):,} of {_total(datasets)} rows, estimated by characters"
    rows = [cut_row(row[: 1 + responses], cutoff) for row in counts]
    return Lengths(tuple(rows[: len(drawn)]), max(rows, key=lambda row: row[0] + max(row[1:])), why)


def cut_row(row: Sequence[int], cutoff: int) -> tuple[int, ...]:
    """What the engine keeps of an example (prompt, response, ...) at a `cutoff_len`."""
    prompt, most = kept_lengths(row[0], max(row[1:]), cutoff)
    return (prompt, *(min(side, most) for side in row[1:]))


@contextmanager
def _readable(
    ws: Workspace, datasets: Sequence[RegisteredDataset], config: dict[str, Any]
) -> Iterator[tuple[Workspace, Sequence[RegisteredDataset]]]:
    """Where the data lie, and what they are there: a dry run has seen them aside, and views it made there are gone."""
    home, method = data_home(ws, config), method_of(config)
    names, entries = [item.name for item in datasets], read_registry(home)
    wanted = "pairs" if method is None else method.data
    has_views = wanted not in VIEWS or all(name in entries for name in names)
    with nullcontext(home) if has_views else shadow(home) as place:
        if not has_views:
            names = view_names(place, names, VIEWS[wanted])
        again = check_registered(place, names, wanted)
        yield place, [replace(it, rows=item.rows) for it, item in zip(again, datasets, strict=True)]


def _total(datasets: Sequence[RegisteredDataset]) -> str:
    counts = [item.rows for item in datasets]
    return "?" if None in counts else f"{sum(count or 0 for count in counts):,}"


def _sample(
    ws: Workspace, datasets: Sequence[RegisteredDataset], responses: int
) -> tuple[list[Example], list[Example]]:
    """Rows drawn at random, from each dataset in proportion to its size, and those that look longest.

    None of a dataset that is not on this machine, or whose rows are not read.
    """
    import heapq

    draw, drawn, longest = random.Random(_SEED), [], []
    counts = [item.rows or 0 for item in datasets]
    for item, count in zip(datasets, counts, strict=True):
        if item.path is None:
            continue
        size = max(1, round(SAMPLE * count / max(sum(counts), 1)))
        kept: list[Example] = []
        top: list[tuple[int, int, Example]] = []
        for place, row in enumerate(islice(_examples(ws, item.name, responses), _SEEN)):
            if len(kept) < size:
                kept.append(row)
            elif (slot := draw.randrange(place + 1)) < size:
                kept[slot] = row
            entry = (_seen_length(row), place, row)
            if len(top) < LONGEST:
                heapq.heappush(top, entry)
            elif entry[0] > top[0][0]:
                heapq.heapreplace(top, entry)
        drawn += kept
        longest += [row for *_, row in top]
    return drawn, longest


def _examples(ws: Workspace, name: str, responses: int) -> Iterator[Example]:
    """The rows of a dataset with the responses that are trained on; of a view of pairs those of the pairs."""
    pairs = viewed(ws, name) if dataset_kind(ws, name) == "other" else name
    if pairs is None:
        say(f"note: the rows of {name}, which rlguide has not registered, are not read")
        return
    for example in read_examples(ws, pairs):
        yield example._replace(responses=example.responses[:responses])


def _seen_length(row: Example) -> int:
    """Bytes of the prompt and the longest response: CJK text has more tokens a character, and more bytes."""
    prompt = sum(len(turn.value.encode("utf-8", "replace")) for turn in row.messages)
    return prompt + max(len(response.encode("utf-8", "replace")) for response in row.responses)


def _counted(engine: Engine, what: dict[str, Any], texts: list[Example], config: dict[str, Any]) -> list[list[int]]:
    tokenizer = Tokenizer(engine, str(config["model_name_or_path"]), str(config["template"]))
    what = {
        **what,
        "engine": dict(engine.versions),
        "model": tokenizer.model,
        "template": tokenizer.template,
    }
    found = some_remembered("lengths", what, [0], lambda _: [(0, count_tokens(tokenizer, texts))])
    counts: list[list[int]] = found[0]
    return counts


def _estimated(example: Example) -> list[int]:
    texts = ["\n".join([example.system or "", *(turn.value for turn in example.messages)]), *example.responses]
    return [_tokens(text) for text in texts]


def _tokens(text: str) -> int:
    cjk = sum("\u3040" <= character <= "\u9fff" or "\uac00" <= character <= "\ud7af" for character in text)
    return round(cjk / _PER_TOKEN_CJK + (len(text) - cjk) / _PER_TOKEN) + 8
