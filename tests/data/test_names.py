"""The names of what belongs to a dataset lead back to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.data.names import (
    heldout_name,
    is_heldout,
    is_view_name,
    parent_name,
    safe_name,
    view_name,
    viewed_name,
)

NAMES = st.text(max_size=40).map(safe_name)


@given(NAMES, st.sampled_from(["kto", "sft", "ppo"]))
def test_every_name_leads_back(name: str, use: str) -> None:
    assert parent_name(heldout_name(name)) == name
    assert viewed_name(view_name(name, use), use) == name
    assert is_heldout(heldout_name(name), {name}) and is_view_name(view_name(name, use), use, {name})
    assert not is_heldout(heldout_name(name), {heldout_name(name)}), "its parent is not there"
    assert not is_view_name(view_name(name, use), use, set())


@pytest.mark.parametrize("name", ["test", "contest", "a_test_b", "kto", "a_kto_b", ""])
def test_a_name_that_only_looks_alike_is_its_own(name: str) -> None:
    assert parent_name(name) == name == viewed_name(name, "kto")
    assert not is_heldout(name, {name}) and not is_view_name(name, "kto", {name})
