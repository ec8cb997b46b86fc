"""Which files of a dataset's repository (or folder) are the split that is wanted, and which its held-out part.

The card's YAML says it (`configs:` with `data_files:`), or else the usual names do: `en/train.jsonl`, `test.csv`,
`data/train-00000-of-00002.parquet`. Only names and the card are looked at: no code of a dataset is ever run.
https://huggingface.co/docs/hub/datasets-data-files-configuration
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlguide.console import escaped
from rlguide.data.names import missing_part
from rlguide.data.readers.source import ABOUT, LATE_SUFFIXES, SUFFIXES, data_suffix, named, plain_stem
from rlguide.data.readers.words import HELDOUT_WORDS, TRAIN_WORDS
from rlguide.data.sources.card import Splits, matching, splits_of_card
from rlguide.data.sources.selection import FileSelection
from rlguide.errors import DataError, UsageError, did_you_mean

ALL_SUFFIXES = (*SUFFIXES, *LATE_SUFFIXES)
# Files that may hold rows, but of kinds that are not read: named where they are passed over.
UNREAD_SUFFIXES = (
    *(".xls", ".ods", ".db", ".sqlite", ".sqlite3", ".pkl", ".pickle", ".pt", ".npy", ".npz", ".h5", ".hdf5", ".orc"),
    *(".avro", ".tar", ".tgz", ".7z", ".rar", ".yaml", ".yml", ".xml", ".jl", ".json5", ".lz4", ".bak", ".dat"),
)
CACHED = re.compile(r"cache-[0-9a-f]+(?:_\d+_of_\d+)?\.arrow")  # what `datasets` leaves of its `map`, beside the data
NO_DATA = re.compile(r"(?:readme|licen[cs]e|notice|requirements|changelog|citation|config|authors)\b.*", re.IGNORECASE)
SPLIT_WORDS = {*TRAIN_WORDS, *HELDOUT_WORDS}
PREFERENCE_WORDS = ("prefs", "pref", "preference", "preferences", "dpo", "ranking")
NUMBERED = re.compile(r"(?:^|[-_.])(?:part[-_])?\d{1,6}(?:-of-\d{1,6})?(?:-[0-9a-f]{8,})?$")
# A numbered part, which tells the names of all others (but not one with a hash in its name).
PART = re.compile(r"(.*-)\d{5}-of-(\d{5})(\.[\w.]+)")
MOST_NAMED = 12  # in a message
NONE = "none"  # as --heldout-split: do not use the one there is


@dataclass(frozen=True)
class Selection:
    """The files to take, as paths in the repository, and why; and those that may hold data and are not taken."""

    train: tuple[str, ...]
    heldout: tuple[str, ...]
    reason: str
    left_out: tuple[str, ...] = ()

    @property
    def not_taken(self) -> str:
        """A line that names what is not taken, "" if that is nothing."""
        return f"not taken: {escaped(named(self.left_out))} (--file to choose)" if self.left_out else ""


def select_files(where: str, paths: Iterable[str], card: str, wanted: FileSelection) -> Selection:
    """Choose the files of a split and of the held-out split that goes with it.

    `where` is what messages call the repository or folder, `paths` every file in it, with `/`, and `card` the text of
    its README.md, "" if there is none.

    Raises:
        UsageError: what is wanted is not there, or several things may be meant; the message lists what there is.
        DataError: there is no data file at all.
    """
    paths = list(paths)
    data = _data_files(paths)
    if not data:
        found = ", ".join(sorted(paths)[:MOST_NAMED]) or "nothing"
        raise DataError(
            f"{where} has no data file that rlguide reads: {found}",
            f"it reads {', '.join(ALL_SUFFIXES)} and never runs code of a dataset; convert it, "
            "then `rlguide register` it",
        )
    if wanted.files:
        return _by_pattern(where, data, sorted(filter(_may_be_data, paths)), wanted.files)
    there, default = splits_of_card(card, data, splits_of_names)
    there = there or splits_of_names(data)
    subset = _subset(where, there, wanted.subset, default, data)
    splits = there[subset]
    split = _split(where, splits, wanted.split, data)
    heldout = _heldout(where, splits, split, wanted.heldout_split)
    of = f" of subset {subset}" if subset else ""
    reason = f"split {split}{of}" + (f", held out: {heldout}" if heldout else "")
    taken, held = _one_format(splits[split]), _one_format(splits[heldout]) if heldout else ()
    left_out = sorted({*data, *filter(_may_be_data, paths)} - {*taken, *held})
    return Selection(taken, held, reason, tuple(left_out))


def files_of_folder(folder: Path, wanted: FileSelection) -> Selection:
    """The train and the held-out files of a folder on this machine, found and refused like those of a repository.

    Raises DataError, too, if a numbered part (`-00001-of-00003`) of what is taken is not there.
    """
    paths = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    readme = folder / "README.md"
    card = readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else ""
    found = select_files(str(folder), paths, card, wanted)
    if not wanted.files and (part := missing_part(PART, (*found.train, *found.heldout))):
        raise DataError(f"{folder}: the part {part} is not there", "copy or fetch it, or name the files with --file")
    return found


def splits_of_names(paths: Sequence[str]) -> Splits:
    """Subset ("" for none) -> split -> files, as far as names tell; files whose name tells nothing are "train"."""
    there: Splits = {}
    for path in paths:
        folders = [part for part in path.split("/")[:-1] if part.lower() != "data"]
        split = _bare(path.split("/")[-1])
        if not split or split.lower() in ("data", "part"):  # train/0001.parquet
            split = folders.pop() if folders else "train"
        elif not _words(split) & SPLIT_WORDS and folders and _words(folders[-1]) & SPLIT_WORDS:  # train/chat.jsonl
            split = folders.pop()
        there.setdefault("/".join(folders), {}).setdefault(split, []).append(path)
    for splits in there.values():
        # One file with a name of its own (orca_rlhf.jsonl), next to none that is called train.
        unnamed = [split for split in splits if not _words(split) & SPLIT_WORDS]
        if len(unnamed) == 1 and not any(_words(split) & set(TRAIN_WORDS) for split in splits):
            splits["train"] = splits.pop(unnamed[0])
    return there


def _data_files(paths: Iterable[str]) -> list[str]:
    """The paths of data files. Kinds of file that are often something else count only if there are no others."""
    known = sorted(filter(_is_named, paths))
    for suffixes in (SUFFIXES, *((suffix,) for suffix in LATE_SUFFIXES)):
        found = [path for path in known if data_suffix(Path(path)) in suffixes]
        if found:
            return found
    return []


def _is_named(path: str) -> bool:
    """Whether nothing in the name says that this is no data."""
    name = path.split("/")[-1].lower()
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.split("/"))
    aside = hidden or name in ABOUT or CACHED.fullmatch(name)
    return not aside and not (data_suffix(Path(name)) in (".txt", ".yaml", ".yml", ".xml") and NO_DATA.fullmatch(name))


def _may_be_data(path: str) -> bool:
    return _is_named(path) and data_suffix(Path(path)) in (*ALL_SUFFIXES, *UNREAD_SUFFIXES)


def _bare(name: str) -> str:
    """The name without suffixes and the number of the part: train_prefs-00000-of-00001.parquet -> train_prefs."""
    return NUMBERED.sub("", plain_stem(Path(name))).rstrip("-_.")


def _words(name: str) -> set[str]:
    return set(re.split(r"[^a-z]+", name.lower()))


def _by_pattern(where: str, data: list[str], others: list[str], patterns: tuple[str, ...]) -> Selection:
    found: dict[str, None] = {}
    for pattern in patterns:
        matched = matching(pattern, data) or matching(pattern, others)
        if not matched:
            raise UsageError(f"{where} has no data file {pattern}", f"there are {_named(data)}")
        found.update(dict.fromkeys(matched))
    return Selection(tuple(found), (), f"files {', '.join(patterns)}")


def _subset(where: str, there: Splits, wanted: str | None, default: str | None, data: list[str]) -> str:
    names = list(there)
    if wanted is not None:
        choose = f"choose with --subset: {_named(names)}" if any(names) else "leave out --subset: it has none"
        return _known(f"{where} has no subset", wanted, names, choose)
    if len(names) == 1:
        return names[0]
    for usual in (default, "default"):
        if usual is not None and usual in names:
            return usual
    kept = [path for splits in there.values() for path in _not_held_out(splits)]
    named = [path for path in kept if any(_words(part) & set(TRAIN_WORDS) for part in path.split("/"))]
    what = "has data files both in folders and in none" if "" in names else "has several subsets"
    none = " ('' for none)" if "" in names else ""
    raise UsageError(
        f"{where} {what}", f"choose with --subset: {_named(names)}{none}{_all_at_once(named or kept, data)}"
    )


def _known(lacks: str, wanted: str, names: list[str], choose: str) -> str:
    if wanted not in names:
        raise UsageError(f"{lacks} {wanted}{did_you_mean(wanted, names)}", choose)
    return wanted


def _not_held_out(splits: dict[str, list[str]]) -> list[str]:
    return [path for name in splits if not _words(name) & set(HELDOUT_WORDS) for path in splits[name]]


def _split(where: str, splits: dict[str, list[str]], wanted: str | None, data: list[str]) -> str:
    names = list(splits)
    if wanted is not None:
        choose = f"choose with --split: {_named(names)}; or name files with --file"
        return _known(f"{where} has no split", wanted, names, choose)
    train = [name for name in names if _words(name) & set(TRAIN_WORDS)]
    pairs = [name for name in train if _words(name) & set(PREFERENCE_WORDS)]
    for likely in (["train"] if "train" in names else [], train, pairs, names):
        if len(likely) == 1:
            return likely[0]
    every = _all_at_once(_not_held_out(splits), data)
    raise UsageError(
        f"{where}: it is not clear which of its {len(names)} splits is meant",
        f"choose with --split: {_named(names)}; or name files with --file: {_named(data)}{every}",
    )


def _all_at_once(wanted: list[str], data: list[str]) -> str:
    """The offer of a pattern that means these files of all the data and no other; "" if none does."""
    if len(wanted) < 2:
        return ""
    names = {path.split("/")[-1] for path in wanted}
    first = min(names)
    name = first if len(names) == 1 else f"*{first.removeprefix(plain_stem(Path(first)))}"
    folders = ["**"]
    if len({path.count("/") for path in wanted}) == 1:
        levels = zip(*(path.split("/")[:-1] for path in wanted), strict=True)
        folders = [level[0] if len(set(level)) == 1 else "*" for level in levels]
    pattern = "/".join([*folders, name])
    return f"; or all of them with --file '{pattern}'" if set(matching(pattern, data)) == set(wanted) else ""


def _heldout(where: str, splits: dict[str, list[str]], split: str, wanted: str | None) -> str | None:
    others = [name for name in splits if name != split]
    if wanted == NONE:
        return None
    if wanted is not None:
        choose = f"choose with --heldout-split: {_named([*others, NONE])}"
        return _known(f"{where} has no other split", wanted, others, choose)
    for word in HELDOUT_WORDS:  # train_prefs -> test_prefs, and only that: test_sft is another kind of data
        for old in TRAIN_WORDS:
            match = re.sub(rf"(?<![a-z]){old}(?![a-z])", word, split, flags=re.IGNORECASE)
            if match in others:
                return match
    return None


def _one_format(paths: list[str]) -> tuple[str, ...]:
    """The same split is sometimes published twice: take it in one format only."""
    best = min((data_suffix(Path(path)) for path in paths), key=ALL_SUFFIXES.index)
    return tuple(path for path in sorted(paths) if data_suffix(Path(path)) == best)


def _named(names: Sequence[str]) -> str:
    shown = [name or "(none)" for name in names[:MOST_NAMED]]
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(shown) + more
