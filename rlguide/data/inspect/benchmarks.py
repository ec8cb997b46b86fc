"""Whether prompts that models are evaluated on are among the training prompts.

They are those of the benchmark IFEval (Zhou et al. 2023, arXiv 2311.07911) and the bundled prompts with instructions.
IFEval's 541 are not shipped. They come from a file, from the hub on request, or from the hub's cache if `google/IFEval`
was ever loaded on this machine; else nothing is checked, and the figures say so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rlguide import hub_settings
from rlguide.catalog.benchmarks import BUNDLED_INSTRUCTIONS
from rlguide.data.curate.minhash import normalise
from rlguide.data.inspect.figures import BenchmarkOverlap
from rlguide.errors import DataError

# The length of a run of words that counts as the same text; from GPT-3's study of contamination (Brown et al. 2020).
RUN = 13
HAN_RUN = 2 * RUN  # characters: a Chinese word has about two
SEED = RUN + 1  # characters: of every RUN places in a row one begins such a piece of each run of HAN_RUN
EXAMPLES = 5
HUB_ID = "google/IFEval"
FROM_HUB = Path("hub")
_HAN = re.compile(r"[\u3400-\u9fff]")


class Comparable(NamedTuple):
    """A prompt as it is compared: its words and, where it is in Chinese, its characters without what divides them."""

    words: tuple[str, ...]
    characters: str

    @staticmethod
    def of(prompt: str) -> Comparable:
        """The prompt without case, punctuation and white space."""
        words = tuple(normalise(prompt).split())
        return Comparable(words, "" if prompt.isascii() or not _HAN.search(prompt) else "".join(words))

    def runs(self) -> Iterator[tuple[str, ...]]:
        """Its runs of words."""
        return (self.words[start : start + RUN] for start in range(len(self.words) - RUN + 1))

    def seeds(self) -> Iterator[str]:
        """Pieces of its characters, one of which is in each run of them."""
        return (self.characters[start : start + SEED] for start in range(0, len(self.characters) - SEED + 1, RUN))

    def han_runs(self) -> Iterator[str]:
        """Its runs of characters."""
        return (self.characters[start : start + HAN_RUN] for start in range(len(self.characters) - HAN_RUN + 1))


class BenchmarkPrompts:
    """Compares prompts with those of a benchmark: a run of words or characters, or the whole of a shorter prompt."""

    def __init__(self, prompts: list[str]) -> None:
        self._numbers: dict[tuple[str, ...] | str, int] = {}  # of its prompts, by whole prompt and by run
        self._rare: set[str] = set()
        self._seeds: set[str] = set()
        self._rows = self._hits = 0
        self._found: set[int] = set()
        self._examples: list[str] = []
        for number, prompt in enumerate(prompts):
            text = Comparable.of(prompt)
            self._numbers[text.words] = number
            for run in text.runs():
                self._numbers[run] = number
                self._rare.add(max(run, key=len))  # long words are rare: most prompts have none of these
            for characters in text.han_runs():
                self._numbers[characters] = number
                self._seeds.update(characters[start : start + SEED] for start in range(HAN_RUN - SEED + 1))

    def look_at(self, prompt: str, text: Comparable | None = None) -> None:
        """Count a training prompt; `text` is the same, as it is compared."""
        self._rows += 1
        found = self._find(text or Comparable.of(prompt))
        if found is None:
            return
        self._hits += 1
        self._found.add(found)
        if len(self._examples) < EXAMPLES:
            self._examples.append(" ".join(prompt.split())[:200])

    def _find(self, text: Comparable) -> int | None:
        """The number of a prompt of the benchmark that this one overlaps with."""
        known = self._numbers
        if text.words in known:
            return known[text.words]
        for run in () if self._rare.isdisjoint(text.words) else text.runs():
            if run in known:
                return known[run]
        if self._seeds.isdisjoint(text.seeds()):
            return None
        return next((known[characters] for characters in text.han_runs() if characters in known), None)

    def result(self) -> BenchmarkOverlap:
        """What was found so far."""
        return BenchmarkOverlap(self._rows, self._hits, len(self._found), self._examples)


class Benchmarks(NamedTuple):
    """What training prompts are compared with; None where there are no prompts to compare."""

    ifeval: BenchmarkPrompts | None = None
    instructions: BenchmarkPrompts | None = None

    def look_at(self, prompt: str) -> None:
        """Count a training prompt."""
        found = [benchmark for benchmark in self if benchmark is not None]
        text = Comparable.of(prompt) if found else None
        for benchmark in found:
            benchmark.look_at(prompt, text)


def load_benchmarks(ifeval: Path | None) -> Benchmarks:
    """IFEval's prompts as `load_ifeval` finds them, and the bundled ones. Raises like that."""
    return Benchmarks(load_ifeval(ifeval), BenchmarkPrompts(_prompts(BUNDLED_INSTRUCTIONS)))


def load_ifeval(file: Path | None) -> BenchmarkPrompts | None:
    """IFEval's prompts from `file` (JSON lines with `prompt`; "hub": fetched), else from the hub's cache; None if they
    are not there.

    Raises:
        DataError: the file that was named cannot be read or holds no prompts. HubError: they cannot be fetched.
    """
    if file == FROM_HUB and not file.exists():
        file = _fetch()
    if file is not None:
        prompts = _prompts(file)
        if not prompts:
            raise DataError(
                f"{file} holds no IFEval prompts",
                'it must be JSON lines, each {"prompt": ...}, as google/IFEval has it',
            )
        return BenchmarkPrompts(prompts)
    for cached in sorted(hub_settings.cache().glob("datasets--google--IFEval/snapshots/*/*.jsonl")):
        if prompts := _prompts(cached):
            return BenchmarkPrompts(prompts)
    return None


def _fetch() -> Path:
    from rlguide.data.hubs import client as hub

    snapshot = hub.find_snapshot(HUB_ID, "main")
    details = hub.file_details(snapshot, hub.match_files(snapshot, ("*.jsonl",)))
    return hub.fetch_file(snapshot, details[0])[0]


def _prompts(file: Path) -> list[str]:
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or error}", "check the path") from error
    except ValueError as error:
        raise DataError(f"{file} is not JSON lines: {error}", "name the file of google/IFEval") from error
    return [row["prompt"] for row in rows if isinstance(row, dict) and isinstance(row.get("prompt"), str)]
