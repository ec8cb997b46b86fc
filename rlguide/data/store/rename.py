"""Another name for a dataset: entries, files, records and views change theirs in one step of the journal."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rlguide.data.names import folded, heldout_name, safe_name, view_name
from rlguide.data.store import journal
from rlguide.data.store.belongings import RECORDS, Belongings, belongings, belongs_to, same_file
from rlguide.data.store.dataset_info import Entry, entry_kind, read_registry
from rlguide.data.store.manifest import DataManifest
from rlguide.data.store.publish import why_not, writing
from rlguide.data.store.staging import temporary
from rlguide.data.store.stale_views import origin_of, renamed_origin
from rlguide.errors import DataError, RlguideError, UsageError
from rlguide.workspace import Workspace, atomic_write


def rename(workspace: Workspace, old: str, new: str) -> dict[str, str]:
    """Give a dataset, with its held-out split, records and views, another name; return old and new names of entries.

    A file that rlguide did not write keeps its name; only the entry is renamed. All or nothing, whenever the process
    is killed.

    Raises:
        UsageError: `old` is not registered or is a part of another dataset; `new` cannot be a name, or is taken.
        DataError: dataset_info.json is broken. RlguideError: the folder cannot be written.
    """
    _check(workspace, old, new)
    with _alone(workspace, old, new):
        names = _check(workspace, old, new)  # another rlguide may have changed it while this one waited
        owned = belongings(workspace, old)
        change = _change(workspace, owned, names, new)
        report = f"{old}.report.json"
        if report in change.moves:
            staged = _rewritten_report(workspace, old, new)
            change.moves[staged.name] = change.moves[report]  # after the old one, which it replaces
        journal.commit(workspace, change)
    return {name: names[name] for name in owned.entries}


def _check(workspace: Workspace, old: str, new: str) -> dict[str, str]:
    """The new names of the entries, after checking that they are free."""
    if new != safe_name(new):
        what = f"{new!r} cannot be a dataset name: LLaMA-Factory splits names at commas, and YAML has words of its own"
        raise UsageError(what, shlex.join(["rlguide", "rename", old, safe_name(new)]))
    owned, entries = belongings(workspace, old), read_registry(workspace)
    if whole := belongs_to(workspace, old):
        name, part = whole
        words = ["rename", name, safe_name(new)] if name in entries else ["remove", old]
        fix = shlex.join(["rlguide", *words])
        raise UsageError(f"{old} is the {part} of {name}, and is named after it", fix)
    if old == new:
        raise UsageError(f"{old} is called so already", "give it a name that is another one")
    names, another = _new_names(owned, old, new), "choose another name"
    if what := why_not(workspace, new, entries, owned.entries):
        raise UsageError(what, another)
    for own, name in names.items():
        if name in entries or name in names:
            raise UsageError(f"there is a dataset {name} already", another)
        if any(file.dataset == own for file in owned.files):
            for file in (f"{name}.parquet", *(name + end for end in RECORDS)):
                if (workspace.data / file).exists() and folded(own) != folded(name):
                    raise UsageError(f"{workspace.relative(workspace.data / file)} is already there", another)
    return names


def _new_names(owned: Belongings, old: str, new: str) -> dict[str, str]:
    """Of the entries, and of what a manifest has and nobody registers any more."""
    bases = {old: new} | {view_name(old, use): view_name(new, use) for use in ("sft", "ppo", "kto")}
    known = bases | {heldout_name(base): heldout_name(name) for base, name in bases.items()}
    return {name: known[name] for name in (*owned.entries, *(file.dataset for file in owned.files))}


@contextmanager
def _alone(workspace: Workspace, old: str, new: str) -> Iterator[None]:
    """Hold the locks of both names and of their rows for KTO, in the order that `publish` takes them, too.

    Of names that differ in case only, whose locks may be one file, one.
    """
    with ExitStack() as stack:
        for name in sorted({folded(name): name for name in (old, new)}.values()):
            stack.enter_context(writing(workspace, name))
            stack.enter_context(writing(workspace, view_name(name, "kto")))
        yield


def _change(workspace: Workspace, owned: Belongings, names: dict[str, str], new: str) -> journal.Change:
    files = {file.file: names[file.dataset] + file.file[len(file.dataset) :] for file in owned.files}
    records = {
        record: names[name] + end
        for record in owned.records
        for end in RECORDS
        if record.endswith(end) and (name := record.removesuffix(end)) in names
    }
    entries = {}
    for name, entry in read_registry(workspace).items():
        moved = next((target for file, target in files.items() if same_file(workspace, entry, file)), None)
        if moved is not None or name in owned.entries:  # an entry of somebody else that shows the file follows it
            target = names[name] if name in owned.entries else name
            entries[target] = {**entry, **({"file_name": moved} if moved is not None else {})}
    manifests = {
        names[manifest.name]: asdict(_renamed(workspace, manifest, names, files, entries))
        for manifest in owned.manifests
    }
    main = manifests.pop(new, {})
    moves = {name: target for name, target in (files | records).items() if (workspace.data / name).exists()}
    return journal.Change(new, moves, main, entries, drop=list(owned.entries), other_manifests=manifests)


def _renamed(
    workspace: Workspace,
    manifest: DataManifest,
    names: dict[str, str],
    files: dict[str, str],
    entries: dict[str, Entry],
) -> DataManifest:
    """A manifest with the new names; rows for KTO that were up to date are so afterwards."""
    listed = [
        replace(file, dataset=names.get(file.dataset, file.dataset), file=files.get(file.file, file.file))
        for file in manifest.files
    ]
    source: dict[str, Any] = manifest.source
    if (pairs := manifest.derived_from) in names:
        source = {**source, "derived_from": names[pairs]}
        try:
            current = manifest.source == origin_of(workspace, pairs)
        except (RlguideError, OSError):  # its file is gone
            current = False
        if current:
            both = [entries.get(names.get(name, ""), {}) for name in (pairs, heldout_name(pairs))]
            shown = [entry for entry in both if entry_kind(entry) == "pairs"]
            source = renamed_origin(manifest.source, names[pairs], shown, files)
    return replace(manifest, name=names[manifest.name], source=source, files=listed)


def _rewritten_report(workspace: Workspace, old: str, new: str) -> Path:
    """A copy of the report, under a temporary name, with the new name of the dataset in its head."""
    path, staged = workspace.data / f"{old}.report.json", temporary(workspace.data, new, "report")
    before, after = (f'"dataset": {json.dumps(name, ensure_ascii=False)}' for name in (old, new))
    try:
        with path.open(encoding="utf-8") as source, atomic_write(staged) as target:
            for number, line in enumerate(source):
                target.write(line.replace(before, after, 1) if number == 1 else line)
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8", "move it away, then run the same command again") from None
    return staged
