"""What a reader gives: the rows of a file, and what was decided about the file on the way."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rlguide.errors import DataError, UsageError, did_you_mean

# Kinds that are told by their bytes; a suffix only says which files of a folder are data. In order of preference, where
# one split is there in several kinds.
SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".jsonlines", ".json", ".csv", ".tsv", ".arrow", ".feather")
# Of these, a folder may hold some that are no data (guidelines.xlsx, images.zip): only if it has no others.
LATE_SUFFIXES = (".xlsx", ".zip", ".txt")
PACKED_SUFFIXES = (".gz", ".gzip", ".zst", ".zstd", ".bz2", ".xz", ".zip")
ABOUT = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "metadata.json")  # hold no data
HELD_IN_MEMORY = 1 << 30  # bytes of a file that cannot be read piece by piece; as Python objects up to four times that
MOST_NAMED = 10  # in a message
# Codecs of Python that are no encodings of text files.
_NO_ENCODINGS = frozenset({"idna", "punycode", "raw-unicode-escape", "unicode-escape", "utf-7", "undefined", "mbcs"})
_ENCODINGS = ["utf-8", "utf-16", "gb18030", "gbk", "big5", "shift_jis", "euc_jp", "euc_kr", "cp1252", "cp1251"]


class Row(NamedTuple):
    """What stands at one place of a file: `value`, or why it cannot be read."""

    position: int  # line number, or row number in a Parquet file; 1 is the first
    value: Any
    broken: str = ""


_make: Any = tuple.__new__  # what `Row(...)` calls, in half of its time


def numbered(values: Iterable[Any], first: int = 1) -> Iterator[Row]:
    """A row of each value, the position of the first one being `first`. A value that is a broken row gets it, too."""
    for position, value in enumerate(values, first):
        yield value._replace(position=position) if type(value) is Row else _make(Row, (position, value, ""))


@dataclass(frozen=True)
class ReadOptions:
    """What a person says about a file that does not say it itself."""

    encoding: str | None = None  # of a text file; None: found out
    header: str | None = None  # names of the columns, separated by commas, of a table that has none

    @property
    def names(self) -> list[str]:
        """The names in `header`, in order; none if there is none."""
        return [name.strip() for name in self.header.split(",")] if self.header is not None else []

    def check(self) -> None:
        """Raises UsageError for an encoding that does not exist, or names that cannot be those of columns."""
        if self.encoding is not None:
            _check_encoding(self.encoding)
        names = self.names
        if names and (not all(names) or len(set(names)) < len(names)):
            raise UsageError(
                f"--header {self.header}: each column needs a name of its own",
                "give for example --header prompt,chosen,rejected",
            )


def _check_encoding(name: str) -> None:
    import codecs

    try:
        found = codecs.lookup(name)
        is_text = found.name.replace("_", "-") not in _NO_ENCODINGS and bool(getattr(found, "_is_text_encoding", True))
    except (LookupError, ValueError):
        is_text = False
    if not is_text:
        raise UsageError(
            f"--encoding {name}: no such encoding{did_you_mean(name, _ENCODINGS)}",
            f"give one of {', '.join(_ENCODINGS)}, or leave it out to have it found",
        )


DEFAULT = ReadOptions()


@dataclass(frozen=True)
class Source:
    """A file and how to read it. `unit` is what a position counts: "line" or "row".

    `notes` are for a person: what was found unusual in the file and how it is read nevertheless.
    """

    path: Path
    kind: str
    unit: str
    read: Callable[[Path, frozenset[str] | None], Iterator[Row]]
    notes: tuple[str, ...] = ()
    read_turns: Callable[[Path, frozenset[str] | None, frozenset[str]], Iterator[Row]] | None = None

    def rows(self, columns: Collection[str] | None = None, as_turns: Collection[str] = ()) -> Iterator[Row]:
        """The rows in order. Raises DataError when the file as a whole is broken or cut short.

        With `columns`, the others of a Parquet or Arrow file are not read; text files have them all in any case. Plain
        messages in `as_turns` may come as tuples of turns, where that is faster.
        """
        wanted = None if columns is None else frozenset(columns)
        try:
            if as_turns and self.read_turns is not None:
                yield from self.read_turns(self.path, wanted, frozenset(as_turns))
            else:
                yield from self.read(self.path, wanted)
        except OSError as error:
            raise unreadable(self.path, error) from error


def text_suffix(path: Path) -> str:
    """The suffix that tells the kind of text, in small letters: .csv of `pairs.CSV.gz`."""
    name = path.with_suffix("") if path.suffix.lower() in PACKED_SUFFIXES else path
    return name.suffix.lower()


def data_suffix(path: Path) -> str:
    """`text_suffix`, or the suffix of an archive whose name does not say what is in it: .zip of `pairs.zip`."""
    return text_suffix(path) or path.suffix.lower()


def plain_stem(path: Path) -> str:
    """A file's name without the suffixes of its kind and compression: `pairs` of `pairs.jsonl.gz`."""
    name = Path(path.stem) if path.suffix.lower() in PACKED_SUFFIXES else path
    return name.stem


def unreadable(path: Path, error: OSError) -> DataError:
    """What to say of a file that the system does not give."""
    return DataError(f"cannot read {path}: {error.strerror or error}", "check the file and its permissions")


def named(names: Collection[str]) -> str:
    """The first ten names, and how many more there are."""
    shown = [str(name) for name in list(names)[:MOST_NAMED]]
    return ", ".join(shown) + (f" and {len(names) - len(shown):,} more" if len(names) > len(shown) else "")
