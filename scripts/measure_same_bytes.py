"""Measure that a training of rlguide ends with the bytes of the engine's own: `rlguide_worker/lean.py` against none.

    python scripts/measure_same_bytes.py                    all cases, about a minute
    python scripts/measure_same_bytes.py --case ipo --json

Run it with the engine's Python, on Linux. A tiny model is trained for two epochs of six examples by the engine
alone and with `lean.install`, on the same data and seed. It prints for each case:

    same          whether the weights are the same bytes
    difference    the largest difference of a weight
    numbers       the largest difference of logged numbers, by the part of their names before "/", relative to 1 or more
    used          what was done otherwise; `why_not`: why the rest was not
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import multiprocessing
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]

from measure_ignored_keys import config_of, import_what_is_needed, quiet, workspace  # noqa: E402

# Two epochs of six examples, one at a time, with an evaluation in each epoch.
COMMON: dict[str, Any] = {
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "gradient_accumulation_steps": 2,
    "max_samples": 6,
    "max_steps": 6,
    "eval_steps": 3,
    "cutoff_len": 96,
}
# Logits of 32 tokens of the tiny model's vocabulary: several chunks for most examples, and one for the shortest.
CHUNK_BYTES = 32 * 4 * 300
# Name: the method, what the config has beside COMMON.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "sigmoid": ("dpo", {}),
    "options": ("dpo", {"pref_ftx": 0.5, "ld_alpha": 0.3, "dpo_label_smoothing": 0.2, "pref_bco_weight": 0.5}),
    "hinge": ("dpo", {"pref_loss": "hinge"}),
    "ipo": ("dpo", {"pref_loss": "ipo", "ld_alpha": 0.3}),
    "kto": ("kto", {"pref_ftx": 0.5}),
    "orpo": ("orpo", {"ld_alpha": 0.3}),
    "simpo": ("simpo", {"pref_ftx": 0.5}),
    "rm": ("rm", {}),
    "sft": ("sft", {}),
    "sft_dft": ("sft", {"use_dft_loss": True}),
    "sft_smooth": ("sft", {"label_smoothing_factor": 0.2}),
    "sft_eaft": ("sft", {"use_eaft_loss": True}),
    "sft_accuracy": ("sft", {"compute_accuracy": True}),
    "ref_model": ("dpo", {"ref_model": "other"}),
    "lora_on_head": ("dpo", {"lora_target": "q_proj,lm_head"}),
    "dora": ("dpo", {"use_dora": True}),
    "neftune": ("dpo", {"neftune_noise_alpha": 5.0}),
    "full": ("dpo", {"finetuning_type": "full", "ref_model": "model"}),
    "full_muon": ("dpo", {"finetuning_type": "full", "ref_model": "model", "use_muon": True}),
    "freeze": ("dpo", {"finetuning_type": "freeze", "freeze_trainable_layers": 1, "ref_model": "model"}),
    "batch": ("dpo", {"per_device_train_batch_size": 3}),
    "batch_kto": ("kto", {"per_device_train_batch_size": 3}),
    "batch_sft": ("sft", {"per_device_train_batch_size": 3}),
    "bf16": ("dpo", {"bf16": True}),
    # Without evaluation: after the first one bitsandbytes uses another kernel on a CPU, for the reference too.
    "qlora": ("dpo", {"quantization_bit": 4, "quantization_method": "bnb", "eval_strategy": "no", "eval_steps": None}),
    "qlora_evaluated": ("dpo", {"quantization_bit": 4, "quantization_method": "bnb"}),
}


class Told:
    """The events of one run."""

    def __init__(self) -> None:
        self.last: dict[str, Any] = {}

    def write(self, event: str, **values: Any) -> None:
        """Keep the last one."""
        self.last = values


def run(task: tuple[dict[str, Any], str]) -> tuple[dict[str, Any], list[dict[str, float]], dict[str, Any]]:
    """Train in a fresh folder; returns weights by name, the log, and what `lean` told. `stage` "": by the engine."""
    config, stage = task
    from llamafactory.train.tuner import run_exp
    from safetensors.torch import load_file

    told = Told()
    if stage:
        import lazy_logits
        import lean

        lazy_logits.CHUNK_BYTES = CHUNK_BYTES
        told.last["why_not"] = lean.install(stage, told)
    with tempfile.TemporaryDirectory(dir=".") as out, quiet():
        run_exp(args={**config, "output_dir": out})
        weights = {
            key: value.numpy() if value.dtype.itemsize > 2 else value.float().numpy()
            for path in sorted(Path(out).glob("*.safetensors"))
            for key, value in load_file(path).items()
        }
        log = json.loads((Path(out) / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    return weights, log, told.last


def attempt(task: Any) -> Any:
    """As `run`, with an exception as text."""
    try:
        return run(task)
    except Exception as error:  # whatever the engine raises is the finding
        import traceback

        return f"{type(error).__name__}: {error}\n{traceback.format_exc()[-1500:]}"


def compare(name: str, pool: Any) -> dict[str, Any]:
    """Train a case both ways and compare."""
    method, beside = CASES[name]
    config = {**config_of(method), **COMMON, **beside}
    stage = config["stage"]
    found: dict[str, Any] = {"case": name}
    tasks = ((config, ""), (config, stage))
    results = [pool.apply(attempt, (task,)) for task in tasks]
    for result in results:
        if isinstance(result, str):
            return {**found, "fails": result}
    (plain, log, _), (weights, other_log, told) = results
    return {
        **found,
        **told,
        "same": all(plain[key].tobytes() == weights[key].tobytes() for key in plain),
        "difference": max(float(abs(plain[key] - weights[key]).max()) for key in plain),
        "numbers": largest_difference(log, other_log),
    }


def largest_difference(log: list[dict[str, float]], other: list[dict[str, float]]) -> dict[str, float]:
    """By the part of a logged number's name before "/": the largest difference, relative to 1 or to the number."""
    found: dict[str, float] = {}
    for row, other_row in zip(log, other, strict=True):
        assert row.keys() == other_row.keys(), (row, other_row)
        for key, value in row.items():
            if key.endswith(("runtime", "per_second")):
                continue
            difference = abs(value - other_row[key]) / max(1, abs(value))
            group = key.removeprefix("eval_").partition("/")[0]
            found[group] = max(found.get(group, 0), math.inf if math.isnan(difference) else difference)
    return found


def main() -> None:
    """Compare what was asked for."""
    parser = argparse.ArgumentParser(description="Compare trainings of rlguide and of the engine, byte by byte.")
    parser.add_argument("--case", action="append", choices=list(CASES), help="only these (repeat)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "rlguide_worker"))
    with workspace():
        import_what_is_needed({**config_of("dpo"), **COMMON})
        gc.freeze()  # no run looks for garbage in all that was imported, at each of its evaluations
        with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
            for name in options.case or CASES:
                found = compare(name, pool)
                print(json.dumps(found) if options.json else found, flush=True)


if __name__ == "__main__":
    main()
