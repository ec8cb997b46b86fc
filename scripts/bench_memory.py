"""Peak memory and FLOPs of a DPO step, simulated: LLaMA-Factory's own against rlguide's, without weights or a GPU.

    python scripts/bench_memory.py                                     Qwen3-4B and 8B, 512 to 4,096 tokens
    python scripts/bench_memory.py --model smollm2-135m --length 160 --dtype float32

Run it with the engine's Python. A step of one pair (LoRA 16 on all linear layers) runs on fake tensors, which have
shapes and no data (torch's FakeTensorMode), through LLaMA-Factory's own model set-up, loss and reference. A dispatch
mode counts the bytes of live storages, rounded up to 512; with a small model on real tensors it gives the same count.
Peak and FLOPs are affine in the number of layers, so 2 and 4 layers are simulated and extended. Not counted: what the
allocator reserves, the CUDA context, workspaces of kernels.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import logging
import sys
import tempfile
import weakref
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
GIB = 2**30
# The shapes of the models' config.json on the hub.
MODELS: dict[str, dict[str, Any]] = {
    "qwen3-4b": {"hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36, "num_attention_heads": 32,
                 "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936, "tie_word_embeddings": True},
    "qwen3-8b": {"hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36, "num_attention_heads": 32,
                 "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936, "tie_word_embeddings": False},
    "smollm2-135m": {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 576,
                     "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
                     "num_key_value_heads": 3, "vocab_size": 49152, "tie_word_embeddings": True},
}  # fmt: skip
COMMON = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "max_position_embeddings": 40960,
          "rms_norm_eps": 1e-6, "rope_theta": 1e6, "bos_token_id": 0, "eos_token_id": 2}  # fmt: skip


def main() -> None:
    """Simulate what was asked for and print a table."""
    parser = argparse.ArgumentParser(description="Simulate the peak memory and FLOPs of a DPO step.")
    parser.add_argument("--model", action="append", choices=list(MODELS))
    parser.add_argument("--length", action="append", type=int, help="tokens of each response with its prompt")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    print(
        "| model | tokens | engine | rlguide | without checkpointing | ratio | FLOPs |\n|---|---|---|---|---|---|---|"
    )
    for model in options.model or ["qwen3-4b", "qwen3-8b"]:
        for length in options.length or [512, 1024, 2048, 4096]:
            (peak, flops), (lean, lean_flops), (off, off_flops) = (
                extended(model, length, options.dtype, is_lean, is_checkpointed)
                for is_lean, is_checkpointed in ((False, True), (True, True), (True, False))
            )
            print(
                f"| {model} | 2 x {length} | {peak / GIB:.2f} GiB | {lean / GIB:.2f} GiB | {off / GIB:.2f} GiB "
                f"| {lean / peak:.2f}, {off / peak:.2f} "
                f"| {flops:.2e}, {lean_flops / flops:.3f}, {off_flops / flops:.3f} |",
                flush=True,
            )


def extended(model: str, length: int, dtype: str, is_lean: bool, is_checkpointed: bool) -> tuple[float, float]:
    """Peak bytes and FLOPs with all layers, from 2 and 4."""
    layers = MODELS[model]["num_hidden_layers"]
    two, four = (simulate(model, count, length, dtype, is_lean, is_checkpointed) for count in (2, 4))
    return tuple(low + (high - low) / 2 * (layers - 2) for low, high in zip(two, four, strict=True))  # type: ignore[return-value]


class Live:
    """Bytes of storages alive now, and their peak."""

    def __init__(self) -> None:
        from torch.utils._python_dispatch import TorchDispatchMode
        from torch.utils._pytree import tree_leaves

        self.now = self.peak = 0
        self._seen: Any = weakref.WeakKeyDictionary()
        live = self

        class Mode(TorchDispatchMode):
            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                out = func(*args, **(kwargs or {}))
                for leaf in tree_leaves(out):
                    live.add(leaf)
                return out

        self.mode = Mode()

    def add(self, value: Any) -> None:
        """Count the storage of a tensor that is new."""
        import torch

        if not isinstance(value, torch.Tensor):
            return
        storage = value.untyped_storage()
        if storage in self._seen:
            return
        size = -(-storage.nbytes() // 512) * 512
        self._seen[storage] = size
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._drop, size)

    def _drop(self, size: int) -> None:
        self.now -= size


def simulate(
    model: str, layers: int, length: int, dtype: str, is_lean: bool, is_checkpointed: bool
) -> tuple[float, float]:
    """Peak bytes and FLOPs of a step of one pair with some layers, on fake tensors."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils.flop_counter import FlopCounterMode

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_tokenizer(folder)
        config = {**COMMON, **MODELS[model], "num_hidden_layers": layers}
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        with FakeTensorMode(allow_non_fake_inputs=True), contextlib.redirect_stdout(sys.stderr):
            trainer, policy = make_trainer(folder, length, getattr(torch, dtype), is_checkpointed)
            step = make_step(trainer, policy, length, dtype, is_lean)
            live = Live()
            for weight in policy.parameters():
                live.add(weight)
            with live.mode:
                step()
                step()  # the second has the optimizer's moments
            with FlopCounterMode(display=False) as flops:  # apart: together they keep activations alive
                step()
    return live.peak, flops.get_total_flops()


def make_tokenizer(folder: Path) -> None:
    """A tokenizer of a few tokens; nothing is read with it."""
    sys.path.insert(0, str(ROOT / "rlguide_worker"))
    make = importlib.import_module("make_model").make_tokenizer
    make(["some text"], 300).save_pretrained(folder)


class OneDevice:
    """What the loss asks of accelerate."""

    num_processes = 1

    def __init__(self) -> None:
        import torch

        self.device = torch.device("cpu")

    def unwrap_model(self, model: Any) -> Any:
        """The model, which is not wrapped."""
        return model


def make_trainer(folder: Path, length: int, dtype: Any, is_checkpointed: bool) -> tuple[Any, Any]:
    """LLaMA-Factory's DPO trainer, as far as its loss needs one, and its model on fake tensors."""
    import peft.tuners.tuners_utils as tuners
    import torch
    from llamafactory.hparams import FinetuningArguments, ModelArguments
    from llamafactory.model.loader import load_model, load_tokenizer
    from llamafactory.train.dpo.trainer import CustomDPOTrainer

    arguments = ModelArguments(
        model_name_or_path=str(folder), train_from_scratch=True, disable_gradient_checkpointing=not is_checkpointed
    )
    arguments.compute_dtype, arguments.device_map, arguments.model_max_length = dtype, None, length
    tuning = FinetuningArguments(stage="dpo", finetuning_type="lora", lora_rank=16, lora_alpha=32, lora_target="all")
    # On fake tensors moving a module fails ("Couldn't swap"), and everything is in place already.
    tuners.BaseTunerLayer._move_adapter_to_device_of_base_layer = lambda self, *args, **kwargs: None  # type: ignore[method-assign]
    torch.nn.Module.to = lambda self, *args, **kwargs: self  # type: ignore[method-assign,assignment]
    torch.set_default_dtype(dtype)
    policy = load_model(load_tokenizer(arguments)["tokenizer"], arguments, tuning, is_trainable=True)
    torch.set_default_dtype(torch.float32)
    for module in policy.modules():  # the engine's upcast of adapters, which `.data =` cannot do on fake tensors
        for name, weight in list(module._parameters.items()):
            if weight is not None and weight.requires_grad and weight.dtype != torch.float32:
                module._parameters[name] = torch.nn.Parameter(weight.detach().float())
    trainer = object.__new__(CustomDPOTrainer)
    values = {"loss_type": "sigmoid", "ld_alpha": None, "beta": 0.1, "bco_gemma": 0, "label_smoothing": 0}
    values |= {"ftx_gamma": 0, "ref_model": None, "f_divergence_type": "reverse_kl", "reference_free": False}
    vars(trainer).update(accelerator=OneDevice(), finetuning_args=tuning, is_encoder_decoder=False, **values)
    return trainer, policy


def apart(kind: Any) -> Any:
    """A function that makes the stand-ins of hidden states, which a fake tensor cannot be itself."""
    import torch
    from torch.utils._python_dispatch import _disable_current_modes

    def stand_in(hidden: Any) -> Any:
        with _disable_current_modes():
            return torch.empty(0).as_subclass(kind)

    return stand_in


def make_step(trainer: Any, policy: Any, length: int, dtype: str, is_lean: bool) -> Any:
    """A function: one step of one pair, in the order of get_batch_loss_metrics (the policy's graph stays alive)."""
    import torch

    kind = type(trainer)
    lazy = importlib.import_module("lazy_logits")
    lazy.stand_in = apart(lazy.Logits)
    lazy._at_least = lambda is_wanted: torch.arange(len(is_wanted))  # all tokens: which is not known without data
    optimizer = torch.optim.AdamW([weight for weight in policy.parameters() if weight.requires_grad], lr=1e-5)

    def step() -> None:
        ids = torch.zeros(2, length, dtype=torch.long)
        batch = {"input_ids": ids, "labels": torch.zeros_like(ids)}
        is_mixed = dtype != "float32"
        with (
            torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_mixed),
            lazy.lazy_head(policy) if is_lean else contextlib.nullcontext(),
        ):
            out = kind.concatenated_forward(trainer, policy, dict(batch))
            # In the first epoch the reference is asked, so it belongs to the peak of both.
            reference = kind.compute_reference_log_probs(trainer, policy, dict(batch))
            losses, _, _ = kind.compute_preference_loss(trainer, out["chosen_logps"], out["rejected_logps"], *reference)
        losses.mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


if __name__ == "__main__":
    main()
