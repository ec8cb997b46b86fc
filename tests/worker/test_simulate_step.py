"""A simulated step holds, byte for byte, what a step of the real engine holds, and does the same work."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from rlguide.planner.simulation import Case, Step, _step_of

pytestmark = pytest.mark.engine

WORKER = Path(__file__).parents[2] / "rlguide_worker" / "simulate_step.py"
SIZES = {"max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "hidden_size": 64, "intermediate_size": 192,
         "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1000,
         "bos_token_id": 0, "eos_token_id": 2}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "qwen3": {"model_type": "qwen3", "head_dim": 32, "tie_word_embeddings": True},
    "llama": {"model_type": "llama", "tie_word_embeddings": False},
    "smollm2": {"model_type": "llama", "tie_word_embeddings": True, "num_attention_heads": 3, "num_key_value_heads": 1,
                "hidden_size": 48},
    "mistral": {"model_type": "mistral", "sliding_window": None, "tie_word_embeddings": False},
    "gemma": {"model_type": "gemma", "head_dim": 32, "tie_word_embeddings": True},
    "gemma2": {"model_type": "gemma2", "head_dim": 32, "tie_word_embeddings": True, "sliding_window": 32},
    "qwen3_moe": {"model_type": "qwen3_moe", "head_dim": 32, "num_experts": 2, "num_experts_per_tok": 2,
                  "moe_intermediate_size": 96, "decoder_sparse_step": 1, "mlp_only_layers": [], "norm_topk_prob": True},
}  # fmt: skip
LORA = {"stage": "dpo", "finetuning_type": "lora", "lora_rank": 4, "lora_target": "all", "cutoff_len": 512,
        "per_device_train_batch_size": 1, "gradient_accumulation_steps": 2}  # fmt: skip
PAIR, TWO, TWO_PAIRS = ((24, 40, 32),), ((24, 40), (16, 40)), ((24, 40, 32), (24, 30, 30))
FULL = {"finetuning_type": "full", "ref_model": "of the same shapes"}


def case(
    family: str, is_plain: bool, is_on: bool, lengths: Sequence[Sequence[int]] = PAIR, layers: int = 4, **keys: Any
) -> Case:
    model = {**SIZES, **FAMILIES[family], "num_hidden_layers": layers}
    config = {**LORA, "per_device_train_batch_size": len(lengths), **keys}
    return Case(config, model, tuple(map(tuple, lengths)), is_plain, is_on)


LEAN, PLAIN, ON, OFF = False, True, True, False
CASES = {
    "DPO as in the engine": case("qwen3", PLAIN, ON),
    "DPO as in the engine without checkpointing": case("qwen3", PLAIN, OFF),
    "DPO": case("qwen3", LEAN, ON),
    "DPO without checkpointing": case("qwen3", LEAN, OFF),
    "DPO in 16 bits": case("llama", LEAN, ON, bf16=True),
    "DPO of two pairs at a time": case("smollm2", LEAN, ON, TWO_PAIRS),
    "DPO without accumulation": case("smollm2", LEAN, OFF, gradient_accumulation_steps=1),
    "KTO": case("mistral", LEAN, ON, TWO, stage="kto"),
    "KTO as in the engine": case("mistral", PLAIN, ON, TWO, stage="kto"),
    "ORPO": case("gemma", LEAN, OFF, pref_loss="orpo"),
    "SimPO": case("gemma2", LEAN, ON, pref_loss="simpo"),
    "reward model": case("llama", LEAN, ON, stage="rm"),
    "reward model as in the engine": case("llama", PLAIN, OFF, stage="rm"),
    "SFT without padding": case("qwen3", LEAN, OFF, ((24, 40),), stage="sft"),
    "SFT with padding, as in the engine": case("qwen3", PLAIN, ON, TWO, stage="sft"),
    "full tuning": case("llama", LEAN, ON, **FULL),
    "full tuning as in the engine, in 16 bits": case("llama", PLAIN, ON, bf16=True, **FULL),
    "freeze": case("llama", LEAN, ON, **FULL | {"finetuning_type": "freeze", "freeze_trainable_layers": 2}),
    "DoRA": case("qwen3", LEAN, ON, use_dora=True),
    "experts": case("qwen3_moe", LEAN, ON, ((40, 160, 150),)),
    "4 bits": case("qwen3", LEAN, OFF, quantization_bit=4, bf16=True),
    "8 bits, as in the engine": case("qwen3", PLAIN, ON, quantization_bit=8, bf16=True),
}
DEPTH = 7
DEEP = {
    "plain": case("qwen3", PLAIN, ON, layers=DEPTH),
    "lean": case("llama", LEAN, ON, layers=DEPTH),
    "without checkpointing": case("gemma2", LEAN, OFF, layers=DEPTH),
    "full": case("mistral", LEAN, ON, layers=DEPTH, **FULL),
}


def answers(script: Path, cases: Sequence[Mapping[str, Any]]) -> list[Any]:
    given = "".join(json.dumps(case) + "\n" for case in cases)
    done = subprocess.run([sys.executable, script], input=given, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def both() -> dict[str, tuple[Any, Any]]:
    given = [case.given(4) for case in CASES.values()]
    simulated, real = (answers(script, given) for script in (WORKER, Path(__file__).with_name("real_step.py")))
    return dict(zip(CASES, zip(simulated, real, strict=True), strict=True))


def peak(answer: Any) -> int:
    assert "error" not in answer, answer
    return max(sum(kinds.values()) for kinds in answer["peaks"].values())


@pytest.mark.parametrize("name", CASES)
def test_a_simulated_step_is_the_real_one_to_the_byte(both: dict[str, tuple[Any, Any]], name: str) -> None:
    simulated, real = both[name]
    assert peak(simulated) == peak(real)
    for figure in ("parameters", "trained", "optimizer"):
        assert simulated[figure] == real[figure]
    for part, done in real["done"].items():
        for work in ("flops", "attention"):
            assert simulated["done"][part][work] == pytest.approx(done[work], rel=1e-9)
    assert simulated["peaks"].keys() == real["peaks"].keys()


def test_layers_extend_to_what_all_of_them_hold() -> None:
    counts = [(2, 3) if name != "without checkpointing" else (4, 6) for name in DEEP]  # gemma2 alternates
    few = [case.given(count) for case, pair in zip(DEEP.values(), counts, strict=True) for count in pair]
    found = answers(WORKER, [*few, *(case.given(DEPTH) for case in DEEP.values())])
    for place, (case, pair) in enumerate(zip(DEEP.values(), counts, strict=True)):
        extended = _step_of(case, pair, found[2 * place : 2 * place + 2])
        whole = _step_of(case, (DEPTH,), found[2 * len(DEEP) + place : 2 * len(DEEP) + place + 1])
        assert isinstance(extended, Step) and isinstance(whole, Step)
        assert extended.kinds == whole.kinds
        assert (extended.parameters, extended.trained) == (whole.parameters, whole.trained)
        assert extended.backward.flops == pytest.approx(whole.backward.flops)


def test_what_exists_on_a_gpu_only_is_simulated_by_what_it_keeps() -> None:
    full = {**FULL, "bf16": True}
    names = ("adamw_8bit", "lion_8bit", "paged_adamw_8bit", "paged_adamw_32bit")
    changes = [{}, {"enable_liger_kernel": True}, *({"optim": name} for name in names)]
    cases = [case("llama", LEAN, OFF, **full, **change) for change in changes]
    plain, liger, eight, lion, *paged = answers(WORKER, [case.given(4) for case in cases])
    assert peak(liger) < peak(plain)
    assert {part: done["flops"] for part, done in liger["done"].items()} == {
        part: done["flops"] for part, done in plain["done"].items()
    }
    states = plain["trained"] * 4  # bytes of one in float32
    assert plain["optimizer"] == pytest.approx(2 * states, rel=0.01)
    small = 4 * 2 * 2048 + 9 * 64  # keys, values and norms have less than 4,096 parameters each: in 32 bits
    eighths = (plain["trained"] - small) * 2 * (1 + 4 / 256)
    assert eight["optimizer"] == pytest.approx(eighths + small * 2 * 4, rel=0.05)
    assert lion["optimizer"] == pytest.approx(eight["optimizer"] / 2, rel=0.01)
    assert [answer["optimizer"] for answer in paged] == [0, 0]


def test_what_cannot_be_simulated_says_why_and_the_others_go_on() -> None:
    wrong = case("qwen3", LEAN, ON).given(2)
    wrong["model"] = {**wrong["model"], "model_type": "no such family"}
    (said, other) = answers(WORKER, [wrong, case("qwen3", LEAN, ON).given(2)])
    assert "no such family" in said["error"] and peak(other) > 0


@pytest.mark.parametrize("bits", [4, 8])
def test_a_quantized_base_is_multiplied_with_as_often(bits: int) -> None:
    """The products are those of a base in 16 bits; only what is read of the weights differs."""
    cases = [case("llama", LEAN, ON, bf16=True), case("llama", LEAN, ON, bf16=True, quantization_bit=bits)]
    plain, quantized = answers(WORKER, [each.given(2) for each in cases])
    assert quantized["done"].keys() == plain["done"].keys()
    for part, done in plain["done"].items():
        assert quantized["done"][part]["flops"] == done["flops"] > 0, part


_KILLED = """
import json, os, signal, sys
sys.path.insert(0, sys.argv[1])
import simulate_step

def answer(case):
    if case["place"] == 1:
        os.kill(os.getpid(), signal.SIGKILL)  # as the system does where memory runs out
    if case["place"] == 2:
        raise ValueError("odd")
    return {"place": case["place"]}

simulate_step.prepare = lambda stage, kind: None
cases = [json.dumps({"config": {"stage": "dpo"}, "model": {}, "place": place}) for place in range(5)]
simulate_step.answer_all(answer, cases, sys.stdout)
"""


def test_a_simulation_that_is_killed_is_told_and_the_others_go_on() -> None:
    command = [sys.executable, "-c", _KILLED, str(WORKER.parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer.get("place") for answer in told] == [0, None, None, 3, 4]
    assert "code -9" in told[1]["error"] and told[2]["error"] == "ValueError: odd"
