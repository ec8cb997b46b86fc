"""Inspect one dataset: read it, compute, draw, write the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rlguide import console
from rlguide.preferences.inspect.collect import THOROUGH, Collector, collect
from rlguide.preferences.inspect.figures import Figures
from rlguide.preferences.inspect.ifeval import load_ifeval
from rlguide.preferences.columns import Example
from rlguide.preferences.inspect.rows import read_examples
from rlguide.preferences.inspect.tokens import Tokenizer, count_tokens, summarise
from rlguide.preferences.inspect.verdicts import verdicts
from rlguide.preferences.labels import check_labelled
from rlguide.preferences.manifest import read_manifest
from rlguide.preferences.progress import Ticker
from rlguide.preferences.registry import RegisteredDataset, check_registered, dataset_kind
from rlguide.workspace import Workspace, atomic_write

COUNTED = 5_000  # rows whose tokens are counted: a share is known to within 1.4 points
ON_PAGE = 20


@dataclass(frozen=True)
class InspectOptions:
    """What to compute and what to write.

    `html` and `plots` are None for no page and no pictures; `tokenizer` is None where no tokens are to be counted;
    `thorough` is the number of rows that the slow figures are computed on, None for all.
    """

    pairs: int = 3
    seed: int = 42
    cutoff_len: int = 0  # tokens; needed with a tokenizer only
    tokenizer: Tokenizer | None = None
    html: Path | None = None
    plots: Path | None = None
    ifeval: Path | None = None
    thorough: int | None = THOROUGH


@dataclass(frozen=True)
class Inspected:
    """The figures, rows drawn at random with their numbers, and the files that were written."""

    figures: Figures
    examples: list[tuple[int, Example]]
    written: list[Path]


def inspect_dataset(workspace: Workspace, name: str, options: InspectOptions) -> Inspected:
    """Read a registered dataset once and tell what is in it.

    Raises:
        UsageError, DataError: it is not there or no preference data, or the IFEval file is none.
        EngineError: the engine cannot count tokens.
        RlguideError: the page or a picture cannot be written.
    """
    dataset = _check(workspace, name)
    sample = max(options.pairs, ON_PAGE if options.html else 0, COUNTED if options.tokenizer else 0)
    collector = Collector(dataset.rows, sample, options.seed, load_ifeval(options.ifeval), options.thorough)
    heldout = dataset.heldout
    with Ticker(f"reading {name}", "rows", dataset.rows) as ticker:
        rows = _ticked(read_examples(workspace, name), ticker)
        collect(collector, rows, read_examples(workspace, heldout) if heldout else ())
    if collector.rows + collector.heldout_rows > 100_000:
        console.say("comparing rows")
    figures = _with_manifest(workspace, collector.figures(name, heldout), dataset)
    drawn = collector.sample
    if options.tokenizer is not None and drawn:
        counted = [example for _, example in drawn]
        counts = count_tokens(options.tokenizer, counted)
        figures = replace(figures, tokens=summarise(options.tokenizer, counts, options.cutoff_len))
    figures = replace(figures, verdicts=verdicts(figures))
    return Inspected(figures, drawn[: options.pairs], _write(figures, collector, drawn, options))


def default_page(workspace: Workspace, name: str) -> Path:
    """Where the page goes if no file is named."""
    return workspace.data / f"{name}.inspect.html"


def as_json(inspected: Inspected) -> dict[str, Any]:
    """Figures, rows and files for `--json`."""
    return {
        **asdict(inspected.figures),
        "examples": [{"row": position, **_plain(example)} for position, example in inspected.examples],
        "written": [str(path) for path in inspected.written],
    }


def _plain(example: Example) -> dict[str, Any]:
    keys = ("system", "chosen", "rejected", "scores", "answer", "desirable")
    values = {key: getattr(example, key) for key in keys if hasattr(example, key)}
    return {"messages": [turn.value for turn in example.messages], **values}


def _check(workspace: Workspace, name: str) -> RegisteredDataset:
    check: Callable[[Workspace, list[str]], list[RegisteredDataset]]
    check = check_labelled if dataset_kind(workspace, name) == "labels" else check_registered
    return check(workspace, [name])[0]


def _ticked(rows: Iterator[Example], ticker: Ticker) -> Iterator[Example]:
    for position, row in enumerate(rows, start=1):
        ticker.update(position)
        yield row


def _with_manifest(workspace: Workspace, figures: Figures, dataset: RegisteredDataset) -> Figures:
    notes = []
    if dataset.rows is not None and dataset.rows > figures.rows:
        left_out = dataset.rows - figures.rows
        notes.append(f"{left_out:,} rows of the file are left out here: they are no good rows of this kind")
    manifest = read_manifest(workspace, figures.dataset)
    if manifest is None:
        return replace(figures, notes=notes)
    return replace(figures, source=manifest.source, refused=manifest.refused, notes=notes)


def _write(
    figures: Figures, collector: Collector, drawn: list[tuple[int, Example]], options: InspectOptions
) -> list[Path]:
    if options.html is None and options.plots is None:
        return []
    from rlguide.preferences.inspect.page import page
    from rlguide.preferences.inspect.plots import draw

    written = []
    if options.plots is not None:
        for name, data in draw(collector).items():
            path = options.plots / f"{figures.dataset}.{name}.png"
            with atomic_write(path, "wb") as file:
                file.write(data)
            written.append(path)
    if options.html is not None:
        text = page(figures, draw(collector, transparent=True), drawn[:ON_PAGE])
        with atomic_write(options.html, "wb") as file:
            file.write(text.encode("utf-8", "replace"))
        written.append(options.html)
    return written
