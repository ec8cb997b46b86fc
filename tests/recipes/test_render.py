"""A rendered config reads back as what was rendered, in PyYAML and as the engine reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rlguide.catalog.hyperparameters import hyperparameters
from rlguide.engine.config_file import format_value, load_config, parse_settings, parse_yaml
from rlguide.errors import DataError, UsageError
from rlguide.recipes.render import changed_values, fill, load_recipe, render, was_edited, write_config

VALUES = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(alphabet=st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\u2028\u2029\ufeff\x85")),
    st.sampled_from(["no", "5e-6", "1:30", "2020-01-01", "~", "null", "0x1f", "1_000", "", " a ", "数据", "#", "a: b"]),
    st.lists(st.integers()),
)


@given(st.dictionaries(st.from_regex(r"[a-z][a-z_]{0,20}", fullmatch=True), VALUES, max_size=8))
def test_round_trip(extra: dict[str, object]) -> None:
    recipe = load_recipe("dpo")
    config = fill(recipe, {"model_name_or_path": "m", **extra})
    assert parse_yaml(render(recipe, config, ["an introduction"])) == config


@given(VALUES)
def test_format_is_the_same_for_both_readers(value: object) -> None:
    text = f"key: {format_value(value)}"
    assert parse_yaml(text) == yaml.safe_load(text) == {"key": value}


@pytest.mark.parametrize("name", ["dpo", "eval", "eval_rm"])
def test_every_key_of_a_recipe_is_explained(name: str) -> None:
    assert set(load_recipe(name).defaults) <= set(hyperparameters())


def test_defaults_are_those_of_the_guide() -> None:
    defaults = load_recipe("dpo").defaults
    wanted = {
        "pref_beta": 0.1,
        "pref_loss": "sigmoid",
        "pref_ftx": 0.0,
        "learning_rate": 5.0e-6,
        "num_train_epochs": 3,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 8,
        "lora_rank": 16,
    }
    assert {key: defaults[key] for key in wanted} == wanted
    assert format_value(defaults["learning_rate"]) == "5.0e-6"


def test_numbers_are_read_as_the_engine_reads_them() -> None:
    assert parse_yaml("a: 5e-6\nb: 1e5\nc: 3\nd: '5e-6'\ne: 2020-01-01") == {
        "a": 5e-6,
        "b": 1e5,
        "c": 3,
        "d": "5e-6",
        "e": "2020-01-01",
    }


def test_settings() -> None:
    given = ["learning_rate=1e-6", "bf16=true", "eval_strategy=no", "a= x=y ", "n=null", "l=[1, 2]"]
    wanted = {"learning_rate": 1e-6, "bf16": True, "eval_strategy": "no", "a": "x=y", "n": None, "l": [1, 2]}
    assert parse_settings(given) == wanted


@pytest.mark.parametrize("setting", ["learning_rate", "=3", "a=[1", ""])
def test_bad_settings(setting: str) -> None:
    with pytest.raises(UsageError):
        parse_settings([setting])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2", "twice"),
        ("a: [1", "line"),
        ("- a", "key: value"),
        ("", "key: value"),
        ("a: !!python/object:x.y 1", "YAML"),
    ],
)
def test_bad_configs(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "配置.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=words):
        load_config(path)


def test_an_edited_config_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "configs" / "dpo_config.yaml"
    text = render(load_recipe("dpo"), {"stage": "dpo"}, ["one"])
    other = render(load_recipe("dpo"), {"stage": "rm"}, ["two"])
    assert not was_edited(path)
    write_config(path, text)
    assert not was_edited(path)
    write_config(path, other)  # nobody touched it
    path.write_text(other.replace("stage: rm", "stage: kto"), encoding="utf-8")
    assert was_edited(path)
    with pytest.raises(UsageError):
        write_config(path, text)
    assert "stage: kto" in path.read_text(encoding="utf-8")
    backup = write_config(path, text, force=True)
    assert backup is not None
    assert "stage: kto" in backup.read_text(encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text
    path.write_text("stage: orpo\n", encoding="utf-8")
    later = write_config(path, text, force=True)
    assert later is not None and later != backup, "an earlier backup stays"


def test_what_a_new_render_changes_is_named(tmp_path: Path) -> None:
    path = tmp_path / "dpo_config.yaml"
    assert changed_values(path, {"stage": "dpo"}) == []
    write_config(path, render(load_recipe("dpo"), {"stage": "dpo", "pref_beta": 0.2, "seed": 1}, []))
    assert changed_values(path, {"stage": "dpo", "pref_beta": 0.1, "bf16": True}) == [
        "pref_beta: 0.2 -> 0.1",
        "seed: 1 -> (none)",
        "bf16: (none) -> true",
    ]


def comment(method: str, key: str, value: object) -> str:
    """The comment above a key in a rendered config of a method."""
    lines = render(load_recipe(method), {key: value}, []).splitlines()
    return " ".join(line.removeprefix("# ") for line in lines[1:-1] if line.startswith("# "))


def test_a_range_does_not_contradict_a_computed_value() -> None:
    assert "Sensible range: 50 to 500" in comment("dpo", "save_steps", 200)
    assert "range" not in comment("dpo", "save_steps", 2)
    assert "Sensible range" in comment("dpo", "learning_rate", 1.0), "what a person sets is measured by it"


def test_choices_are_not_called_a_range() -> None:
    assert "Choices: sigmoid, hinge, ipo." in comment("dpo", "pref_loss", "ipo")
    assert "sigmoid" not in comment("simpo", "pref_loss", "simpo")
    assert "Choices" in comment("dpo", "eval_strategy", "no")
    for name, entry in hyperparameters().items():
        assert not (entry.choices and "Sensible range" in comment("dpo", name, entry.choices[0])), name


def test_a_key_that_means_something_else_is_explained_so() -> None:
    for method in ("simpo", "orpo"):
        text = comment(method, "pref_beta", load_recipe(method).defaults["pref_beta"])
        assert "no reference" in text and "kept close to the reference" not in text
