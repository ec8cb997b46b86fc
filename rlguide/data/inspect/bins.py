"""Lengths, their differences and score margins counted in bins, for the pictures and for the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rlguide.data.inspect.collect import Collector

_BINS = 60


@dataclass(frozen=True)
class Binned:
    """Counts of values: `edges` has one more entry than `counts`."""

    label: str
    edges: NDArray[Any]
    counts: NDArray[Any]
    median: float


@dataclass(frozen=True)
class Spread:
    """A distribution around 0. `label`: what its axis is."""

    title: str
    label: str
    binned: Binned

    @property
    def reach(self) -> float:
        """How far the bins reach to either side of 0; what lies beyond stands in the outermost ones."""
        return float(self.binned.edges[-1])


def lengths(collector: Collector) -> list[Binned]:
    """Lengths in characters of prompts and responses, in bins of equal ratio from 1 to a power of ten."""
    import numpy as np

    found = {name: collector.lengths(name) for name in ("prompt", "chosen", "rejected")}
    if not len(found["chosen"]):
        return []
    longest = max(float(values.max()) for values in found.values() if len(values))
    decades = int(np.ceil(np.log10(max(longest, 10) * (1 - 1e-12))))
    edges = np.geomspace(1, 10.0**decades, _BINS + 1)
    if not len(found["rejected"]):
        found = {"prompt": found["prompt"], "response": found["chosen"]}
    return [
        Binned(name, edges, np.histogram(np.clip(values, 1, edges[-1]), bins=edges)[0], float(np.median(values)))
        for name, values in found.items()
        if len(values)
    ]


def spreads(collector: Collector) -> dict[str, Spread]:
    """How much longer, and how much better scored, chosen responses are than rejected ones; by name of the picture."""
    chosen, rejected, margins = collector.lengths("chosen"), collector.lengths("rejected"), collector.score_margins()
    found = {}
    if len(rejected):
        title, label = "Length difference in a pair: chosen minus rejected", "characters (shorter | longer)"
        found["length_difference"] = Spread(title, label, _around_0(chosen - rejected))
    if len(margins):
        title, label = "Score margin: chosen minus rejected", "margin (rejected higher | chosen higher)"
        found["margins"] = Spread(title, label, _around_0(margins))
    return found


def _around_0(values: NDArray[Any]) -> Binned:
    """Bins of equal width, one of them around 0, that hold all but the outermost 0.5 % at either end."""
    import numpy as np

    low, high = (float(point) for point in np.quantile(values, (0.005, 0.995)))
    reach = max(abs(low), abs(high), 1e-9)
    counts, edges = np.histogram(np.clip(values, -reach, reach), bins=np.linspace(-reach, reach, _BINS + 2))
    return Binned("pairs", edges, counts, float(np.median(values)))
