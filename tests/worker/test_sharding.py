"""What the worker puts into the environment of accelerate, of a config that transformers does not read whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlguide.recipes.sharing.ways import FSDP, sharing_keys
from tests.worker.conftest import worker_module

variables = worker_module("sharding").variables
ASKED = sharing_keys(FSDP)["fsdp_config"]
FOUND = {"FSDP_VERSION": "2", "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT", "FSDP_RESHARD_AFTER_FORWARD": "true"}


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        (ASKED, FOUND),
        (json.dumps(ASKED), FOUND),
        ({f"fsdp_{key}": value for key, value in ASKED.items()}, FOUND),
        ({"version": 1, "min_num_params": 100}, {"FSDP_VERSION": "1"}),
        (None, {}),
    ],
)
def test_what_accelerate_is_told(settings: Any, found: dict[str, str]) -> None:
    assert variables(settings) == found


def test_of_a_file_too(tmp_path: Path) -> None:
    (tmp_path / "fsdp.json").write_text(json.dumps(ASKED), encoding="utf-8")
    assert variables(str(tmp_path / "fsdp.json")) == FOUND
