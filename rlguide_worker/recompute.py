"""Gradient checkpointing off where the activations fit: it computes every layer's forward pass twice.

How much a step without it keeps is measured on the model itself, on short inputs, and extended to the longest example:
the bytes grow with the length and, where attention scores or masks are kept, with its square. They must fit into the
free memory of the device but for a reserve. Should memory run out all the same, checkpointing is turned on again, and
the step is computed once more, as if it had not been begun.
"""

import torch
from free_memory import memory
from lazy_logits import CHUNK_BYTES

RESERVE = 0.1  # of the device's memory stays free; twice as much in several processes, where no step has a second try
MARGIN = 1.1  # on what a step keeps: gradients of the activations of the layer at work
LENGTHS = (32, 64, 96)  # tokens
GIB = 2**30
LOGITS = 5  # float32 tensors of the logits' size alive at once where they are held: values, log-softmax, gradients


def layers(model):
    """The modules that compute their forward pass again for the backward pass."""
    return [module for module in model.modules() if getattr(module, "gradient_checkpointing", False)]


class Checkpointing:
    """Gradient checkpointing of a model, which can be turned off and on again."""

    def __init__(self, modules) -> None:
        self._modules, self.is_off, self.spare = modules, False, 0.0  # bytes that stay free while it is off

    def set(self, is_on: bool) -> None:
        """Turn it on or off."""
        self.is_off = not is_on
        for module in self._modules:
            module.gradient_checkpointing = is_on


def why_not_off(trainer, checkpointing: Checkpointing, rows: int, length: int, lazily, logits: int = 0) -> str:
    """Why a step of `rows` x `length` tokens needs checkpointing, or "". It is off afterwards if there is no reason.

    `lazily()`: a context in which the model makes no full logits. `logits`: bytes of those that it makes all the same.
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
    room = free - RESERVE * total * (1 if trainer.accelerator.num_processes == 1 else 2)
    need = kept * MARGIN + _bytes_of_training(trainer) + 5 * CHUNK_BYTES + LOGITS * logits
    checkpointing.spare = room - need
    if checkpointing.spare >= 0:
        return ""
    checkpointing.set(True)
    return f"without it a step needs {need / GIB:.1f} GiB, and {max(0, room) / GIB:.1f} GiB are free"


def _bytes_of_training(trainer) -> int:
    """To come with the first steps: gradients and two moments of 4 bytes each, and a copy of gradients.

    That copy is the buckets of DDP, or what `Undo` keeps.
    """
    trained = sum(weight.numel() for weight in trainer.model.parameters() if weight.requires_grad)
    is_alone = trainer.accelerator.num_processes == 1
    return trained * (12 if is_alone and trainer.args.gradient_accumulation_steps == 1 else 16)


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


class Undo:
    """What a step of training changes, to be put back if it ends before its end."""

    def __init__(self, trainer, model) -> None:
        self._trainer = trainer
        self._gradients = [
            (weight, None if weight.grad is None else weight.grad.clone())
            for weight in model.parameters()
            if weight.requires_grad
        ]
        self._cpu = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None
        self._logged = {name: len(values) for name, values in self._metrics().items()}
        self._running = dict(vars(trainer.running)) if hasattr(trainer, "running") else {}  # BCO's moments: numbers

    def _metrics(self):
        """The values to be logged, by name."""
        return getattr(self._trainer, "_stored_metrics", {}).get("train", {})

    def undo(self) -> None:
        """Put all back."""
        for weight, gradient in self._gradients:
            weight.grad = gradient
        torch.set_rng_state(self._cpu)
        if self._cuda is not None:
            torch.cuda.set_rng_state(self._cuda)
        metrics = self._metrics()
        for name in list(metrics):
            del metrics[name][self._logged.get(name, 0) :]
            if not metrics[name]:
                del metrics[name]
        if self._running:
            vars(self._trainer.running).update(self._running)


# c10/core/impl/alloc_cpu.cpp; CUDA's driver, torch_npu and MPS, whose errors are plain ones; cuBLAS, cuDNN.
_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "STATUS_ALLOC_FAILED")


def is_out_of_memory(error: Exception) -> bool:
    """Whether something failed for lack of memory."""
    is_said = any(text in str(error) for text in _OUT_OF_MEMORY)
    return is_said or isinstance(error, (torch.OutOfMemoryError, MemoryError))


def again_with_checkpointing(engines):
    """The trainer's `training_step`, computed once more with checkpointing on if memory runs out without it."""

    def training_step(self, model, inputs, *others, **named):
        checkpointing = self.lean.checkpointing
        if checkpointing is None or not checkpointing.is_off or self.accelerator.num_processes > 1:
            return engines(self, model, inputs, *others, **named)
        before = None
        try:
            before = Undo(self, model)
            return engines(self, model, dict(inputs), *others, **named)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            print(f"rlguide: out of memory, gradient checkpointing is on again: {error}")
        if before is not None:
            before.undo()
        checkpointing.set(True)
        torch.cuda.empty_cache()
        return engines(self, model, inputs, *others, **named)

    return training_step


def updates_in_backward(trainer) -> bool:
    """Whether weights change during the backward pass, so that a step cannot be computed once more."""
    settings, optimizer = trainer.finetuning_args, str(trainer.args.optim).rpartition(".")[2].lower()
    is_layerwise = settings.galore_layerwise or settings.apollo_layerwise or "layerwise" in optimizer
    return is_layerwise or "lomo" in optimizer
