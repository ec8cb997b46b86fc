from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from rlguide.catalog.methods import method_choices
from rlguide.engine.capabilities import abilities, applies, can, ppo_template, release, summary

METHODS = method_choices()
MAIN = {"llamafactory": "0.9.5", "trl": "0.19.1", "torch": "2.11.0"}
PPO = {"llamafactory": "0.9.3", "trl": "0.9.6", "torch": "2.11.0"}
VERSIONS = st.fixed_dictionaries(
    {
        "llamafactory": st.sampled_from(["0.9.2", "0.9.3", "0.9.4", "0.9.5", "0.9.6.dev0"]),
        "trl": st.sampled_from(["0.8.6", "0.9.6", "0.12.0", "0.18.0", "0.19.1", "0.20.0", "0.24.0", "1.0.0"]),
    }
)


def test_the_pinned_engine_trains_all_but_ppo() -> None:
    assert [item.method for item in abilities(MAIN, METHODS) if item.limitation] == ["ppo"]
    limitation = can(MAIN, "ppo")
    assert limitation is not None and limitation.engine == "ppo" and limitation.fix == "rlguide engine install ppo"
    assert not limitation.is_silent


def test_the_engine_for_ppo_trains_all() -> None:
    assert [item for item in abilities(PPO, METHODS) if item.limitation] == []
    assert summary(PPO, METHODS) == "dpo (sigmoid, hinge, ipo), kto, orpo, simpo, rm, ppo, sft"


@pytest.mark.parametrize("trl", ["0.20.0", "0.24.0", "1.0"])
def test_a_newer_trl_trains_another_loss_silently(trl: str) -> None:
    versions = {**MAIN, "trl": trl}
    for loss in ("hinge", "ipo", "kto_pair"):
        limitation = can(versions, "dpo", loss)
        assert limitation is not None and limitation.is_silent and loss in limitation.what and trl in limitation.what
    for method, loss in (("dpo", None), ("dpo", "sigmoid"), ("kto", None), ("orpo", None), ("rm", None)):
        assert can(versions, method, loss) is None


@pytest.mark.parametrize(
    ("llamafactory", "trl", "words"), [("0.9.5", "0.9.6", "prepare_deepspeed"), ("0.9.3", "0.19.1", "0.9.6 at most")]
)
def test_halves_that_do_not_fit_train_nothing(llamafactory: str, trl: str, words: str) -> None:
    versions = {"llamafactory": llamafactory, "trl": trl}
    assert summary(versions, METHODS) == "nothing"
    limitation = can(versions, "kto")
    assert limitation is not None and words in limitation.what


def test_kto_pair_is_gone_everywhere() -> None:
    for versions in (MAIN, PPO):
        limitation = can(versions, "dpo", "kto_pair")
        assert limitation is not None and not limitation.is_silent and "--method kto" in limitation.fix


@given(VERSIONS, st.sampled_from(sorted(METHODS)), st.sampled_from([None, "sigmoid", "hinge", "ipo", "kto_pair"]))
def test_every_lack_says_what_to_do_and_where_it_is_from(
    versions: dict[str, str], method: str, loss: str | None
) -> None:
    limitation = can(versions, method, loss)
    if limitation is not None:
        assert limitation.what and limitation.fix and limitation.source
        assert "{" not in limitation.what and "(missing)" not in limitation.what
        assert not (limitation.is_silent and loss in (None, "sigmoid"))


@given(VERSIONS)
def test_the_summary_says_what_can_says(versions: dict[str, str]) -> None:
    said = summary(versions, METHODS)
    for method in METHODS:
        assert (method in said.replace("(", " ").replace(",", " ").split()) == (can(versions, method) is None)


def test_the_template_of_an_older_engine() -> None:
    assert ppo_template(PPO, "qwen3_nothink") == "qwen3"
    assert ppo_template(MAIN, "qwen3_nothink") == "qwen3_nothink"
    assert ppo_template(PPO, "llama3") == "llama3"


@pytest.mark.parametrize(
    ("version", "wanted", "holds"),
    [
        ("0.9.6.dev0", ">=0.9.4", True),
        ("0.9.6.dev0", ">0.9.5", True),
        ("5.0.0rc1", ">=5", True),
        ("2.11.0+cpu", "<=2.11.0", True),
        ("0.20.0.dev0", ">=0.20", True),  # the main branch before 0.20 has what 0.20 has
        ("0.24.0-my patched build", ">=0.20", True),
        ("1!0.9", ">=1", True),
        ("unknown", ">=0.0.1", False),
        ("", "<0.18", True),
    ],
)
def test_a_version_counts_as_its_release(version: str, wanted: str, holds: bool) -> None:
    assert applies({"trl": wanted}, {"trl": version}) is holds


@given(st.text(max_size=12))
def test_no_version_is_a_traceback(text: str) -> None:
    assert isinstance(release(text), Version)
    can({"llamafactory": text, "trl": text}, "dpo", "ipo")


def test_the_fix_names_the_engines_own_pip() -> None:
    limitation = can({**MAIN, "trl": "0.24.0"}, "dpo", "ipo", Path("/opt/my engine/bin/python"))
    assert limitation is not None
    assert limitation.fix == "'/opt/my engine/bin/python' -m pip install trl==0.19.1"


def test_transformers_5_beside_trl_0_19_trains_nothing() -> None:
    assert summary({**MAIN, "transformers": "5.0.0"}, METHODS) == "nothing"
    assert summary({**MAIN, "transformers": "4.57.6"}, METHODS) == summary(MAIN, METHODS)
