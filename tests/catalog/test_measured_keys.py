"""What is refused and said of a key agrees with what was measured (`scripts/measure_ignored_keys.py`)."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rlguide.catalog.engine_keys import Rule, engine_keys
from rlguide.catalog.methods import method_of, methods
from rlguide.errors import RlguideError
from rlguide.recipes.checks import check_method
from rlguide.recipes.foreseen import check_foreseen

SCRIPT = Path(__file__).parents[2] / "scripts/measure_ignored_keys.py"
FILES = ("measured_keys.json", "measured_keys_ppo.json")  # PPO has an engine of its own
MEASURED = [json.loads(Path(__file__).with_name(name).read_text(encoding="utf-8")) for name in FILES]
EFFECTS: dict[str, dict[str, str]] = {name: found for file in MEASURED for name, found in file["effects"].items()}
VERSIONS: dict[str, dict[str, str]] = {name: file["engine"] for file in MEASURED for name in file["effects"]}


def load_script() -> ModuleType:
    """The script as a module; it imports the engine only when it measures."""
    spec = importlib.util.spec_from_file_location("measure_ignored_keys", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = load_script()
CASES = script.cases(list(script.VALUES))


def told(config: Mapping[str, Any], name: str, key: str) -> str:
    """What rlguide does about a key of a config before the start: "refused", "said" or "nothing"."""
    try:
        method = check_method(config, VERSIONS[name], "it")
        notes = check_foreseen(config, method, VERSIONS[name], "it")
    except RlguideError:
        return "refused"
    return "said" if any(note.startswith(f"{key} ") for note in notes) else "nothing"


def is_other(name: str, key: str) -> bool:
    """Whether a rule says that the key does something else than its name says."""
    rules = [rule for rule in engine_keys().rules if rule.does == "other" and key in rule.keys]
    return any(not rule.methods or name in rule.methods for rule in rules)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", [name for name in EFFECTS if name in methods()])
def test_a_key_is_refused_or_said_where_it_was_measured_to_do_nothing_and_only_there(name: str, case: str) -> None:
    without, setting = CASES[case]
    key, effect = case.split(" ")[0], EFFECTS[name][case]
    config = {**script.config_of(name), **setting}
    if name == "ppo" and key in (
        "reward_model",
        "reward_model_type",
    ):  # there the script has only a reward model on LoRA
        return
    if "share memory" in effect:  # of the tiny model, whose embeddings are tied
        return
    if effect == "unknown" or method_of(config) is not methods()[name]:  # pref_loss can make it another method
        return
    found = told(config, name, key)
    if effect == "nothing":
        assert found in ("refused", "said")
    elif effect.startswith("fails"):
        assert found == "refused"
    else:
        assert found == ("said" if is_other(name, key) else "nothing")
    if found == "said":  # and it is the key that is said, not what both runs have
        rest = {**script.config_of(name), **without}
        rest.pop(key, None)
        assert told(rest, name, key) == "nothing"


def test_all_cases_were_measured_with_all_methods() -> None:
    assert set(methods()) <= set(EFFECTS)
    for name in methods():
        assert list(EFFECTS[name]) == list(CASES)


@pytest.mark.parametrize(
    "key", ["label_smoothing_factor", "use_dft_loss", "packing", "train_on_prompt", "lora_dropout"]
)
def test_what_others_ignore_was_seen_to_have_an_effect_in_sft(key: str) -> None:
    """So "nothing" is not what any key comes to."""
    assert EFFECTS["sft"][key] == "weights"


@pytest.mark.parametrize("rule", engine_keys().rules, ids=lambda rule: "-".join(rule.keys))
def test_what_is_said_to_be_measured_was(rule: Rule) -> None:
    if "byte for byte" in rule.source:
        assert set(rule.keys) <= set(script.VALUES)


@pytest.mark.engine
def test_the_script_tells_a_key_that_is_read_from_one_that_is_not(tmp_path: Path) -> None:
    """Measured anew: DPO reads pref_beta, and not lora_dropout."""
    keys = ("pref_beta", "lora_dropout", "group_by_length")
    options = [word for key in keys for word in ("--key", key)]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--method", "dpo", *options, "--write", str(tmp_path / "found.json")],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    effects = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["effects"]["dpo"]
    assert effects["pref_beta"] == "weights"
    assert effects["lora_dropout"] == "nothing"
    assert effects["group_by_length"].startswith("fails: ValueError")
    assert effects == {case: EFFECTS["dpo"][case] for case in effects}
