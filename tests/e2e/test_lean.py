"""Less memory and time, the same bytes: every loss, and every way of tuning, against the engine alone."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rlguide.engine.find import Engine
from rlguide.engine.worker import engine_environment

pytestmark = pytest.mark.engine
SCRIPT = Path(__file__).resolve().parents[2] / "scripts/measure_same_bytes.py"
ALL = ["reference", "logits", "checkpointing"]
NO_REFERENCE = ["logits", "checkpointing"]
# What each case must use. They end with the engine's bytes, but for those whose head is trained: its gradient is a sum
# over all tokens, and over chunks it is rounded in another order.
TRAINED_HEAD = {"lora_on_head": 1e-5, "full": 1e-5}
USED: dict[str, list[str]] = {
    **dict.fromkeys(("sigmoid", "options", "hinge", "ipo", "kto", "ref_model", "lora_on_head", "dora", "full"), ALL),
    **dict.fromkeys(("batch", "batch_kto", "bf16", "qlora"), ALL),
    **dict.fromkeys(("orpo", "simpo", "rm", "sft", "sft_accuracy", "neftune"), NO_REFERENCE),
    # Their losses take all logits, or their optimizer would enlarge how the gradient of the head is rounded.
    "sft_smooth": ["checkpointing"],
    "sft_eaft": ["checkpointing"],
    "full_muon": ["reference", "checkpointing"],
}


@pytest.fixture(scope="module")
def measured(engine: Engine) -> dict[str, dict[str, Any]]:
    """All cases of the script, by name."""
    cases = [item for case in USED for item in ("--case", case)]
    command = [str(engine.python), str(SCRIPT), "--json", *cases]
    done = subprocess.run(command, env=engine_environment(engine), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return {row["case"]: row for row in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("case", USED)
def test_the_same_bytes_as_the_engine(measured: dict[str, dict[str, Any]], case: str) -> None:
    found = measured[case]
    assert "fails" not in found, found
    assert found["same"] or found["difference"] < TRAINED_HEAD.get(case, 0), found
    assert found["used"] == USED[case], found
    metric = found["numbers"].pop("logits", 0)  # a mean of all logits, computed as the logits of the mean
    assert metric < 1e-3
    assert max(found["numbers"].values()) <= TRAINED_HEAD.get(case, 0), found
    assert ("reference" in USED[case]) == bool(found.get("looked_up")), found
