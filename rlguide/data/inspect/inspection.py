"""Inspect one dataset: read it, compute, draw, write the page."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rlguide import console
from rlguide.data.example import Example
from rlguide.data.ingest.views import viewed
from rlguide.data.inspect.apply import doable, how_to_apply, how_to_view
from rlguide.data.inspect.benchmarks import load_benchmarks
from rlguide.data.inspect.collect import THOROUGH, Collector, collect
from rlguide.data.inspect.examples import plain
from rlguide.data.inspect.figures import Figures
from rlguide.data.inspect.plots import draw
from rlguide.data.inspect.rows import Checked
from rlguide.data.inspect.tokens import Tokenizer, count_tokens, summarise
from rlguide.data.inspect.verdicts import verdicts
from rlguide.data.names import heldout_name, is_heldout, parent_name
from rlguide.data.store.dataset_info import data_path, entry_kind, find_entry, read_registry
from rlguide.data.store.manifest import DataManifest, read_manifest
from rlguide.data.store.registered import RegisteredDataset, check_registered
from rlguide.data.store.stale_views import outdated
from rlguide.errors import UsageError
from rlguide.plotting import can_plot, no_plots
from rlguide.progress import Ticker
from rlguide.workspace import Workspace, atomic_write

COUNTED = 5_000  # rows whose tokens are counted: a proportion is known to within 1.4 points
ON_PAGE = 20
MANY = 100_000  # rows from which on what follows the reading takes seconds, and is announced


@dataclass(frozen=True)
class InspectOptions:
    """What to compute and what to write.

    `html` and `plots` are None for no page and no plots; `tokenizer` is None where no tokens are to be counted;
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
        UsageError, DataError: it is not there or not preference data, or the IFEval file is not one.
        EngineError: the engine cannot count tokens.
        RlguideError: the page or a plot cannot be written.
    """
    dataset = _check(workspace, name)
    heldout = Checked(workspace, _check(workspace, dataset.heldout)) if dataset.heldout else None
    sample = max(options.pairs, ON_PAGE if options.html else 0, COUNTED if options.tokenizer else 0)
    collector = Collector(dataset.rows, sample, options.seed, load_benchmarks(options.ifeval), options.thorough)
    rows = Checked(workspace, dataset)
    with Ticker(f"reading {name}", "rows", dataset.rows) as ticker:
        collect(collector, _ticked(rows, ticker), heldout or ())
    if collector.rows + collector.heldout_rows > MANY:
        console.say("comparing rows")
    figures = replace(collector.figures(name, dataset.heldout), notes=_notes(rows, heldout, dataset.heldout))
    figures = replace(figures, bad=rows.bad, rows_read=rows.read or None, heldout_of=_heldout_of(workspace, name))
    figures = _with_origin(workspace, figures)
    drawn = collector.sample
    if options.tokenizer is not None and drawn:
        counts = count_tokens(options.tokenizer, [example for _, example in drawn])
        figures = replace(figures, tokens=summarise(options.tokenizer, counts, options.cutoff_len))
    figures = _advised(workspace, figures, dataset)
    if options.plots and not can_plot():
        figures.notes.append(no_plots())
    return Inspected(figures, drawn[: options.pairs], _write(figures, collector, drawn, options))


def default_page(workspace: Workspace, name: str) -> Path:
    """Where the page goes if no file is named."""
    return workspace.data / f"{name}.inspect.html"


def as_json(inspected: Inspected) -> dict[str, Any]:
    """Figures, rows and files for `--json`."""
    return {
        **asdict(inspected.figures),
        "examples": [{"row": position, **plain(example)} for position, example in inspected.examples],
        "written": [str(path) for path in inspected.written],
    }


def _check(workspace: Workspace, name: str) -> RegisteredDataset:
    kind = entry_kind(find_entry(workspace, read_registry(workspace), name))
    if kind == "other" and (shown := viewed(workspace, name)):
        raise UsageError(
            f"dataset {name} is a view of {shown}: the same rows as another stage sees them",
            f"inspect that: rlguide inspect {shlex.quote(shown)}",
        )
    return check_registered(workspace, [name], "pairs" if kind == "other" else kind)[0]


def _heldout_of(workspace: Workspace, name: str) -> str | None:
    """The dataset that `name` is held out from."""
    base, entries = parent_name(name), read_registry(workspace)
    there = is_heldout(name, entries) and entry_kind(entries[base]) == entry_kind(entries[name])
    return base if there else None


def _ticked(rows: Iterable[Example], ticker: Ticker) -> Iterator[Example]:
    for position, row in enumerate(rows, start=1):
        ticker.update(position)
        yield row


def _notes(rows: Checked, heldout: Checked | None, held_out_as: str | None) -> list[str]:
    """What became of bad rows."""
    notes = []
    if rows.left_out:
        notes.append(f"{rows.left_out:,} of the {rows.read:,} rows are bad and not in these figures")
    if heldout is not None and heldout.bad:
        count = sum(bad.rows for bad in heldout.bad)
        notes.append(f"{count:,} of the held-out rows are bad, too: rlguide inspect {shlex.quote(held_out_as or '')}")
    return notes


def _manifest(workspace: Workspace, name: str) -> DataManifest | None:
    """What is known of how a dataset, or what it is held out from, was imported or made."""
    manifest = read_manifest(workspace, name) or read_manifest(workspace, parent_name(name))
    return manifest if manifest is not None and any(file.dataset == name for file in manifest.files) else None


def _with_origin(workspace: Workspace, figures: Figures) -> Figures:
    """The figures with what is known of where the rows come from."""
    name, manifest = figures.dataset, _manifest(workspace, figures.dataset)
    if manifest is None:
        return figures
    figures = replace(figures, source=manifest.source)
    if view_of := manifest.source.get("derived_from"):
        shown = heldout_name(str(view_of)) if figures.heldout_of else str(view_of)
        see = f"`rlguide inspect {shlex.quote(shown)}`"
        figures.notes.append(f"made from {shown}: see {see} for what can be filtered there")
        figures = replace(figures, view_of=str(view_of), outdated=outdated(workspace, name) is not None)
    if manifest.name == name:
        figures = replace(figures, refused=manifest.refused, left_out=manifest.left_out)
    return figures


def _advised(workspace: Workspace, figures: Figures, dataset: RegisteredDataset) -> Figures:
    """The figures with the verdicts, and the command that does what they advise."""
    entries, name, path = read_registry(workspace), figures.view_of or dataset.name, dataset.path
    manifest = _manifest(workspace, name)
    found = doable(verdicts(figures), manifest)
    if figures.outdated:
        line = how_to_view(name, "kto", workspace.root) if name in entries else ""
    else:
        if figures.view_of:
            path = data_path(workspace, name, entries[name])
        line = how_to_apply(found, manifest, name, str(path), workspace.root)
    return replace(figures, verdicts=[verdict.sentence for verdict in found], apply=line)


def _write(
    figures: Figures, collector: Collector, drawn: list[tuple[int, Example]], options: InspectOptions
) -> list[Path]:
    files: dict[Path, bytes] = {}
    if (options.plots or options.html) and collector.rows > MANY:
        console.say("drawing")
    if options.plots is not None:
        plots = draw(collector).items()
        files.update({options.plots / f"{figures.dataset}.{name}.png": picture for name, picture in plots})
    if options.html is not None:
        from rlguide.data.inspect.page import charts_of, page

        text = page(figures, charts_of(collector), drawn[:ON_PAGE])
        files[options.html] = text.encode("utf-8", "replace")
    for path, content in files.items():
        with atomic_write(path, "wb") as file:
            file.write(content)
    return list(files)
