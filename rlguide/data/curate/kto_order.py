"""The order of KTO's rows: shuffled, and no two neighbours with the same prompt.

LLaMA-Factory estimates KTO's KL term from responses that do not belong to their prompts, and makes those by moving the
responses on by one row within each block of 1,000 (llamafactory/data/processor/feedback.py and
preprocessing_batch_size, 0.9.5; the last response of a block goes to its first row). Two neighbours with the same
prompt would give that prompt a response of its own, and the term would be measured on the wrong thing.
"""

from __future__ import annotations

import random
from array import array
from collections import Counter
from collections.abc import Sequence

BLOCK = 1000  # rows; preprocessing_batch_size
TRIES = 100  # places that a row is offered; one is enough unless few prompts make up most of the rows


def spread(keys: Sequence[int], seed: int) -> Sequence[int]:
    """The indices of `keys` in an order where neighbours have different keys, as far as that is possible.

    It always is when no key has more than half of the rows (rounded up). The ends of each block of 1,000 are kept
    apart too, wherever the keys are many. The same keys and seed give the same order.
    """
    order = array("Q", range(len(keys)))
    chance = random.Random(seed)
    chance.shuffle(order)
    if _separate(order, keys, chance):
        return order
    return _deal(order, keys)


def _clashes(order: Sequence[int], keys: Sequence[int], place: int) -> bool:
    """Whether the row at `place` has the key of a neighbour, or of the other end of its block."""
    key, last = keys[order[place]], len(order) - 1
    if place > 0 and keys[order[place - 1]] == key:
        return True
    if place < last and keys[order[place + 1]] == key:
        return True
    first = place - place % BLOCK
    end = min(first + BLOCK - 1, last)
    other = end if place == first else first if place == end else place
    return other != place and keys[order[other]] == key


def _separate(order: array[int], keys: Sequence[int], chance: random.Random) -> bool:
    """Swap rows that clash with rows elsewhere; False as soon as one finds no place."""
    for place in range(len(order)):
        if not _clashes(order, keys, place):
            continue
        for _ in range(TRIES):
            other = chance.randrange(len(order))
            order[place], order[other] = order[other], order[place]
            if not _clashes(order, keys, place) and not _clashes(order, keys, other):
                break
            order[place], order[other] = order[other], order[place]
        else:
            return False
    return True


def _deal(order: Sequence[int], keys: Sequence[int]) -> Sequence[int]:
    """Rows of one key together, the commonest first, dealt to every second place and then to those between."""
    counts = Counter(keys)
    grouped = sorted(order, key=lambda index: (-counts[keys[index]], keys[index]))
    dealt = array("Q", grouped)
    half = (len(dealt) + 1) // 2
    dealt[0::2] = array("Q", grouped[:half])
    dealt[1::2] = array("Q", grouped[half:])
    return dealt
