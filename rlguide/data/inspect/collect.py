"""One stream over the rows: counts, lengths, scores, repeats and a sample, in memory that a million rows fit in.

Per row 12 bytes of lengths, 8 of scores, 16 of hashes; near repeats take 300 more for the rows they are looked for
in.
"""

from __future__ import annotations

import random
from array import array
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rlguide.data.curate.duplicates import DuplicateFinder as RowRepeats
from rlguide.data.curate.filters import text
from rlguide.data.curate.language import language
from rlguide.data.curate.minhash import Fingerprints, earlier_equal
from rlguide.data.example import Example, Labelled, prompt_key
from rlguide.data.inspect.figures import DuplicateFigures, Figures, Overlap, Quantiles, length_bias, margins, quantiles
from rlguide.data.inspect.ifeval import Ifeval

if TYPE_CHECKING:
    from numpy.typing import NDArray


# What takes longest (languages, near repeats, IFEval) is done on so many rows, drawn at random, if there are more:
# about 20 s. The rest is done on all.
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
        ifeval: Ifeval | None = None,
        thorough: int | None = THOROUGH,
    ) -> None:
        self.rows = self.heldout_rows = self.system = self.desirable = self.labelled = 0
        self.languages: Counter[str] = Counter()
        self.turns: Counter[int] = Counter()
        self._systems: set[int] = set()
        self._lengths = {key: array("i") for key in ("prompt", "chosen", "rejected")}
        self._margins = array("d")
        self._rows, self._prompts = array("q"), array("q")  # hashes: of the texts as they stand; of what is asked
        self._near_rows, self._near_prompts = RowRepeats(), Fingerprints()
        self._thorough_rows = array("q")  # the rows that are in `_near_rows`
        self._prompts_before_heldout = 0
        self._ifeval = ifeval
        self._choose = random.Random(SEED_OF_CHOICE)
        self._part = min(1.0, thorough / expected) if thorough is not None and expected else 1.0
        self._wanted = sample
        self._draw = random.Random(seed)
        self._sample: list[tuple[int, Example]] = []

    def add(self, example: Example) -> None:
        """Add a row for training."""
        turns = tuple(turn.value for turn in example.messages)
        prompt = "\n".join(turns)
        answers = (example.answer,) if isinstance(example, Labelled) else (example.chosen, example.rejected)
        self._count(example, prompt, answers)
        self._keep(example)
        label = example.desirable if isinstance(example, Labelled) else None
        self._rows.append(hash((example.system, turns, answers, label)))
        self._prompts.append(hash(prompt_key(example.messages)))
        self.rows += 1
        if self._part >= 1 or self._choose.random() < self._part:
            self.languages[language(text(example))] += 1  # as --lang reads a row
            self._thorough_rows.append(self.rows - 1)
            self._near_rows.add(example)
            self._near_prompts.add((ends(example.system), ends(prompt)))
            if self._ifeval is not None:
                self._ifeval.look_at(prompt)

    def add_heldout(self, example: Example) -> None:
        """Add a row that is held out; all rows for training must have come before."""
        if not self.heldout_rows:
            self._prompts_before_heldout = len(self._near_prompts)
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
        """Characters of prompt, chosen or rejected (a labelled answer counts as chosen), row by row."""
        import numpy as np

        return np.frombuffer(self._lengths[key], np.int32) if self._lengths[key] else np.empty(0, np.int32)

    def score_margins(self) -> NDArray[Any]:
        """Score of chosen minus rejected, of the pairs that have scores."""
        import numpy as np

        return np.frombuffer(self._margins, np.float64) if self._margins else np.empty(0)

    def figures(self, dataset: str, heldout: str | None) -> Figures:
        """What the rows come to."""
        labelled = self.labelled > 0
        names = {"prompt": "prompt", "chosen": "answer"} if labelled else {key: key for key in self._lengths}
        spreads = {name: quantiles(self.lengths(key)) for key, name in names.items()}
        lengths: dict[str, Quantiles] = {name: spread for name, spread in spreads.items() if spread is not None}
        repeats, overlap = self._repeats()
        return Figures(
            dataset=dataset,
            kind="labels" if labelled else "pairs",
            rows=self.rows,
            heldout=heldout,
            heldout_rows=self.heldout_rows,
            languages=dict(self.languages.most_common()),
            languages_rows=self.languages.total(),
            turns=dict(sorted(self.turns.items())),
            system=self.system,
            systems=len(self._systems),
            lengths=lengths,
            desirable=self.desirable if labelled else None,
            length_bias=None if labelled else length_bias(self.lengths("chosen"), self.lengths("rejected")),
            margins=margins(self.score_margins()),
            repeats=repeats,
            overlap=overlap if heldout else None,
            ifeval=self._ifeval.result() if self._ifeval is not None else None,
        )

    def _count(self, example: Example, prompt: str, answers: tuple[str, ...]) -> None:
        self.turns[(len(example.messages) + 1) // 2] += 1
        if example.system:
            self.system += 1
            if len(self._systems) < SYSTEMS:
                self._systems.add(hash(example.system))
        for key, part in zip(self._lengths, (prompt, *answers), strict=False):
            self._lengths[key].append(len(part))
        if isinstance(example, Labelled):
            self.labelled += 1
            self.desirable += example.desirable
            return
        if example.scores is not None:
            self._margins.append(example.scores[0] - example.scores[1])

    def _keep(self, example: Example) -> None:
        """Every row is as likely as any other to be in the sample (reservoir sampling)."""
        if len(self._sample) < self._wanted:
            self._sample.append((self.rows + 1, example))
        elif self._wanted and (place := self._draw.randrange(self.rows + 1)) < self._wanted:
            self._sample[place] = (self.rows + 1, example)

    def _repeats(self) -> tuple[DuplicateFigures, Overlap]:
        import numpy as np

        rows = earlier_equal(np.array(self._rows, np.int64)) >= 0
        prompts = earlier_equal(np.array(self._prompts, np.int64))
        near = self._near_rows.earlier() >= 0
        exact_near = rows[np.array(self._thorough_rows, np.int64)] if len(near) else near
        shared = int(np.count_nonzero((prompts[self.rows :] >= 0) & (prompts[self.rows :] < self.rows)))
        split = self._prompts_before_heldout if self.heldout_rows else len(self._near_prompts)
        alike = self._near_prompts.earlier()[split:]
        close = (alike >= 0) & (alike < split) & ~((prompts[self.rows :] >= 0) & (prompts[self.rows :] < self.rows))
        return (
            DuplicateFigures(
                self.rows,
                int(rows.sum()),
                len(near),
                int(np.count_nonzero(near & ~exact_near)),
                int(np.count_nonzero(prompts[: self.rows] >= 0)),
            ),
            Overlap(self.heldout_rows, shared, split, int(np.count_nonzero(close))),
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
