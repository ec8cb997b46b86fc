"""The command that does what is advised."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from rlguide.preferences.filters import Filters
from rlguide.preferences.inspect.apply import how_to_apply
from rlguide.preferences.inspect.verdicts import Verdict
from rlguide.preferences.intake import How
from rlguide.preferences.manifest import DataManifest
from rlguide.preferences.scored_lists import Pairing

DEDUPE = Verdict("x", ("--dedupe",))
LANG = Verdict("x", ("--lang", "en"))
NOTHING = Verdict("x")


def manifest(name: str, source: dict[str, Any], options: dict[str, Any] | None = None) -> DataManifest:
    return DataManifest(name, "", "", source, How().recorded() if options is None else options, 1, {})


def downloaded(hub_id: str, name: str, **more: Any) -> DataManifest:
    source = {"hub": "hf", "hub_id": hub_id, "revision": "main", "commit": "abc", **more}
    return manifest(name, source, {**How().recorded(), "lang": "both"})


def test_a_registered_file_is_registered_again_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "我的 pairs.json"
    how = How("alpaca", Pairing("all"), Filters(max_length=900, lang="zh", seed=7), 0.1, True)
    about = manifest("mine", {"file": str(file)}, how.recorded())
    line = how_to_apply([NOTHING, DEDUPE, LANG, DEDUPE], about, "mine", "")
    assert line.startswith("to apply: rlguide register ")
    assert shlex.split(line.removeprefix("to apply: ")) == [
        *("rlguide", "register", "我的 pairs.json", "--name", "mine", "--force", "--format", "alpaca"),
        *("--pairing", "all", "--test-size", "0.1", "--dedupe", "--max-length", "900", "--lang", "en"),
        *("--seed", "7", "--keep-good"),
    ]


def test_a_folder_is_named() -> None:
    line = how_to_apply([DEDUPE], manifest("mine", {"folder": "/far/away"}), "mine", "")
    assert line == "to apply: rlguide register /far/away --name mine --force --dedupe"


@pytest.mark.parametrize(
    "about, command",
    [
        (downloaded("HuggingFaceH4/ultrafeedback_binarized", "ultrafeedback"), "ultrafeedback --force --dedupe"),
        (downloaded("org/pairs", "pairs"), "org/pairs --force --dedupe"),
        (downloaded("org/pairs", "p", revision="v2"), "org/pairs --name p --force --revision v2 --dedupe"),
        # A dataset of another id that only has the name of one in the catalog.
        (downloaded("org/uf", "ultrafeedback"), "org/uf --name ultrafeedback --force --dedupe"),
    ],
)
def test_a_downloaded_dataset_is_downloaded_again(about: DataManifest, command: str) -> None:
    assert how_to_apply([DEDUPE], about, about.name, "") == f"to apply: rlguide download {command}"


def test_what_was_asked_of_a_hub_is_asked_again() -> None:
    about = downloaded("org/pairs", "pairs", hub="modelscope", revision="master")
    about.options.update(hub="modelscope", split="a", subset="b", files=["x/*", "y"], lang="zh")
    assert how_to_apply([DEDUPE], about, "pairs", "") == (
        "to apply: rlguide download org/pairs --force --hub modelscope --split a --subset b --file 'x/*' --file y"
        " --dedupe --lang zh"
    )


def test_a_language_that_the_catalog_does_not_have_is_not_asked_for() -> None:
    about = downloaded("llamafactory/DPO-En-Zh-20k", "dpo_en_zh")
    both = Verdict("x", ("--lang", "en,zh"))
    assert how_to_apply([both], about, "dpo_en_zh", "") == ""
    assert how_to_apply([both, DEDUPE], about, "dpo_en_zh", "").endswith("download dpo_en_zh --force --dedupe")


def test_a_file_that_rlguide_did_not_write_is_taken_in_under_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = how_to_apply([DEDUPE], None, "theirs", str(tmp_path / "data" / "x.json"))
    assert line == "to apply, take the file in: rlguide register data/x.json --name theirs_checked --dedupe"


def test_nothing_is_said_where_no_option_helps() -> None:
    assert how_to_apply([NOTHING], manifest("mine", {"file": "/x"}), "mine", "") == ""
    assert how_to_apply([], None, "mine", "/x") == ""
    again = how_to_apply([Verdict("x", ())], manifest("mine", {"file": "/x"}), "mine", "")
    assert again == "to apply: rlguide register /x --name mine --force"
