"""What a training does in less memory and time: before it, by its config, and after it, by its record."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.catalog.methods import methods
from rlguide.recipes.lean import PARTS, describe, left_out, outcome

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("method", "config", "parts"),
    [
        ("dpo", {}, []),
        ("kto", {}, []),
        ("orpo", {}, ["reference"]),
        ("rm", {}, ["reference"]),
        ("dpo", {"disable_gradient_checkpointing": True}, ["checkpointing"]),
        ("dpo", {"neftune_noise_alpha": 5.0}, ["reference"]),
        ("sft", {"label_smoothing_factor": 0.1}, ["reference", "logits"]),
        ("dpo", {"label_smoothing_factor": 0.1}, []),
        ("dpo", {"deepspeed": "z2.json"}, list(PARTS)),
        ("ppo", {}, list(PARTS)),
    ],
)
def test_what_a_config_cannot_have_is_known_before(method: str, config: dict[str, Any], parts: list[str]) -> None:
    without = left_out(methods()[method], config)
    assert list(without) == parts
    said = describe(without)
    assert all((text in said) == (part not in parts) for part, text in PARTS.items())
    assert all(why in said for why in without.values())


def test_the_outcome_says_what_was_saved() -> None:
    told = {"used": ["reference", "logits"], "why_not": {"checkpointing": "it needs 60 GiB"}}
    said = outcome({**told, "computed": 48, "looked_up": 96, "logits_bytes": 2.5 * 2**30})
    assert said == "saved: the reference's pass for 96 of 144 examples (checkpointing: it needs 60 GiB)"
    assert "logits of 2.5 GiB a copy" in outcome({**told, "logits_bytes": 2684354560})
    assert outcome({"used": [], "why_not": {}}) == "saved: nothing"
    assert outcome({"used": [], "why_not": dict.fromkeys(PARTS, "FSDP")}) == "saved: nothing (FSDP)"  # once for all


@given(st.dictionaries(st.sampled_from(["used", "why_not", "computed", "looked_up", "logits_bytes"]), JSON))
def test_any_record_is_survived(values: dict[str, Any]) -> None:
    assert isinstance(outcome(json.loads(json.dumps(values))), str)
