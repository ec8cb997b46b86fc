"""Let LLaMA-Factory run on tensors that have shapes and no data (torch's FakeTensorMode), for simulate_step.py.

What would look at numbers gets an answer that keeps the shapes; what cannot be done without data is left out.
"""

import contextlib
import weakref

import torch
from live_bytes import Live

aten = torch.ops.aten
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")  # keys of a config.json


class WithoutData(contextlib.ExitStack):
    """Within it tensors have shapes and no data. Gives what counts."""

    def __init__(self, case):
        super().__init__()
        self._case = case

    def __enter__(self):
        from torch._subclasses.fake_tensor import FakeTensorMode

        super().__enter__()
        self.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        return self.enter_context(Answering(self._case))


class Answering(Live):
    """Counts, and answers what would look at numbers."""

    def __init__(self, case):
        super().__init__(case["model"].get("vocab_size", 0))
        sides = [[prompt + response for response in responses] for prompt, *responses in case["lengths"]]
        widths = [length for lengths in sides for length in lengths]
        width = -(-max(widths) // 8) * 8  # collators pad to a multiple of 8
        self._is_full = not case["is_padded"] or set(widths) == {width}
        self._wanted = sum(sum(responses) for _, *responses in case["lengths"])
        self._examples = len(sides)
        self._places = weakref.WeakKeyDictionary()  # storages of indices: each expert's has its turn
        model = case["model"]
        self._experts = next((model[key] for key in EXPERTS if isinstance(model.get(key), int)), 0)
        self._chosen = model.get("num_experts_per_tok", 1)

    def run(self, func, args, kwargs):
        if func is aten._local_scalar_dense.default:
            if args[0].dtype == torch.bool:
                return getattr(args[0], "answer", False)
            is_place = args[0].untyped_storage() in self._places
            return args[0].storage_offset() if is_place else 1.0 if args[0].is_floating_point() else 1
        if func is aten.equal.default:
            return True
        if func is aten.nonzero.default:
            count = self._count_of(args[0])
            places = args[0].new_empty((count, args[0].dim()), dtype=torch.long)
            self._places[places.untyped_storage()] = True
            return places
        if func is aten.index.Tensor and len(args[1]) == 1 and args[1][0].dtype == torch.bool:
            mask = args[1][0]
            return args[0].new_empty((self._count_of(mask), *args[0].shape[mask.dim() :]))
        out = super().run(func, args, kwargs)
        if func is aten.all.default:
            out.answer = self._is_full
        elif func is aten.bitwise_not.default and out.dtype == torch.bool:
            out.says_others = not getattr(args[0], "says_others", False)
        return out

    def _count_of(self, mask):
        """How many are true in a mask of tokens (those that count), of examples (KTO's tags), or of experts' tokens."""
        total = mask.numel()
        if self._experts and total == self._experts:
            return total
        if self._experts and mask.dim() == 2 and len(mask) == self._chosen:
            return -(-total // self._experts)  # shared evenly
        wanted = self._wanted if total > self._examples else -(-total // 2)
        wanted = min(wanted, total)
        return total - wanted if getattr(mask, "says_others", False) else wanted


def prepare_modules(is_quantized):
    """Change what cannot run without data."""
    import peft.tuners.lora.model as lora
    import peft.tuners.tuners_utils as tuners

    # Moving a module fails on tensors without data ("Couldn't swap"), and everything is in place already.
    tuners.BaseTunerLayer._move_adapter_to_device_of_base_layer = lambda self, *args, **kwargs: None
    torch.nn.Module.to = _to
    torch.Tensor.tolist = lambda self: [0] * self.numel()
    if not is_quantized:  # or it imports bitsandbytes, for 1.5 s
        lora.is_bnb_available = lora.is_bnb_4bit_available = lambda: False


def _to(module, *args, **kwargs):
    dtype = kwargs.get("dtype") or next((arg for arg in args if isinstance(arg, torch.dtype)), None)
    if dtype is not None:
        _cast(module, dtype)
    return module


def _cast(module, dtype, is_trained_only=False):
    for part in module.modules():
        for name, weight in list(part._parameters.items()):
            is_meant = weight is not None and weight.is_floating_point() and weight.dtype != dtype
            if is_meant and (weight.requires_grad or not is_trained_only):
                part._parameters[name] = torch.nn.Parameter(weight.detach().to(dtype), weight.requires_grad)


def loading(load_model, dtype, is_pure):
    """`load_model`, which makes weights in `dtype`, as they would be read, and those that are trained in float32.

    The engine casts them by `.data =`, which does nothing without data.
    """

    def load(*args, **kwargs):
        torch.set_default_dtype(dtype)
        model = load_model(*args, **kwargs)
        torch.set_default_dtype(torch.float32)
        if not is_pure:
            _cast(model, torch.float32, is_trained_only=True)
        return model

    return load
