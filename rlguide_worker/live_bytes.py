"""What a step of training holds and does: the bytes of live storages by kind, FLOPs, bytes moved, operations.

`Live` is a dispatch mode: it sees every operation of a step, forward and backward. Storages count from when an
operation makes them until nothing holds them any more, rounded up to 512 bytes as CUDA's allocator does. It counts the
same on real tensors and on fake ones, which have shapes and no data (torch's FakeTensorMode).
"""

import functools
import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

BLOCK = 512  # bytes; kMinBlockSize of c10/cuda/CUDACachingAllocator.cpp
ATTENTION = ("scaled_dot_product", "attention")  # in the names of operations whose FLOPs grow with the square of length
aten = torch.ops.aten


def _of_cpu_attention(query, key, value, *others, out_val=None, **named):
    return sdpa_flop_count(query.shape, *_as_many_heads(query, key, value))


def _of_cpu_attention_backward(gradient, query, key, value, *others, out_val=None, **named):
    return sdpa_backward_flop_count(gradient.shape, query.shape, *_as_many_heads(query, key, value))


def _as_many_heads(query, *others):
    """Shapes of keys and values (B, heads, L, D) with the heads of the query: groups of those share one."""
    return [(*query.shape[:2], *tensor.shape[2:]) for tensor in others]


# FLOPs of the operations that torch's own table leaves out.
_MORE = {
    aten._scaled_dot_product_flash_attention_for_cpu: _of_cpu_attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _of_cpu_attention_backward,
}
# Of products with the quantized weights (outputs, inputs) of a layer, by name, because bitsandbytes may not be there.
# Their backward pass is an ordinary product with the weights in 16 bits.
_QUANTIZED = {
    "bitsandbytes.gemm_4bit": lambda given, weight, shape, *others, **named: 2 * given.numel() * shape[0],
    "bitsandbytes.int8_scaled_mm": lambda given, weight, *others, **named: 2 * given.numel() * weight.shape[0],
    "bitsandbytes.int8_mixed_scaled_mm": lambda given, _, weight, *others, **named: 2 * given.numel() * weight.shape[0],
}


class Live(TorchDispatchMode):
    """Counts while it is entered and `counts` is true.

    Attributes:
        now: bytes that are alive, by kind.
        peaks: for each phase the most bytes that were alive in it, as {kind: bytes}.
        done: for each part ("policy", "reference" or "backward") what was computed: flops, attention (FLOPs in
            addition), bytes, operations.
    """

    def __init__(self, vocabulary=0):
        super().__init__()
        self.counts, self.now, self.peaks, self.done = False, {}, {}, {}
        self.part, self._phase, self._total, self._most = "policy", "start", 0, 0
        self._vocabulary = vocabulary
        self._kinds = weakref.WeakKeyDictionary()  # storage: (kind, bytes), as a list

    @property
    def peak(self):
        """The most bytes that were alive at once."""
        return max((sum(kinds.values()) for kinds in self.peaks.values()), default=0)

    @property
    def phase(self):
        """Where the step is."""
        return self._phase

    @phase.setter
    def phase(self, name):
        self._phase = name
        self._most = sum(self.peaks[name].values()) if name in self.peaks else 0
        self._see()

    def add(self, tensor, kind):
        """Count the storage of a tensor as of this kind, or let it be of this kind from now on."""
        if not isinstance(tensor, torch.Tensor):
            return
        storage = tensor.untyped_storage()
        entry = self._kinds.get(storage)
        if entry is not None:
            if entry[0] != kind:
                self._change(entry[0], -entry[1])
                entry[0] = kind
                self._change(kind, entry[1])
            return
        entry = [kind, -(-storage.nbytes() // BLOCK) * BLOCK]
        self._kinds[storage] = entry
        weakref.finalize(storage, self._drop, entry)
        self._change(kind, entry[1])

    def _drop(self, entry):
        self._change(entry[0], -entry[1])

    def _change(self, kind, size):
        self.now[kind] = self.now.get(kind, 0) + size
        self._total += size
        self._see()

    def _see(self):
        if self._total > self._most:
            self._most = self._total
            self.peaks[self._phase] = dict(self.now)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = self.run(func, args, kwargs or {})
        if not self.counts:
            return out
        made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        for tensor in made:
            if tensor.untyped_storage() not in self._kinds:
                is_logits = tensor.dim() > 1 and tensor.shape[-1] == self._vocabulary
                self.add(tensor, "logits" if is_logits else "activations")
        self._count(func, args, kwargs or {}, made, out)
        return out

    def run(self, func, args, kwargs):
        """The operation itself."""
        return func(*args, **kwargs)

    def _count(self, func, args, kwargs, made, out):
        if func.is_view or not made:
            return
        part = "backward" if _goes_back() else self.part
        done = self.done.setdefault(part, {"flops": 0, "attention": 0, "bytes": 0, "operations": 0})
        done["operations"] += 1
        packet = func._overloadpacket
        formula = flop_registry.get(packet) or _MORE.get(packet) or _QUANTIZED.get(str(packet))
        if formula is not None:
            is_attention = any(word in str(packet) for word in ATTENTION)
            done["attention" if is_attention else "flops"] += formula(*args, **kwargs, out_val=out)
        else:
            given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
            done["bytes"] += sum(tensor.numel() * tensor.element_size() for tensor in [*given, *made])


def mark(live, trainer):
    """Let a trainer tell `live` what its tensors are and where its step is; called before its loop begins."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    for weight in model.parameters():
        live.add(weight, "trained" if weight.requires_grad else "weights")
        if weight.requires_grad:
            weight.register_post_accumulate_grad_hook(lambda weight: live.add(weight.grad, "gradients"))
    for buffer in model.buffers():
        live.add(buffer, "weights")
    reference = getattr(trainer, "ref_model", None)
    for weight in (*reference.parameters(), *reference.buffers()) if reference is not None else ():
        live.add(weight, "reference")
    _mark_phases(live, trainer, model, reference)
    _mark_optimizer(live, trainer)


def _mark_phases(live, trainer, model, reference):
    place = _Place(live)
    for owner in (model, reference) if reference is not None else (model,):
        layers = decoder_layers(owner)
        for index, layer in enumerate(layers):
            name = "first" if index == 0 else "last" if index == len(layers) - 1 else "middle"
            layer.register_forward_pre_hook(functools.partial(place.entered, name))
            layer.register_forward_hook(functools.partial(place.left, name))
    step, reference_of = trainer.training_step, getattr(trainer, "compute_reference_log_probs", None)

    def training_step(*args, **kwargs):
        place.passes, live.phase = 0, "begin"
        try:
            return step(*args, **kwargs)
        finally:
            live.phase = "update"

    trainer.training_step = training_step
    if reference_of is not None:

        def compute_reference_log_probs(*args, **kwargs):
            live.part = "reference"
            try:
                return reference_of(*args, **kwargs)
            finally:
                live.part = "policy"

        trainer.compute_reference_log_probs = compute_reference_log_probs


class _Place:
    """Where a step is: in the layers of which pass, behind them, or on its way back."""

    def __init__(self, live):
        self._live, self.passes = live, 0

    def entered(self, name, *_):
        """A layer begins its forward pass; on the way back it computes it again."""
        if _goes_back():
            self._live.phase = f"backward {name}"
            return
        self.passes += name == "first"
        self._live.phase = f"{self.passes} {name}"

    def left(self, name, _, __, out):
        """A layer has computed its output; when the gradient of that is known, it is its turn on the way back."""
        if _goes_back():
            return
        hidden = out[0] if isinstance(out, tuple) else out
        if hidden.requires_grad:
            hidden.register_hook(functools.partial(self._begun, name))
        if name == "last":
            self._live.phase = f"{self.passes} head"

    def _begun(self, name, _):
        self._live.phase = f"backward {name}"


def _goes_back():
    return torch._C._current_graph_task_id() != -1


def _mark_optimizer(live, trainer):
    """The optimizer's state counts as its own from its first step on."""
    create = trainer.create_optimizer

    def create_optimizer(*args, **kwargs):
        optimizer = create(*args, **kwargs)
        optimizer.register_step_post_hook(lambda *_: _settled(live, optimizer))
        return optimizer

    trainer.create_optimizer = create_optimizer


def _settled(live, optimizer):
    for value in tree_leaves(list(optimizer.state.values())):
        live.add(value, "optimizer")


def decoder_layers(model):
    """The layers of a decoder: the longest list of modules in it."""
    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    return max(lists, key=len)
