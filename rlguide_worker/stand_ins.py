"""What stands in, in a simulated step, for code that runs on a GPU only or looks at numbers (simulate_step.py).

Each holds what the original holds, from when to when: bitsandbytes' linear layers are its own, with weights that are
quantized before the adapter is put on; Liger's kernels and bitsandbytes' optimizers are written here by what they keep.
"""

import functools
import sys

import torch


def quantize_before_adapters(bits, is_double):
    """LLaMA-Factory quantizes while it loads weights; here it is done before the adapter is put on."""
    import llamafactory.model.loader as loader

    init_adapter = loader.init_adapter

    def init(config, model, *args, **kwargs):
        quantize(model, bits, is_double)
        return init_adapter(config, model, *args, **kwargs)

    loader.init_adapter = init


def quantize(model, bits, is_double):
    """Put bitsandbytes' linear layers, with quantized weights, in the place of all but the head."""
    from bitsandbytes import functional, nn
    from torch.utils._python_dispatch import _disable_current_modes

    head = model.get_output_embeddings()
    for part in list(model.modules()):
        for name, linear in list(part.named_children()):
            if type(linear) is not torch.nn.Linear or linear is head:
                continue
            sizes, has_bias = (linear.in_features, linear.out_features), linear.bias is not None
            if bits == 4:
                with _disable_current_modes():
                    made = nn.Linear4bit(*sizes, has_bias, linear.weight.dtype, is_double, "nf4", device="meta")
                packed, state = functional.quantize_4bit(linear.weight.data, None, None, 64, is_double, "nf4")
                values = {"quant_state": state, "compress_statistics": is_double, "quant_type": "nf4"}
            else:
                with _disable_current_modes():
                    made = nn.Linear8bitLt(*sizes, has_bias, False, threshold=6.0, device="meta")
                packed, scales, _ = functional.int8_vectorwise_quant(linear.weight.data)
                values = {"CB": packed, "SCB": scales, "has_fp16_weights": False}
            # Of the class of their own such weights cannot be, since tensors without data are of another.
            made.weight = torch.nn.Parameter(packed, requires_grad=False)
            vars(made.weight).update(values, bnb_quantized=True, module=made, blocksize=64)
            setattr(part, name, made)
    setattr(model, f"is_loaded_in_{bits}bit", True)


# Liger-Kernel (ops/rms_norm.py, ops/swiglu.py, transformers/rope.py): a norm keeps its input and one float32 a row, and
# writes the gradient over the one it is given; SiLU(gate) * up keeps gate and up, and writes their gradients over them;
# the rotary embedding is written over queries and keys.
_LIGER = {"gemma", "gemma2", "gemma3_text", "glm", "glm4", "granite", "llama", "mistral", "mixtral", "olmo2", "phi3",
          "qwen2", "qwen3", "qwen3_moe", "qwen3_next"}  # fmt: skip


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight):
        ctx.save_for_backward(hidden, weight, hidden.new_empty(hidden.shape[:-1], dtype=torch.float32))
        return torch.empty_like(hidden)

    @staticmethod
    def backward(ctx, gradient):
        weight = ctx.saved_tensors[1]
        return gradient, torch.empty_like(weight) if ctx.needs_input_grad[1] else None


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx, gate, up):
        ctx.save_for_backward(gate, up)
        return torch.empty_like(gate)

    @staticmethod
    def backward(ctx, gradient):
        return tuple(ctx.saved_tensors)


def with_liger(load_model):
    """`load_model`, whose models have Liger's kernels where LLaMA-Factory puts them."""

    def load(*args, **kwargs):
        model = load_model(*args, **kwargs)
        if model.config.model_type in _LIGER:
            for module in model.modules():
                _use_liger(module)
        return model

    return load


def _use_liger(module):
    if type(module).__name__.endswith("RMSNorm"):
        module.forward = lambda hidden: _Norm.apply(hidden, module.weight)
    elif all(hasattr(module, name) for name in ("gate_proj", "up_proj", "down_proj", "act_fn")):
        module.forward = lambda hidden: module.down_proj(_Gated.apply(module.gate_proj(hidden), module.up_proj(hidden)))
    elif type(module).__name__.endswith("Attention"):
        code = sys.modules[type(module).__module__]
        if hasattr(code, "apply_rotary_pos_emb"):
            code.apply_rotary_pos_emb = lambda queries, keys, *args, **kwargs: (queries, keys)


class EightBits(torch.optim.Optimizer):
    """The state of bitsandbytes' optimizers (optim/optimizer.py, init_state): 8 bits, and a float32 for 256 of them.

    Small weights (below 4,096) have it in 32 bits, as all have with the names without 8bit. Of a paged optimizer it
    lies in main memory until it is asked for.
    """

    def __init__(self, weights, states=2, bits=8, is_paged=False, **others):
        super().__init__(weights, {"lr": others.get("lr", 1e-3)})
        self._states, self._bits, self._is_paged = states, bits, is_paged

    @torch.no_grad()
    def step(self, closure=None):
        """Make the state of weights that have none; their values do not matter."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None or self.state[weight] or self._is_paged:
                    continue
                is_small = self._bits == 32 or weight.numel() < 4096
                for place in range(self._states):
                    kind = torch.float32 if is_small else torch.uint8
                    self.state[weight][f"state{place}"] = weight.new_empty(weight.shape, dtype=kind)
                    if not is_small:
                        blocks = -(-weight.numel() // 256)
                        self.state[weight][f"absmax{place}"] = weight.new_empty(blocks, dtype=torch.float32)


def use_optimizer(name):
    """Let transformers' Trainer take this optimizer of bitsandbytes: adamw_8bit, paged_lion_8bit, ..."""
    from transformers import Trainer

    states = 1 if "lion" in name or "rmsprop" in name else 2
    bits = 8 if "8bit" in name else 32
    kind = functools.partial(EightBits, states=states, bits=bits, is_paged="paged" in name)
    Trainer.get_optimizer_cls_and_kwargs = staticmethod(lambda args, model=None: (kind, {"lr": args.learning_rate}))
