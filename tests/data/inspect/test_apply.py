"""The command that does what is advised."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.data.curate.filters import Filters
from rlguide.data.ingest.options import IngestOptions
from rlguide.data.inspect import apply
from rlguide.data.inspect.verdicts import Verdict
from rlguide.data.store.manifest import DataManifest

DEDUPE = Verdict("x", ("--dedupe",))
LANG = Verdict("x", ("--lang", "en"))
NOTHING = Verdict("x")


def how_to_apply(
    found: Sequence[Verdict], about: DataManifest | None, name: str, file: str, root: Path | None = None
) -> str:
    """As in the workspace itself, if no other folder is named."""
    return apply.how_to_apply(found, about, name, file, root or Path.cwd())


def manifest(name: str, source: dict[str, Any], options: dict[str, Any] | None = None) -> DataManifest:
    return DataManifest(name, "", "", source, IngestOptions().recorded() if options is None else options, 1, {})


def downloaded(hub_id: str, name: str, **more: Any) -> DataManifest:
    source = {"hub": "hf", "hub_id": hub_id, "revision": "main", "commit": "abc", **more}
    return manifest(name, source, {**IngestOptions().recorded(), "lang": "both"})


def test_a_registered_file_is_registered_again_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "我的 pairs.json"
    file.touch()
    how = IngestOptions(
        form="pair",
        pairing="all",
        filters=Filters(max_length=900, lang="zh", seed=7),
        test_size=0.1,
        keep_good=True,
    )
    about = manifest("mine", {"file": str(file)}, how.recorded())
    line = how_to_apply([NOTHING, DEDUPE, LANG, DEDUPE], about, "mine", "")
    assert line.startswith("to apply: rlguide register ")
    assert shlex.split(line.removeprefix("to apply: ")) == [
        *("rlguide", "register", "我的 pairs.json", "--name", "mine", "--force", "--format", "pair"),
        *("--pairing", "all", "--test-size", "0.1", "--dedupe", "--max-length", "900", "--lang", "en"),
        *("--seed", "7", "--keep-good"),
    ]


def test_a_folder_is_named(tmp_path: Path) -> None:
    line = how_to_apply([DEDUPE], manifest("mine", {"folder": str(tmp_path)}), "mine", "")
    assert line == f"to apply: rlguide register {tmp_path} --name mine --force --dedupe"


def test_a_source_that_is_gone_is_not_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    about = manifest("mine", {"file": str(tmp_path / "gone.json")})
    (tmp_path / "mine.json").write_text(json.dumps([{"prompt": "q", "chosen": "a", "rejected": "b"}]))
    line = how_to_apply([DEDUPE], about, "mine", str(tmp_path / "mine.json"))
    assert line == "to apply, import the file: rlguide register mine.json --name mine_checked --dedupe"


def test_from_another_folder_the_workspace_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, file = tmp_path / "my 工作", tmp_path / "-x.json"
    root.mkdir()
    file.touch()
    about = manifest("mine", {"file": str(file)})
    monkeypatch.chdir(tmp_path)
    line = how_to_apply([DEDUPE], about, "mine", "", root)
    assert shlex.split(line.removeprefix("to apply: rlguide ")) == [
        *("register", "./-x.json", "--name", "mine", "--force", "--dedupe", "-w", "my 工作")
    ]
    monkeypatch.chdir(root)
    line = how_to_apply([DEDUPE], about, "mine", "", root)
    assert line == f"to apply: rlguide register {file} --name mine --force --dedupe"
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.chdir(other)
    assert how_to_apply([DEDUPE], about, "mine", "", root).endswith(f" --dedupe -w '{root}'")
    assert apply.how_to_view("a", "kto", root) == f"to apply: rlguide view a --use kto -w '{root}'"


NUMBERS = st.none() | st.integers(0, 3).map(float) | st.floats(0, 1e6, allow_subnormal=False)


@given(
    st.builds(
        IngestOptions,
        pairing=st.sampled_from(["all", "best-worst"]),
        filters=st.builds(Filters, min_margin=NUMBERS, max_samples=st.none() | st.integers(2), seed=st.integers(0, 50)),
        test_size=st.none() | st.just(0.0) | st.floats(0, 0.99),
        keep_good=st.booleans(),
    )
)
def test_whatever_was_asked_for_is_asked_again(how: IngestOptions) -> None:
    """Read back by the real command line: 0 is a value, and numbers are exact."""
    from typer.main import get_command

    line = how_to_apply([Verdict("x", ())], manifest("mine", {"folder": "/"}, how.recorded()), "mine", "")
    words = shlex.split(line.removeprefix("to apply: rlguide register "))
    given_options = get_command(_app()).make_context("register", words).params
    assert {key: given_options[key] for key in ("min_margin", "max_samples", "seed", "test_size", "keep_good")} == {
        "min_margin": how.filters.min_margin,
        "max_samples": how.filters.max_samples,
        "seed": how.filters.seed,
        "test_size": how.test_size,
        "keep_good": how.keep_good,
    }
    assert given_options["pairing"] == how.pairing


def _app() -> Any:
    import typer

    from rlguide.cli import add_command

    app = typer.Typer()
    add_command(app, "register")
    return app


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


def test_a_language_is_not_asked_for_where_that_leaves_out_no_rows() -> None:
    halves = downloaded("llamafactory/DPO-En-Zh-20k", "dpo_en_zh")
    assert apply.doable([NOTHING, LANG, DEDUPE], halves) == [NOTHING, DEDUPE]
    halves.options["subset"] = "en"  # then rows are looked at
    assert apply.doable([LANG, DEDUPE], halves) == [LANG, DEDUPE]
    english = downloaded("HuggingFaceH4/ultrafeedback_binarized", "ultrafeedback")
    french = Verdict("x", ("--lang", "en,fr"))
    assert apply.doable([LANG, french], english) == [LANG]
    assert apply.doable([french], manifest("mine", {"folder": "/"})) == [french]
    assert apply.doable([french], None) == [french]


def test_a_file_that_rlguide_did_not_write_is_taken_in_under_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    file = tmp_path / "data" / "x.json"
    file.write_text(json.dumps([{"prompt": "q", "chosen": "a", "rejected": "b"}]))
    line = how_to_apply([DEDUPE], None, "theirs", str(file))
    assert line == "to apply, import the file: rlguide register data/x.json --name theirs_checked --dedupe"
    file.write_text(json.dumps([{"ask": "q", "better": "a", "worse": "b"}]))
    line = how_to_apply([DEDUPE], None, "theirs", str(file))
    assert line.startswith("to apply, say what its columns hold with --columns, and import the file: ")
    assert line.endswith(" rlguide register data/x.json --name theirs_checked --dedupe")


def test_nothing_is_said_where_no_option_helps() -> None:
    assert how_to_apply([NOTHING], manifest("mine", {"folder": "/"}), "mine", "") == ""
    assert how_to_apply([], None, "mine", "/x") == ""
    again = how_to_apply([Verdict("x", ())], manifest("mine", {"folder": "/"}), "mine", "")
    assert again == "to apply: rlguide register / --name mine --force"
