"""What can be asked of `register` and `download`: two records, whose fields are the options of the commands."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from rlguide.data.curate.filters import Filters
from rlguide.data.names import check_name
from rlguide.data.readers.source import ReadOptions
from rlguide.data.sources.selection import ANYTHING, FileSelection
from rlguide.errors import UsageError

if TYPE_CHECKING:
    from rlguide.catalog.datasets import CatalogDataset
    from rlguide.data.formats.base import Wanted

_NAMED = {"form": "--format", "files": "--file"}


def option_name(field: str) -> str:
    """The option of a field of these records, or of those in them; also of a key of `recorded`."""
    return _NAMED.get(field) or f"--{field.replace('_', '-')}"


def parse_columns(text: str) -> tuple[tuple[str, str], ...]:
    """`prompt=query,chosen=good` as (column, role). Raises UsageError for anything else.

    A comma or an equals sign in the name of a column is kept where only one reading is possible: a part without "="
    belongs to the name before it.
    """
    found: list[tuple[str, str]] = []
    parts = re.split(r"([,;，；])", f",{text}") if text.strip() else ()
    for between, part in zip(parts[1::2], parts[2::2], strict=True):
        role, sign, column = part.partition("=")
        if sign and role.strip().replace("_", "").isalnum():
            found.append((column.strip(), role.strip()))
        elif found:
            found[-1] = (f"{found[-1][0]}{between}{part}", found[-1][1])
        else:
            raise UsageError(
                f"--columns {text} does not say which column holds what", "write --columns prompt=query,chosen=good_one"
            )
    if any(not column for column, _ in found):
        raise UsageError(f"--columns {text}: a column is missing after =", "write for example --columns prompt=query")
    return tuple(found)


@dataclass(frozen=True)
class IngestOptions:
    """How files become a dataset."""

    name: str | None = None  # in the workspace; None makes one from that of the file
    form: str = "auto"  # or a name of `SHAPES`
    columns: str | None = None  # what columns hold, as prompt=query,chosen=good: role, then the name of the column
    encoding: str | None = None  # of text files; None: found out
    header: str | None = None  # names of the columns of a table that has none, separated by commas
    test_size: float | None = None  # share to hold out (None: 5 %, at most 2,000 rows) if there are no held-out files
    selection: FileSelection = ANYTHING  # split, subset or files, if they are named
    pairing: str = "best-worst"  # how a list of scored responses becomes pairs
    good_from: float | None = None  # the rating from which on a single response is desirable
    filters: Filters = field(default_factory=Filters)  # which valid rows are kept
    keep_good: bool = False  # drop invalid rows however many they are
    force: bool = False  # replace a dataset of that name
    dry_run: bool = False  # stop before anything is written

    @property
    def wanted(self) -> Wanted:
        """What is said of the rows. Raises UsageError for `columns` that are not role=column."""
        from rlguide.data.formats.base import Wanted

        return Wanted(self.form, parse_columns(self.columns or ""), self.pairing, self.good_from)

    def check(self) -> None:
        """Raises UsageError for a value that cannot be meant, or options that contradict each other."""
        from rlguide.data.cells.given import check_columns
        from rlguide.data.formats.lists import check_pairing

        check_pairing(self.pairing)
        check_columns(self.wanted.columns)
        self.reading.check()
        if self.name is not None:
            check_name(self.name)
        if self.test_size is not None and not 0 <= self.test_size < 1:
            raise UsageError(
                f"--test-size {self.test_size:g} is not a share from 0 up to 1", "give for example 0.05, or 0 for none"
            )
        self.filters.check("pairs")
        self.selection.check()

    @property
    def reading(self) -> ReadOptions:
        """What `open_source` is told of the files."""
        return ReadOptions(self.encoding, self.header)

    def recorded(self) -> dict[str, Any]:
        """What decides the content, for the manifest; two equal ones make the same files of the same rows."""
        return {
            **self.selection.recorded(),
            # Left out if they are not given, so that what was made before there was such an option stays the same.
            **({"encoding": self.encoding} if self.encoding is not None else {}),
            **({"header": self.header} if self.header is not None else {}),
            "form": self.form,
            **({"columns": self.columns} if self.columns else {}),
            **({"good_from": self.good_from} if self.good_from is not None else {}),
            "pairing": self.pairing,
            "test_size": self.test_size,
            **asdict(self.filters),
            "keep_good": self.keep_good,
        }


# The keys of `recorded`, in the order in which a command is written.
RECORDED = (
    "hub",
    *(one.name for one in fields(FileSelection)),
    *IngestOptions(encoding="", header="", columns="prompt=x", good_from=1.0).recorded(),
)


@dataclass(frozen=True)
class DownloadOptions(IngestOptions):
    """What of a dataset on a hub is fetched, and how it becomes a dataset here."""

    # `lang` is also a part of a bilingual dataset of the catalog ("en", "zh"), and "both" stands for all.
    filters: Filters = field(default_factory=lambda: Filters(lang="both"))
    hub: str = "hf"  # or "modelscope"
    revision: str | None = None  # branch, tag or commit (None: the usual branch of the hub)

    @property
    def languages(self) -> list[str]:
        """The codes of the languages that are wanted; none for all."""
        from rlguide.data.curate.language import languages

        return [] if self.filters.lang in (None, "both") else languages(self.filters.lang)

    def of_rows(self, dataset: CatalogDataset) -> DownloadOptions:
        """The options for the rows that are fetched: a language is a part of some datasets, of others a filter."""
        if not self.languages or (dataset.has_languages and dataset.parts):
            return replace(self, filters=replace(self.filters, lang=None))
        return self

    def recorded(self) -> dict[str, Any]:
        """As for files, and the hub if it is not the usual one."""
        return {**({"hub": self.hub} if self.hub != "hf" else {}), **super().recorded()}
