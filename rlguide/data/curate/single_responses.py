"""The responses of pairs one by one, each once: KTO learns from single responses, and pairs may share them.

Of a list of scored responses that was paired in full, a middling one is rejected in one pair and chosen in another. As
a labelled row it would be desirable and undesirable at once, which pulls both ways and teaches nothing.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import NamedTuple

from rlguide.data.example import Example

CHOSEN_AND_REJECTED = "a response chosen in one pair and rejected in another"
DUPLICATE = "a response that an earlier pair has with the same label"


class SingleResponses(NamedTuple):
    """Which responses are wanted: a byte each, 0 or 1, the chosen and the rejected one of each pair in turn."""

    wanted: bytes
    contradictory: int
    duplicates: int


def single_responses(pairs: Iterable[Example]) -> SingleResponses:
    """Look for the same system prompt, conversation and response among pairs: 16 bytes a pair, 100 more at the end.

    Texts are compared by a hash of 64 bits: among 2,000,000 responses two different ones pass for the same in one of
    10,000,000 cases.
    """
    import numpy as np

    hashes = array("q")
    for pair in pairs:
        prompt = hash((pair.system, *[turn.value for turn in pair.messages]))
        hashes.extend([hash((prompt, response)) for response in pair.responses])
    keys = np.frombuffer(hashes, np.int64) if hashes else np.empty(0, np.int64)
    _, first, group, size = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    of_rejected = np.bincount(group[1::2], minlength=len(size))  # every second response is a rejected one
    one_label = (of_rejected == 0) | (of_rejected == size)
    wanted = np.zeros(len(keys), np.uint8)
    wanted[first[one_label]] = 1
    contradictory = int(size[~one_label].sum())
    return SingleResponses(wanted.tobytes(), contradictory, len(keys) - contradictory - int(wanted.sum()))
