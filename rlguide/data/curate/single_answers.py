"""The answers of pairs one by one, each once: KTO learns from single answers, and pairs may share them.

Of a list of scored answers that was paired in full, a middling one is rejected in one pair and chosen in another. As a
labelled row it would be desirable and undesirable at once, which pulls both ways and teaches nothing.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import NamedTuple

from rlguide.data.example import Pair

CHOSEN_AND_REJECTED = "an answer chosen in one pair and rejected in another"
REPEATED = "an answer that an earlier pair has with the same label"


class Answers(NamedTuple):
    """Which answers are wanted: a byte each, 0 or 1, the chosen and the rejected one of each pair in turn."""

    wanted: bytes
    contradictory: int
    repeated: int


def answers(pairs: Iterable[Pair]) -> Answers:
    """Look for the same system prompt, conversation and answer among pairs: 16 bytes a pair, 50 more at the end.

    Texts are compared by a hash of 64 bits: among 2,000,000 answers two different ones pass for the same in one of
    10,000,000 cases.
    """
    import numpy as np

    hashes = array("q")
    for pair in pairs:
        asked = hash((pair.system, *[turn.value for turn in pair.messages]))
        hashes.append(hash((asked, pair.chosen)))
        hashes.append(hash((asked, pair.rejected)))
    keys = np.frombuffer(hashes, np.int64) if hashes else np.empty(0, np.int64)
    order = np.argsort(keys, kind="stable")
    first = np.ones(len(keys), bool)
    first[1:] = keys[order[1:]] != keys[order[:-1]]
    starts = np.flatnonzero(first)
    rejected = order % 2 == 1
    size = np.diff(starts, append=len(keys))
    of_rejected = np.add.reduceat(rejected, starts, dtype=np.int64) if len(keys) else size
    one_label = (of_rejected == 0) | (of_rejected == size)
    wanted = np.zeros(len(keys), np.uint8)
    wanted[order[starts[one_label]]] = 1
    contradictory = int(size[~one_label].sum())
    return Answers(wanted.tobytes(), contradictory, len(keys) - contradictory - int(wanted.sum()))
