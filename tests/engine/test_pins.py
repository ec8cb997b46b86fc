"""Pins, as the metadata of a distribution writes them."""

from __future__ import annotations

import importlib.metadata

import pytest

from rlguide.engine.pins import read_pins, read_pins_with_extras


def test_pins_are_read_with_the_extras_that_are_wanted_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "typer>=0.16",
        "torch==2.11.0; extra == 'engine'",
        "matplotlib>=3.9; extra == 'engine'",
        "lm-eval[hf,ifeval]==0.4.13; extra == 'eval'",
    ]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: lines)
    assert read_pins() == {"torch": "2.11.0"}
    assert read_pins("engine", "eval") == {"torch": "2.11.0", "lm_eval": "0.4.13"}
    assert read_pins_with_extras("eval") == {"lm_eval[hf,ifeval]": "0.4.13"}
