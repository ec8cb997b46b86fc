"""The datasets that the guide knows: `datasets.yaml` as records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Part:
    """One portion of a dataset: patterns (in order of preference) of its train files and of its held-out split."""

    train: tuple[str, ...]
    heldout: tuple[str, ...] = ()
    language: str | None = None


@dataclass(frozen=True)
class CatalogDataset:
    """One published preference dataset. `rows` and `heldout_rows` are pairs of the full set."""

    name: str
    hub_id: str
    languages: tuple[str, ...] = ()
    rows: int = 0
    heldout_rows: int | None = None
    licence: str = "see card"
    purpose: str = ""
    parts: tuple[Part, ...] = ()
    wrong: str | None = None
    sources: tuple[str, ...] = ()
    modelscope_id: str | None = None

    @property
    def has_languages(self) -> bool:
        """Whether one language can be fetched without the others (`--lang`)."""
        return any(part.language for part in self.parts)


def load_datasets() -> dict[str, CatalogDataset]:
    """Every dataset of the catalog by name, in the catalog's order."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one is ten times faster, where it was built
    text = (Path(__file__).parent / "datasets.yaml").read_text(encoding="utf-8")
    loaded = loader(text).get_single_data()
    return {name: _dataset(name, fields) for name, fields in loaded.items()}


def find_dataset(name: str) -> CatalogDataset:
    """The catalog's dataset of that name (`-` and `_` are the same, case does not matter).

    Raises:
        UsageError: the catalog has no such dataset.
    """
    from rlguide.errors import UsageError, did_you_mean

    known = load_datasets()
    found = known.get(name.lower().replace("-", "_"))
    if found is None:
        raise UsageError(
            f"the catalog has no dataset {name}{did_you_mean(name, list(known))}",
            f"choose one of {', '.join(known)}; any other is named by its id, org/name; your own file goes in with "
            "`rlguide register FILE`",
        )
    return found


def _dataset(name: str, fields: dict[str, Any]) -> CatalogDataset:
    parts = [Part(tuple(one["train"]), tuple(one.get("heldout", ())), one.get("language")) for one in fields["parts"]]
    lists: dict[str, Any] = {key: tuple(fields[key]) for key in ("languages", "sources")}
    return CatalogDataset(name, **fields | lists | {"parts": tuple(parts)})
