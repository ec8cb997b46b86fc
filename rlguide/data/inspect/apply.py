"""The command that does what the verdicts advise: the dataset imported again as it was, with their options."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from rlguide.catalog.datasets import CatalogDataset, load_datasets
from rlguide.data.curate.language import languages
from rlguide.data.formats.reading import choose_reading
from rlguide.data.hubs.client import HUBS
from rlguide.data.ingest.options import RECORDED, DownloadOptions, option_name
from rlguide.data.inspect.verdicts import Verdict
from rlguide.data.names import safe_name
from rlguide.data.readers.files import open_source
from rlguide.data.store.dataset_info import data_files
from rlguide.data.store.manifest import DataManifest
from rlguide.data.store.registered import FIRST_ROWS
from rlguide.errors import DataError

_OPTIONS = {key: option_name(key) for key in RECORDED}
_USUAL = DownloadOptions().recorded()


def how_to_apply(found: Sequence[Verdict], manifest: DataManifest | None, name: str, file: str, root: Path) -> str:
    """One line for the reader, which works in the current folder, "" where no option helps.

    Args:
        manifest: of the dataset that is to be imported again, None if rlguide did not write it.
        name: the dataset's name in the registry, file: its file; these are used where there is no manifest, or where
            the file that the rows came from is gone.
        root: the workspace.
    """
    known = _in_catalog(manifest)
    meant = [verdict.options for verdict in found if verdict.options is not None]
    if not meant:
        return ""
    wanted: dict[str, Any] = {options[0]: options[1] if len(options) > 1 else True for options in meant if options}
    origin = _origin(manifest, known) if manifest is not None else None
    if manifest is None or origin is None:
        words = ["register", _short(file), "--name", safe_name(f"{name}_checked")]
        names = "" if _has_known_columns(Path(file)) else "say what its columns hold with --columns, and "
        return f"to apply, {names}import the file: {_command(words, wanted, root)}"
    earlier = {option: manifest.options[key] for key, option in _OPTIONS.items() if _was_given(manifest, key)}
    return f"to apply: {_command(origin, {**earlier, **wanted}, root)}"


def doable(found: Sequence[Verdict], manifest: DataManifest | None) -> list[Verdict]:
    """The verdicts without what the command that imported the rows cannot do: of some datasets of the catalog `--lang`
    chooses a half and drops no rows, and of others it takes only the languages that they are known to have.
    """
    known = _in_catalog(manifest)
    if manifest is None or known is None:
        return list(found)
    named = any(manifest.options.get(key) for key in ("split", "heldout_split", "subset", "files"))
    halves = known.has_languages and not named and manifest.source.get("hub") in (None, "hf")
    return [
        verdict
        for verdict in found
        if not verdict.options
        or verdict.options[0] != "--lang"
        or not (halves or set(languages(verdict.options[1])) - set(known.languages))
    ]


def how_to_view(name: str, use: str, root: Path) -> str:
    """One line for the reader: how to make a view again."""
    return f"to apply: {_command(['view', name, '--use', use], {}, root)}"


def _was_given(manifest: DataManifest, key: str) -> bool:
    """Whether an option was not left at what it usually is. 0 is a value, though Python has 0 == False."""
    value = manifest.options.get(key)
    if value is None or value is False or value == []:
        return False
    return type(value) is not type(_USUAL.get(key)) or bool(value != _USUAL.get(key))


def _in_catalog(manifest: DataManifest | None) -> CatalogDataset | None:
    """The catalog's dataset of that name, if this one was fetched from there."""
    hub_id = manifest.source.get("hub_id") if manifest is not None else None
    if manifest is None or not hub_id:
        return None
    known = load_datasets().get(manifest.name)
    return known if known is not None and hub_id in (known.hub_id, known.modelscope_id) else None


def _origin(manifest: DataManifest, known: CatalogDataset | None) -> list[str] | None:
    """The beginning of the command that imports the same data again, None if it is unknown or gone."""
    source, name = manifest.source, manifest.name
    if path := source.get("file") or source.get("folder"):
        if not Path(path).exists():
            return None
        return ["register", _short(str(path)), "--name", name, "--force"]
    hub_id = source.get("hub_id")
    if not hub_id:
        return None
    given = [name] if known is not None else [str(hub_id)]
    if known is None and safe_name(str(hub_id).rpartition("/")[2]) != name:
        given += ["--name", name]
    revision = source.get("revision")
    usual = HUBS.get(str(source.get("hub") or "hf"))
    return ["download", *given, "--force", *(["--revision", str(revision)] if revision not in (None, usual) else [])]


def _has_known_columns(path: Path) -> bool:
    """Whether `register` would know what the columns of a file are: an entry may call them by any name."""
    try:
        file = data_files(path)[0]
        choose_reading([row.value for row in islice(open_source(file).rows(), FIRST_ROWS)], file)
    except (DataError, OSError, IndexError):
        return False
    return True


def _command(words: list[str], options: dict[str, Any], root: Path) -> str:
    words = ["rlguide", *words]
    for option in (name for name in _OPTIONS.values() if name in options):
        value = options[option]
        if value is True:
            words.append(option)
            continue
        for one in value if isinstance(value, list | tuple) else [value]:
            words += [option, _number(one) if isinstance(one, float) else str(one)]
    if root.resolve() != Path.cwd().resolve():
        words += ["-w", _short(str(root))]
    return shlex.join(words)


def _number(value: float) -> str:
    """The shortest text that is exactly this number: 900, 0.1234567."""
    return repr(value).removesuffix(".0")


def _short(path: str) -> str:
    """The path as one would type it here."""
    relative = os.path.relpath(path, Path.cwd())
    if relative.startswith(".."):
        return path
    return f"./{relative}" if relative.startswith("-") else relative
