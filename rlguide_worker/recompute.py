"""Gradient checkpointing off where the activations fit: it computes every layer's forward pass twice.

How much a step without it keeps is measured on the model itself, on short inputs, and extended to the longest example:
the bytes grow with the length and, where attention scores or masks are kept, with its square. They must fit into the
free memory of the device but for a reserve. Should memory run out all the same, checkpointing is turned on again, and
the step is computed once more.
"""

import os
from pathlib import Path

import torch
from lazy_logits import CHUNK_BYTES

RESERVE = 0.1  # of the device's memory stays free
MARGIN = 1.1  # on what a step keeps: gradients of the activations of the layer at work
LENGTHS = (32, 64, 96)  # tokens
GIB = 2**30
_CGROUP = Path("/sys/fs/cgroup")


def layers(model):
    """The modules that compute their forward pass again for the backward pass."""
    return [module for module in model.modules() if getattr(module, "gradient_checkpointing", False)]


class Checkpointing:
    """Gradient checkpointing of a model, which can be turned off and on again."""

    def __init__(self, modules) -> None:
        self._modules, self.is_off = modules, False

    def set(self, is_on: bool) -> None:
        """Turn it on or off."""
        self.is_off = not is_on
        for module in self._modules:
            module.gradient_checkpointing = is_on


def why_not_off(trainer, checkpointing: Checkpointing, rows: int, length: int, lazily) -> str:
    """Why a step of `rows` x `length` tokens needs checkpointing, or "". It is off afterwards if there is no reason.

    `lazily()`: a context in which the model makes no full logits.
    """
    free, total = memory(trainer.accelerator.device)
    if not total:
        return f"the free memory of {trainer.accelerator.device} is not known"
    checkpointing.set(False)
    try:
        kept = extended([(size, kept_bytes(trainer, rows, size, lazily)) for size in LENGTHS], length)
    except Exception as error:  # whatever the model lacks: the training itself may still run, as configured
        checkpointing.set(True)
        return f"what a step keeps could not be measured: {type(error).__name__}"
    trained = sum(weight.numel() for weight in trainer.model.parameters() if weight.requires_grad)
    # To come with the first steps: gradients and two moments of 4 bytes each, and the chunks of logits.
    need = kept * MARGIN + 12 * trained + 5 * CHUNK_BYTES
    if need <= free - RESERVE * total:
        return ""
    checkpointing.set(True)
    return f"without it a step needs {need / GIB:.1f} GiB, and {max(0, free - RESERVE * total) / GIB:.1f} GiB are free"


def kept_bytes(trainer, rows: int, length: int, lazily) -> int:
    """Bytes that the forward pass of `rows` x `length` tokens keeps for the backward pass, weights not counted."""
    model = trainer.model
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.zeros((rows, length), dtype=torch.long, device=trainer.accelerator.device)
    mask = torch.ones_like(ids)
    mask[0, -1] = 0  # padding, so that attention takes a mask as it will
    was_training = model.training
    model.train()
    noted = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
    generators = torch.random.fork_rng([ids.device] if ids.is_cuda else [])
    try:
        with generators, trainer.accelerator.autocast(), lazily(), noted:
            output = model(input_ids=ids, attention_mask=mask, use_cache=False)
    finally:
        model.train(was_training)
    del output
    return sum(size for pointer, size in kept.items() if pointer not in weights)


def extended(points, x: int) -> float:
    """The value at `x` of the parabola through three points, 0 at least (Lagrange's formula)."""
    (a, u), (b, v), (c, w) = points
    value = u * (x - b) * (x - c) / ((a - b) * (a - c))
    value += v * (x - a) * (x - c) / ((b - a) * (b - c))
    value += w * (x - a) * (x - b) / ((c - a) * (c - b))
    return max(0.0, value)


def memory(device) -> tuple[float, float]:
    """Bytes of memory that are free for this process, and all that the device has; (0, 0) if it is not known."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device), total
    if device.type != "cpu":
        return 0, 0
    import psutil

    whole = psutil.virtual_memory()
    free, total = whole.available, whole.total
    limit = _CGROUP / "memory.max"
    if limit.is_file() and limit.read_text().strip().isdigit():  # else "max"
        statistics = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        used = int((_CGROUP / "memory.current").read_text()) - int(statistics.get("inactive_file", 0))
        total = min(total, int(limit.read_text()))
        free = min(free, total - used)
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return free / processes, total / processes


def longest(dataset, columns) -> int:
    """Tokens of the longest example of a dataset in any of the columns; 0 if it cannot be told, as with pictures."""
    import pyarrow.compute as compute

    table = getattr(dataset, "data", None)
    if table is None or not set(columns) <= set(dataset.column_names):
        return 0
    media = [table.column(name) for name in ("images", "videos", "audios") if name in dataset.column_names]
    if any(column.null_count < len(column) for column in media):
        return 0
    return max(compute.max(compute.list_value_length(table.column(name))).as_py() or 0 for name in columns)


def again_with_checkpointing(engines):
    """The trainer's `training_step`, computed once more with checkpointing on if memory runs out without it."""

    def training_step(self, model, inputs, *others, **named):
        checkpointing = self.lean.checkpointing
        if checkpointing is None or not checkpointing.is_off or self.accelerator.num_processes > 1:
            return engines(self, model, inputs, *others, **named)
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        gradients = [None if weight.grad is None else weight.grad.clone() for weight in trained]
        try:
            return engines(self, model, dict(inputs), *others, **named)
        except torch.OutOfMemoryError as error:
            print(f"rlguide: out of memory, gradient checkpointing is on again: {error}")
        for weight, gradient in zip(trained, gradients, strict=True):
            weight.grad = gradient
        checkpointing.set(True)
        torch.cuda.empty_cache()
        return engines(self, model, inputs, *others, **named)

    return training_step
