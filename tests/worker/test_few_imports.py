"""What the start of a process of the engine is spared, and that whoever needs it has it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.engine
WORKER = Path(__file__).parents[2] / "rlguide_worker"
# A layer of float weights and one of bitsandbytes, which PEFT wraps in classes of their own.
_WRAP = """
import json, sys
sys.path.insert(0, sys.argv[1])
import few_imports
few_imports.leave_out_most()
import torch
from peft import LoraConfig, get_peft_model
from trl.trainer import callbacks
few_imports.spare_bitsandbytes()

def wrapped(layer, is_quantized=False):
    base = torch.nn.Sequential(layer)
    base.is_loaded_in_4bit = is_quantized  # as transformers says it
    return type(get_peft_model(base, LoraConfig(target_modules=["0"])).base_model.model[0]).__name__

told = {"plain": wrapped(torch.nn.Linear(8, 8)), "openai": bool(sys.modules.get("openai"))}
told["bitsandbytes"] = "bitsandbytes" in sys.modules
import bitsandbytes
told["quantized"] = wrapped(bitsandbytes.nn.Linear4bit(8, 8), True)
few_imports.bring_back()
import openai, sklearn
print(json.dumps(told))
"""


def test_bitsandbytes_is_imported_for_a_quantized_model_only() -> None:
    command = [sys.executable, "-c", _WRAP, str(WORKER)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert told == {"plain": "Linear", "openai": False, "bitsandbytes": False, "quantized": "Linear4bit"}
