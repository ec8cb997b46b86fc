"""Each field of the records is an option of the commands, under the name that `inspect` prints; none is lost."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from rlguide.cli import add_command
from rlguide.cli._spread import spread
from rlguide.cli.data._ingest import DOWNLOAD, DOWNLOAD_ORDER, REGISTER, TYPES, ingest_options
from rlguide.data.ingest.options import RECORDED, DownloadOptions, IngestOptions, option_name

OTHER: dict[str, Any] = {
    **{
        "name": "n",
        "form": "pair",
        "columns": "prompt=x",
        "good_from": 4.0,
        "encoding": "gb18030",
        "header": "a,b",
        "test_size": 0.25,
        "split": "a",
        "heldout_split": "b",
        "subset": "c",
    },
    **{"files": ("x/*", "y"), "dedupe": True, "pairing": "all", "min_margin": 0.5, "max_length": 9, "lang": "zh"},
    **{"balance_length": True, "max_samples": 7, "seed": 3, "keep_good": True, "force": True},
    **{"hub": "modelscope", "revision": "r", "dry_run": True},
}


def leaves(record: Any) -> dict[str, Any]:
    """The fields of a record and of the records in it."""
    found: dict[str, Any] = {}
    for field in fields(record):
        value = getattr(record, field.name)
        found |= leaves(value) if is_dataclass(value) else {field.name: value}
    return found


def with_other(record: Any, name: str) -> Any:
    """The record with one field changed."""
    for field in fields(record):
        value = getattr(record, field.name)
        if field.name == name:
            return replace(record, **{name: OTHER[name]})
        if is_dataclass(value) and name in leaves(value):
            return replace(record, **{field.name: with_other(value, name)})
    raise KeyError(name)


CASES = [
    (IngestOptions, "register", "register_all"),
    (DownloadOptions, "download", "download_all"),
]


@pytest.mark.parametrize(("record", "command", "function"), CASES)
def test_each_option_fills_its_field_and_no_other(
    record: type[Any], command: str, function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.delenv("RLGUIDE_HUB", raising=False)
    monkeypatch.setattr(
        f"rlguide.data.ingest.{command}.{function}", lambda workspace, what, options: seen.append(options)
    )
    app = typer.Typer()
    add_command(app, command)

    def run(*words: str) -> Any:
        done = CliRunner().invoke(app, ["x", "-w", str(tmp_path), *words])
        assert done.exit_code == 0, done.output
        return seen[-1]

    assert run() == record()
    for name in leaves(record()):
        value = OTHER[name]
        given = [] if value is True else [str(one) for one in (value if isinstance(value, tuple) else (value,))]
        words = [word for one in given for word in (option_name(name), one)] if given else [option_name(name)]
        assert run(*words) == with_other(record(), name), name


def test_the_help_names_each_option_once() -> None:
    assert sorted(REGISTER) == sorted(leaves(IngestOptions()))
    assert sorted(DOWNLOAD_ORDER) == sorted(DOWNLOAD) == sorted(leaves(DownloadOptions()))
    assert set(RECORDED) == {*DOWNLOAD} - {"name", "force", "revision", "dry_run"}


def test_what_is_recorded_is_known_by_its_option() -> None:
    for name in RECORDED:
        changed = with_other(DownloadOptions(), name)
        different = {key for key, value in changed.recorded().items() if DownloadOptions().recorded().get(key) != value}
        assert different == {name}


def test_a_field_without_an_option_is_a_mistake() -> None:
    texts = {name: text for name, text in REGISTER.items() if name != "dedupe"}
    with pytest.raises(ValueError, match="dedupe"):
        spread(IngestOptions, ingest_options(texts), TYPES)
