"""What to change, as a line to paste."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from rlguide.policy.run_state import replay_command
from rlguide.runs.diagnosis.logs import number

# Of transformers 4.57 and LLaMA-Factory 0.9.5.
_DEFAULTS = {"learning_rate": 5e-5, "num_train_epochs": 3.0, "cutoff_len": 2048.0}
_WHOLE = ("cutoff_len", "max_steps")
_MAY_BE_NOTHING = ("warmup_steps", "fp16")


def values_of(config: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as values, without those that the run had: {times: N} is N times what it had."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if key == "num_train_epochs" and number(config.get("max_steps")) > 0:  # which counts instead
            key = "max_steps"
        if isinstance(value, Mapping):
            product = number(config.get(key), _DEFAULTS.get(key, 0.0)) * value["times"]
            value = round(product) if key in _WHOLE else float(f"{product:.3g}")
        if value != config.get(key) and (value or key in _MAY_BE_NOTHING):
            found[key] = value
    return found


def try_command(run: Any, settings: Mapping[str, Any]) -> str:
    """The line that trains a run again with other settings; "" where there are none, or the run has no name."""
    if not isinstance(run, str) or not run or not settings:
        return ""
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={_text(value)}")]
    return f"{replay_command(run)} {shlex.join(words)}"


def commands_of(config: Mapping[str, Any]) -> dict[str, str]:
    """Commands that the words of a rule may name: `inspect` its data, `eval` the run."""
    datasets, run = str(config.get("dataset") or ""), config.get("output_dir")
    first = datasets.split(",")[0].strip()
    for view in ("_kto", "_sft", "_ppo"):  # the same rows as another stage sees them (`data.ingest.views`)
        first = first.removesuffix(view)
    inspect = f"`rlguide inspect {shlex.quote(first)}`" if first else "`rlguide list`"
    evaluate = f"`rlguide eval {shlex.quote(run)}`" if isinstance(run, str) and run else "`rlguide eval`"
    return {"inspect": inspect, "eval": evaluate}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
