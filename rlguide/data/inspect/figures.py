"""The figures of a dataset: plain records, each with the number of rows that it was computed on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rlguide.data.curate.filters import balanced
from rlguide.data.example import ExampleKind
from rlguide.statistics import Proportion, proportion

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Quantiles:
    """The spread of some numbers."""

    rows: int
    min: float
    p5: float
    p25: float
    median: float
    p75: float
    p95: float
    p99: float
    max: float
    mean: float


def quantiles(values: NDArray[Any]) -> Quantiles | None:
    """The spread of these numbers (linear between neighbours), None if there are none."""
    import numpy as np

    if not len(values):
        return None
    points = (*np.quantile(values, (0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1)), np.mean(values))
    return Quantiles(len(values), *map(float, points))


def spreads(columns: dict[str, NDArray[Any]]) -> dict[str, Quantiles]:
    """The spread of each column that has rows."""
    found = {name: quantiles(column) for name, column in columns.items()}
    return {name: spread for name, spread in found.items() if spread is not None}


@dataclass(frozen=True)
class LengthBias:
    """How often the chosen response is the longer one, in characters.

    `longer` is of the pairs whose responses are not `equal` in length, None if there are none. `mean_ratio` is the mean
    length of the chosen responses over that of the rejected ones, `median_ratio` the median of the ratio within a pair.
    `balanced` is the number of pairs that --balance-length would leave.
    """

    longer: Proportion | None
    shorter: int
    equal: int
    mean_ratio: float
    median_ratio: float
    balanced: int


@dataclass(frozen=True)
class Margins:
    """Score of chosen minus score of rejected, over the pairs that have both."""

    spread: Quantiles
    smallest_positive: float | None
    ties: int
    negative: int


@dataclass(frozen=True)
class Duplicates:
    """Rows that duplicate an earlier one: `exact` of all `rows`, `near` (without the exact ones) of `near_rows`."""

    rows: int
    exact: int
    near_rows: int
    near: int
    prompts: int  # rows whose prompt an earlier row has


@dataclass(frozen=True)
class Overlap:
    """Held-out rows whose prompt is in the training rows, too: exactly, or nearly the same as one of `near_rows`."""

    rows: int
    exact: int
    near_rows: int
    near: int


@dataclass(frozen=True)
class Tokens:
    """Tokens as the engine counts them with its own template, on `rows` rows, and what `cutoff_len` would cut."""

    model: str
    template: str
    rows: int
    lengths: dict[str, Quantiles]
    cutoff_len: int
    cut: Proportion
    response_cut: int  # of the rows that are cut, those that lose a part of a response


@dataclass(frozen=True)
class BenchmarkOverlap:
    """Rows of `rows` that overlap with a benchmark, and with how many of its prompts.

    They share a run of 13 words, of 26 characters in Chinese, or a whole short prompt.
    """

    rows: int
    hits: int
    prompts: int
    examples: list[str]


@dataclass(frozen=True)
class BadRows:
    """Rows that `rlguide register` would refuse for one reason, and where the first of them are."""

    reason: str
    rows: int
    places: list[str]


@dataclass(frozen=True)
class Figures:
    """All that is known about one dataset. What is None was not computed; `notes` say why.

    heldout: the dataset held out from this one; heldout_of: the dataset that this one is held out from. view_of: the
    pairs that these rows for KTO were made from; outdated: those have changed since. refused: bad rows by reason when
    it was imported, left_out: good rows that were filtered. bad: bad rows that are in it now, looked for where rlguide
    did not write the file, among `rows_read`. apply: how to do what the verdicts advise, "" if there is nothing to do.
    languages: those of the responses; requested: how many of these rows are in that language because a prompt in
    another one ("en" or "zh") asks for it.
    """

    dataset: str
    kind: ExampleKind
    rows: int
    heldout: str | None
    heldout_rows: int
    languages: dict[str, int]
    languages_rows: int
    requested: dict[str, dict[str, int]]
    turns: dict[int, int]
    system: int
    systems: int  # different system prompts, counted up to 10,000
    lengths: dict[str, Quantiles]
    desirable: int | None
    length_bias: LengthBias | None
    margins: Margins | None
    duplicates: Duplicates
    overlap: Overlap | None
    tokens: Tokens | None = None
    ifeval: BenchmarkOverlap | None = None
    instructions: BenchmarkOverlap | None = None  # the bundled prompts with instructions
    source: dict[str, Any] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    heldout_of: str | None = None
    view_of: str | None = None
    outdated: bool = False
    bad: list[BadRows] = field(default_factory=list)
    rows_read: int | None = None
    notes: list[str] = field(default_factory=list)
    verdicts: list[str] = field(default_factory=list)
    apply: str = ""


def length_bias(chosen: NDArray[np.int64], rejected: NDArray[np.int64]) -> LengthBias | None:
    """The bias of these lengths, None of no pairs."""
    import numpy as np

    if not len(chosen):
        return None
    longer, equal = int(np.count_nonzero(chosen > rejected)), int(np.count_nonzero(chosen == rejected))
    unequal = len(chosen) - equal
    return LengthBias(
        proportion(longer, unequal) if unequal else None,
        unequal - longer,
        equal,
        float(chosen.mean() / max(float(rejected.mean()), 1e-9)),
        float(np.median(chosen / np.maximum(rejected, 1))),
        int(balanced(np.stack((chosen, rejected), axis=1), seed=0).sum()),
    )


def margins(values: NDArray[np.float64]) -> Margins | None:
    """The spread of score margins, None if no pair has scores."""
    import numpy as np

    spread = quantiles(values)
    if spread is None:
        return None
    positive = values[values > 0]
    smallest = float(positive.min()) if len(positive) else None
    return Margins(spread, smallest, int(np.count_nonzero(values == 0)), int(np.count_nonzero(values < 0)))
