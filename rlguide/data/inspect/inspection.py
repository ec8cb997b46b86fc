"""Inspect one dataset: read it, compute, draw, write the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rlguide import console
from rlguide.data.example import Example
from rlguide.data.ingest.views import outdated, viewed
from rlguide.data.inspect.apply import doable, how_to_apply, how_to_view
from rlguide.data.inspect.collect import THOROUGH, Collector, collect
from rlguide.data.inspect.figures import Figures
from rlguide.data.inspect.ifeval import load_ifeval
from rlguide.data.inspect.rows import Checked
from rlguide.data.inspect.tokens import Tokenizer, count_tokens, summarise
from rlguide.data.inspect.verdicts import verdicts
from rlguide.data.store.dataset_info import data_path, entry_kind, find_entry, read_registry
from rlguide.data.store.manifest import DataManifest, read_manifest
from rlguide.data.store.registered import RegisteredDataset, check_labelled, check_registered
from rlguide.errors import UsageError
from rlguide.progress import Ticker
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
    heldout = _check(workspace, dataset.heldout) if dataset.heldout else None
    sample = max(options.pairs, ON_PAGE if options.html else 0, COUNTED if options.tokenizer else 0)
    collector = Collector(dataset.rows, sample, options.seed, load_ifeval(options.ifeval), options.thorough)
    rows, other = Checked(workspace, dataset), Checked(workspace, heldout) if heldout is not None else None
    with Ticker(f"reading {name}", "rows", dataset.rows) as ticker:
        collect(collector, _ticked(rows, ticker), other or ())
    if collector.rows + collector.heldout_rows > 100_000:
        console.say("comparing rows")
    figures = _with_origin(workspace, collector.figures(name, dataset.heldout), rows, other)
    drawn = collector.sample
    if options.tokenizer is not None and drawn:
        counted = [example for _, example in drawn]
        counts = count_tokens(options.tokenizer, counted)
        figures = replace(figures, tokens=summarise(options.tokenizer, counts, options.cutoff_len))
    figures = _advised(workspace, figures, dataset)
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
    values = {key: _writable(value) if isinstance(value, str) else value for key, value in values.items()}
    return {"messages": [_writable(turn.value) for turn in example.messages], **values}


def _writable(text: str) -> str:
    """The text with what no file can hold (half a surrogate pair, from JSON that rlguide did not check) replaced."""
    return text.encode("utf-8", "replace").decode()


def _check(workspace: Workspace, name: str) -> RegisteredDataset:
    entries = read_registry(workspace)
    entry = find_entry(workspace, entries, name)
    if entry_kind(entry) == "other" and (shown := viewed(workspace, name)):
        raise UsageError(
            f"dataset {name} is a view of {shown}: the same rows as another stage sees them",
            f"inspect that: rlguide inspect {shown}",
        )
    check: Callable[[Workspace, list[str]], list[RegisteredDataset]]
    check = check_labelled if entry_kind(entry) == "labels" else check_registered
    return check(workspace, [name])[0]


def _heldout_from(workspace: Workspace, name: str) -> str | None:
    """The dataset that `name` is held out from."""
    base, entries = name.removesuffix("_test"), read_registry(workspace)
    there = base != name and base in entries and entry_kind(entries[base]) == entry_kind(entries[name])
    return base if there else None


def _ticked(rows: Iterable[Example], ticker: Ticker) -> Iterator[Example]:
    for position, row in enumerate(rows, start=1):
        ticker.update(position)
        yield row


def _manifest(workspace: Workspace, name: str) -> DataManifest | None:
    """What is known of how a dataset, or what it is held out from, was taken in or made."""
    manifest = read_manifest(workspace, name) or read_manifest(workspace, name.removesuffix("_test"))
    return manifest if manifest is not None and any(file.dataset == name for file in manifest.files) else None


def _with_origin(workspace: Workspace, figures: Figures, rows: Checked, heldout: Checked | None) -> Figures:
    """The figures with what is known of where the rows come from, and which of them are bad."""
    name, notes = figures.dataset, []
    if rows.left_out:
        notes.append(f"{rows.left_out:,} of the {rows.read:,} rows are bad and left out of these figures")
    if heldout is not None and heldout.bad:
        count = sum(bad.rows for bad in heldout.bad)
        notes.append(f"{count:,} of the rows held out are bad, too: rlguide inspect {figures.heldout}")
    figures = replace(figures, heldout_of=_heldout_from(workspace, name), bad=rows.bad, rows_read=rows.read or None)
    manifest = _manifest(workspace, name)
    if manifest is None:
        return replace(figures, notes=notes)
    view_of = manifest.source.get("derived_from")
    if view_of:
        shown = f"{view_of}_test" if figures.heldout_of else str(view_of)
        notes.append(f"made of {shown}: rlguide inspect {shown} tells what may be left out there")
        figures = replace(figures, view_of=str(view_of), outdated=outdated(workspace, name) is not None)
    figures = replace(figures, source=manifest.source, notes=notes)
    if manifest.name != name:
        return figures
    return replace(figures, refused=manifest.refused, left_out=manifest.left_out)


def _advised(workspace: Workspace, figures: Figures, dataset: RegisteredDataset) -> Figures:
    """The figures with the verdicts, and the command that does what they advise."""
    root, entries = workspace.root, read_registry(workspace)
    name = figures.view_of or dataset.name
    manifest = _manifest(workspace, name)
    found = doable(verdicts(figures), manifest)
    if not figures.view_of:
        line = how_to_apply(found, manifest, name, str(dataset.path), root)
    elif not figures.outdated:
        line = how_to_apply(found, manifest, name, str(data_path(workspace, name, entries[name])), root)
    else:
        line = how_to_view(name, "kto", root) if name in entries else ""
    return replace(figures, verdicts=[verdict.sentence for verdict in found], apply=line)


def _write(
    figures: Figures, collector: Collector, drawn: list[tuple[int, Example]], options: InspectOptions
) -> list[Path]:
    if options.html is None and options.plots is None:
        return []
    from rlguide.data.inspect.page import page
    from rlguide.data.inspect.plots import draw

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
