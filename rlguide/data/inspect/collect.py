"""One stream over the rows: counts, lengths, scores, duplicates and a sample, in memory that a million rows fit in.

Per row 12 bytes of lengths, 8 of scores, 16 of hashes; near duplicates take 300 more for the rows they are looked for
in.
"""

from __future__ import annotations

import random
from array import array
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rlguide.data.curate.duplicates import DuplicateFinder
from rlguide.data.curate.minhash import Fingerprints, earlier_equal
from rlguide.data.curate.requested import requested_in, response_language
from rlguide.data.example import Example, ExampleKind, prompt_key
from rlguide.data.inspect.benchmarks import Benchmarks
from rlguide.data.inspect.figures import Duplicates, Figures, Overlap, length_bias, margins, spreads
from rlguide.progress import Ticker

if TYPE_CHECKING:
    from numpy.typing import NDArray


# What takes longest (languages, near duplicates, benchmarks) is done on so many rows, drawn at random, if there are
# more: about 20 s. The rest is done on all.
THOROUGH = 250_000
SYSTEMS = 10_000
END = 300  # characters of each end of a prompt that nearly equal prompts are told by
SEED_OF_CHOICE = 20  # which rows are looked at closely is always the same


class Collector:
    """Takes the rows of one dataset, then those held out from it.

    Args:
        expected: rows that will come, None if that is not known; decides whether all are looked at closely.
        sample: rows to keep, drawn at random with `seed`.
    """

    def __init__(
        self,
        expected: int | None,
        sample: int = 0,
        seed: int = 42,
        benchmarks: Benchmarks = Benchmarks(),
        thorough: int | None = THOROUGH,
    ) -> None:
        self.rows = self.heldout_rows = self.system = self.desirable = 0
        self.kind: ExampleKind = "pairs"
        self.languages: Counter[str] = Counter()
        self.requested: dict[str, Counter[str]] = {"en": Counter(), "zh": Counter()}
        self.turns: Counter[int] = Counter()
        self._systems: set[int] = set()
        self._lengths = {key: array("i") for key in ("prompt", "chosen", "rejected")}
        self._margins = array("d")
        self._rows, self._prompts = array("q"), array("q")  # hashes: of the texts as they stand; of the prompts
        self._near_rows, self._near_prompts = DuplicateFinder(), Fingerprints()
        self._thorough_rows = array("q")  # the rows that are in `_near_rows`
        self._benchmarks = benchmarks
        self._choose = random.Random(SEED_OF_CHOICE)
        self._part = min(1.0, thorough / expected) if thorough is not None and expected else 1.0
        self._wanted = sample
        self._draw = random.Random(seed)
        self._sample: list[tuple[int, Example]] = []

    def add(self, example: Example) -> None:
        """Add a row for training."""
        turns = tuple(turn.value for turn in example.messages)
        prompt = "\n".join(turns)
        self.rows += 1
        self.turns[(len(turns) + 1) // 2] += 1
        if example.system:
            self.system += 1
            if len(self._systems) < SYSTEMS:
                self._systems.add(hash(example.system))
        for lengths, part in zip(self._lengths.values(), (prompt, *example.responses), strict=False):
            lengths.append(len(part))
        self.kind = example.kind
        if example.label is not None:
            self.desirable += example.label
        elif example.scores is not None:
            self._margins.append(example.scores[0] - example.scores[1])
        self._keep(example)
        self._rows.append(hash((example.system, turns, example.responses, example.label)))
        self._prompts.append(hash(prompt_key(example.messages)))
        if self._part >= 1 or self._choose.random() < self._part:
            code = response_language(example)  # as --lang reads a row
            self.languages[code] += 1
            if asked := requested_in(example, code):
                self.requested[asked][code] += 1
            self._thorough_rows.append(self.rows - 1)
            self._near_rows.add(example)
            self._near_prompts.add((ends(example.system), ends(prompt)))
            self._benchmarks.look_at(prompt)

    def add_heldout(self, example: Example) -> None:
        """Add a row that is held out; all rows for training must have come before."""
        self.heldout_rows += 1
        self._prompts.append(hash(prompt_key(example.messages)))
        self._near_prompts.add((ends(example.system), ends("\n".join(turn.value for turn in example.messages))))

    @property
    def sample(self) -> list[tuple[int, Example]]:
        """The rows drawn, each with its number (from 1), in a random order."""
        drawn = sorted(self._sample, key=lambda entry: entry[0])
        random.Random(self._wanted).shuffle(drawn)
        return drawn

    def lengths(self, key: str) -> NDArray[Any]:
        """Characters of prompt, chosen or rejected (a single response counts as chosen), row by row."""
        import numpy as np

        return np.array(self._lengths[key], np.int32)

    def score_margins(self) -> NDArray[Any]:
        """Score of chosen minus rejected, of the pairs that have scores."""
        import numpy as np

        return np.array(self._margins, np.float64)

    def figures(self, dataset: str, heldout: str | None) -> Figures:
        """What the rows come to."""
        is_single = self.kind != "pairs"
        names = {"prompt": "prompt", "response": "chosen"} if is_single else {key: key for key in self._lengths}
        duplicates, overlap = self._duplicates()
        ifeval, instructions = self._benchmarks
        return Figures(
            dataset=dataset,
            kind=self.kind,
            rows=self.rows,
            heldout=heldout,
            heldout_rows=self.heldout_rows,
            languages=dict(self.languages.most_common()),
            languages_rows=self.languages.total(),
            requested={asked: dict(found.most_common()) for asked, found in self.requested.items() if found},
            turns=dict(sorted(self.turns.items())),
            system=self.system,
            systems=len(self._systems),
            lengths=spreads({name: self.lengths(key) for name, key in names.items()}),
            desirable=self.desirable if self.kind == "labels" else None,
            length_bias=None if is_single else length_bias(self.lengths("chosen"), self.lengths("rejected")),
            margins=margins(self.score_margins()),
            duplicates=duplicates,
            overlap=overlap if heldout else None,
            ifeval=ifeval.result() if ifeval is not None else None,
            instructions=instructions.result() if instructions is not None else None,
        )

    def _keep(self, example: Example) -> None:
        """Every row is as likely as any other to be in the sample (reservoir sampling)."""
        if len(self._sample) < self._wanted:
            self._sample.append((self.rows, example))
        elif self._wanted and (place := self._draw.randrange(self.rows)) < self._wanted:
            self._sample[place] = (self.rows, example)

    def _duplicates(self) -> tuple[Duplicates, Overlap]:
        import numpy as np

        with Ticker("comparing the rows", "steps", 4) as ticker:  # of about a second each, for a million rows
            rows = earlier_equal(np.array(self._rows, np.int64)) >= 0
            ticker.update(1)
            near = self._near_rows.earlier() >= 0
            near &= ~rows[np.array(self._thorough_rows, np.int64)]
            ticker.update(2)
            prompts, earlier = np.split(earlier_equal(np.array(self._prompts, np.int64)), [self.rows])
            shared = (earlier >= 0) & (earlier < self.rows)
            ticker.update(3)
            split = len(self._thorough_rows)  # prompts of training rows come first
            alike = self._near_prompts.earlier()[split:]
            ticker.update(4)
        close = (alike >= 0) & (alike < split) & ~shared
        return (
            Duplicates(self.rows, int(rows.sum()), len(near), int(near.sum()), int(np.count_nonzero(prompts >= 0))),
            Overlap(self.heldout_rows, int(shared.sum()), split, int(close.sum())),
        )


def ends(whole: str) -> str:
    """Beginning and end of a long text: what differs between rows of one template stands at one of them."""
    return whole if len(whole) <= 2 * END else f"{whole[:END]} {whole[-END:]}"


def collect(collector: Collector, rows: Iterable[Example], heldout: Iterable[Example] = ()) -> Collector:
    """Feed a collector."""
    for example in rows:
        collector.add(example)
    for example in heldout:
        collector.add_heldout(example)
    return collector
