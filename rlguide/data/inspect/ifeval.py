"""Whether prompts of the benchmark IFEval (Zhou et al. 2023, arXiv 2311.07911) are among the training prompts.

The 541 prompts are not shipped. They come from a file, from the hub on request, or from the hub's cache if
`google/IFEval` was ever loaded on this machine; else nothing is checked, and the figures say so.
"""

from __future__ import annotations

import json
from pathlib import Path

from rlguide import hub_settings
from rlguide.data.curate.minhash import normalise
from rlguide.data.inspect.figures import IfevalOverlap
from rlguide.errors import DataError

# The length of a run of words that counts as the same text; from GPT-3's study of contamination (Brown et al. 2020).
RUN = 13
EXAMPLES = 5
HUB_ID = "google/IFEval"
FROM_HUB = Path("hub")


class Ifeval:
    """Compares prompts with those of IFEval: a run of 13 words, or the whole prompt where one is shorter."""

    def __init__(self, prompts: list[str]) -> None:
        self._numbers: dict[tuple[str, ...], int] = {}  # of IFEval's prompts, by whole prompt and by run
        self._rare: set[str] = set()
        self._rows = self._hits = 0
        self._found: set[int] = set()
        self._examples: list[str] = []
        for number, prompt in enumerate(prompts):
            words = _words(prompt)
            self._numbers[words] = number
            for run in _runs(words):
                self._numbers[run] = number
                self._rare.add(max(run, key=len))  # long words are rare: most prompts have none of these

    def look_at(self, prompt: str) -> None:
        """Count a training prompt."""
        self._rows += 1
        words = _words(prompt)
        texts = [words] if self._rare.isdisjoint(words) else [words, *_runs(words)]
        found = next((self._numbers[text] for text in texts if text in self._numbers), None)
        if found is None:
            return
        self._hits += 1
        self._found.add(found)
        if len(self._examples) < EXAMPLES:
            self._examples.append(" ".join(prompt.split())[:200])

    def result(self) -> IfevalOverlap:
        """What was found so far."""
        return IfevalOverlap(self._rows, self._hits, len(self._found), self._examples)


def _words(text: str) -> tuple[str, ...]:
    return tuple(normalise(text).split())


def _runs(words: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [words[start : start + RUN] for start in range(len(words) - RUN + 1)]


def load_ifeval(file: Path | None) -> Ifeval | None:
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
        return Ifeval(prompts)
    for cached in sorted(hub_settings.cache().glob("datasets--google--IFEval/snapshots/*/*.jsonl")):
        if prompts := _prompts(cached):
            return Ifeval(prompts)
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
