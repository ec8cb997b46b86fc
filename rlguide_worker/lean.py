"""Train with less memory and in less time than the engine, to the same result.

Three things that the engine does need not be done: the reference's log-probabilities at every step of every epoch
(reference_once.py), full logits (lazy_logits.py), and each layer's forward pass twice where there is memory
(recompute.py). Only those are done otherwise; losses, metrics and the loop are the engine's own code.

The engine's methods that this relies on are known by a hash of their source. With others it trains as it does.
"""

import contextlib
import functools
import sys
from pathlib import Path

import lazy_logits
import recompute
import reference_once
from known_code import is_known

# sha256 of the source of the methods named, LLaMA-Factory 0.9.5 and trl 0.19.1.
_KNOWN = {
    "dpo": "8684db9f60a414f3",
    "kto": "4d277f9ec03801ba",
    "rm": "a33f4b606fc6915c",
    "sft": "c1102bcaea311b8c",
}
PARTS = ("reference", "logits", "checkpointing")
_RAN_OUT = "memory ran out without it"
_COLUMNS = {
    "dpo": ("chosen_input_ids", "rejected_input_ids"),
    "rm": ("chosen_input_ids", "rejected_input_ids"),
    "kto": ("input_ids",),
    "sft": ("input_ids",),
}


def known_code(stage: str):
    """The trainer's class of a stage, and the methods and functions whose source must be known."""
    from llamafactory.train import trainer_utils

    if stage == "dpo":
        from llamafactory.train.dpo.trainer import CustomDPOTrainer as kind

        names = ("concatenated_forward", "compute_reference_log_probs", "get_batch_loss_metrics")
        return kind, [*(getattr(kind, name) for name in names), trainer_utils.get_batch_logps]
    if stage == "kto":
        from llamafactory.train.kto.trainer import CustomKTOTrainer as kind

        names = ("forward", "concatenated_forward", "compute_reference_log_probs", "get_batch_loss_metrics")
        return kind, [*(getattr(kind, name) for name in names), trainer_utils.get_batch_logps]
    if stage == "rm":
        from llamafactory.train.rm.trainer import PairwiseTrainer as kind
        from trl import AutoModelForCausalLMWithValueHead

        return kind, [kind.compute_loss, AutoModelForCausalLMWithValueHead.forward]
    from llamafactory.train.sft.trainer import CustomSeq2SeqTrainer as kind

    return kind, [kind.compute_loss]


def install(stage: str, events, without=()) -> str:
    """Let the trainer of a stage train so. Returns why it does not, or "".

    `without`: parts that ran out of memory, and stay as in the engine.
    """
    if stage not in _KNOWN:
        return f"stage {stage} is trained as the engine does"
    if not is_known(lambda: known_code(stage)[1], _KNOWN[stage]):
        return "the engine's training code is not the one that this was made for"
    kind, _ = known_code(stage)
    kind.__init__ = _prepared(kind.__init__, stage, events, without)
    kind.train = _measured(kind.train)
    kind.training_step = _settled(recompute.again_with_checkpointing(kind.training_step))
    if stage == "dpo":
        kind.concatenated_forward = _lazily(kind.concatenated_forward, lambda batch, **_: batch["labels"])
        kind.compute_reference_log_probs = reference_once.of_pairs(kind.compute_reference_log_probs)
    elif stage == "kto":
        kind.forward = _lazily(kind.forward, lambda batch, prefix="": batch[f"{prefix}labels"])
        kind.compute_reference_log_probs = reference_once.of_responses(kind.compute_reference_log_probs)
    else:
        kind.compute_loss = _lazily(kind.compute_loss, lambda batch, **_: None)
    return ""


class Lean:
    """What one trainer does otherwise, and why it does not do the rest."""

    def __init__(self, trainer, stage: str, events, without=()) -> None:
        self.trainer, self.stage, self.events, self.without = trainer, stage, events, without
        self.why_not = {}  # part: why it is as in the engine
        self.reference = self.checkpointing = None
        self.is_lazy = self._can("logits", _why_plain(trainer) or _why_full_logits(trainer, stage))
        if self._can("reference", _why_plain(trainer) or _why_no_reference(trainer, stage)):
            self.reference = reference_once.Reference()
        self._fingerprint, self._longest_batch = "", 0

    def _can(self, part: str, why_not: str) -> bool:
        if why_not:
            self.why_not[part] = why_not
        return not why_not

    def lazily(self, model=None, labels=None):
        """A context in which the model makes no full logits, if this trainer has that."""
        if not self.is_lazy:
            return contextlib.nullcontext()
        model = self.trainer.accelerator.unwrap_model(self.trainer.model if model is None else model)
        return lazy_logits.lazy_head(_language_model(model), labels)

    def begin(self, checkpoint) -> None:
        """Before the first step: take the reference's values of the checkpoint, and see about checkpointing."""
        trainer = self.trainer
        if self.reference is not None:
            settings = {
                "stage": self.stage,
                "loss": trainer.loss_type,
                "precision": trainer.accelerator.mixed_precision,
                "noise": trainer.args.neftune_noise_alpha,
            }
            model = trainer.accelerator.unwrap_model(trainer.model if trainer.ref_model is None else trainer.ref_model)
            self._fingerprint = reference_once.fingerprint(model, trainer.ref_model is None, settings)
            trainer.add_callback(_keeper(self))
            folder = folder_of(checkpoint, trainer.args.output_dir)
            if folder:
                why = self.reference.load(folder, self._fingerprint)
                if why:
                    print(f"rlguide: the reference is computed anew: {why}")
        columns = _COLUMNS[self.stage]
        rows = trainer.args.per_device_train_batch_size * len(columns)
        length = -(-recompute.longest(trainer.train_dataset, columns) // 8) * 8  # the collator pads so
        self._longest_batch = rows * length
        modules = recompute.layers(trainer.model)
        why = _why_plain(trainer) or ("" if modules else "it is off already")
        if "checkpointing" in self.without:
            why = _RAN_OUT
        elif trainer.args.gradient_checkpointing:
            why = "transformers turns it on by itself (gradient_checkpointing)"
        elif recompute.updates_in_backward(trainer):
            why = "the optimizer changes weights in the backward pass, so no step could be computed again"
        if not why:
            self.checkpointing = recompute.Checkpointing(modules)
            why = "the longest example is not known, or examples have pictures"
            if length:
                held = 0 if self.is_lazy else self._logits_bytes()
                why = recompute.why_not_off(trainer, self.checkpointing, rows, length, self.lazily, held)
        self._can("checkpointing", why)
        self.tell()

    def settle(self) -> None:
        """After a step that asked for full logits: let the model make them, as in the engine, which takes less."""
        self.is_lazy, self.why_not["logits"] = False, _asked_in_full()
        is_tight = self.checkpointing is not None and self.checkpointing.is_off
        if is_tight and recompute.LOGITS * self._logits_bytes() > self.checkpointing.spare:
            self.checkpointing.set(True)
            self.why_not["checkpointing"] = "there is no room beside full logits"

    def _logits_bytes(self) -> int:
        """Of the logits of the longest batch in float32."""
        return 4 * self._longest_batch * len(_head(self.trainer).weight)

    def tell(self) -> None:
        """Write what is used, why the rest is not, and what the reference cost and saved."""
        if not self.trainer.is_world_process_zero():
            return
        used = [part for part, is_used in self._parts().items() if is_used]
        counts = {}
        if "logits" in used:
            counts = {"logits_bytes": self._logits_bytes()}
        if self.reference is not None:
            counts |= {"computed": self.reference.computed, "looked_up": self.reference.looked_up}
        self.events.write("lean", used=used, why_not=self.why_not, **counts)

    def _parts(self) -> dict:
        if self.reference is not None and self.reference.why_not:
            self.why_not["reference"] = self.reference.why_not
        if lazy_logits.asked_in_full:
            self.why_not["logits"] = _asked_in_full()
        is_off = self.checkpointing is not None and self.checkpointing.is_off
        if self.checkpointing is not None and not is_off:
            self.why_not.setdefault("checkpointing", _RAN_OUT)
        return {
            "reference": self.reference is not None and not self.reference.why_not,
            "logits": self.is_lazy and not lazy_logits.asked_in_full,
            "checkpointing": is_off,
        }

    def save(self, step: int) -> None:
        """Put the reference's values into the checkpoint of a step."""
        if self.trainer.is_world_process_zero():
            self.reference.save(Path(self.trainer.args.output_dir, f"checkpoint-{step}"), self._fingerprint)


def folder_of(checkpoint, output_dir: str) -> Path | None:
    """The folder that `resume_from_checkpoint` means: a path, True for the last one of `output_dir`, or none."""
    from transformers.trainer_utils import get_last_checkpoint

    found = get_last_checkpoint(output_dir) if checkpoint is True else checkpoint
    return Path(found) if found else None


def _keeper(lean: Lean):
    """A callback that puts what the reference gave into each checkpoint."""
    from transformers import TrainerCallback

    class Keeper(TrainerCallback):
        def on_save(self, args, state, control, **others):
            lean.save(state.global_step)

    return Keeper()


def _why_plain(trainer) -> str:
    """Why a trainer trains as in the engine, or ""."""
    if trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled:
        return "DeepSpeed and FSDP gather weights around the engine's own calls"
    if trainer.args.torch_compile:
        return "torch.compile traces the engine's own calls"
    return "unsloth replaces the model's code" if "unsloth" in sys.modules else ""


def _head(trainer):
    """The module that makes logits of hidden states, None if the model has none."""
    return _language_model(trainer.accelerator.unwrap_model(trainer.model)).get_output_embeddings()


def _language_model(model):
    """The causal language model in a model with a value head, or the model itself."""
    return getattr(model, "pretrained_model", model)


def _asked_in_full() -> str:
    return f"something asks for them in full: {', '.join(sorted(lazy_logits.asked_in_full))}"


def _why_full_logits(trainer, stage: str) -> str:
    head, settings = _head(trainer), trainer.finetuning_args
    if head is None or getattr(head, "weight", None) is None:
        return "the model's head is of another kind"
    if any(type(module).__name__ == "Dropout" and module.p > 0 for module in head.modules()):
        return "the head has dropout, which is another each time that a chunk is computed"
    if stage == "sft" and (trainer.label_smoother or settings.use_asft_loss or settings.use_eaft_loss):
        return "the loss takes every token's probability"
    if trainer.accelerator.num_processes > 1 and trainer.args.ddp_find_unused_parameters is not False:
        return "DDP follows the logits to find unused parameters"  # unset, it may do so once checkpointing is off
    if not any(weight.requires_grad for weight in head.parameters()):
        return ""
    if trainer.accelerator.num_processes > 1:
        return "several processes reduce the gradients of a trained head inside the model"
    # Of a trained head the last bits differ; these make much of them: by the sign, or by a division by small numbers.
    if settings.use_muon or "lion" in str(trainer.args.optim):
        return "the optimizer would enlarge how the gradient of a trained head is rounded"
    return ""


def _why_no_reference(trainer, stage: str) -> str:
    has_one = stage == "kto" or (stage == "dpo" and trainer.finetuning_args.use_ref_model)
    return "" if has_one else "there is none"


def _prepared(engines, stage: str, events, without):
    def __init__(self, *args, **kwargs):
        engines(self, *args, **kwargs)
        self.lean = Lean(self, stage, events, without)

    return __init__


def _measured(engines):
    def train(self, resume_from_checkpoint=None, *args, **kwargs):
        self.lean.begin(resume_from_checkpoint)
        try:
            return engines(self, resume_from_checkpoint, *args, **kwargs)
        finally:
            self.lean.tell()

    return train


def _settled(engines):
    """`training_step`, after which it is seen whether full logits were asked for."""

    def training_step(self, *args, **kwargs):
        before = lazy_logits.asked_in_full.total()
        loss = engines(self, *args, **kwargs)
        if self.lean.is_lazy and lazy_logits.asked_in_full.total() > before:
            self.lean.settle()
        return loss

    return training_step


def _lazily(engines, labels_of):
    """A method (model, batch, ...) inside which the model makes no full logits."""

    @functools.wraps(engines)
    def method(self, model, batch, *args, **kwargs):
        with self.lean.lazily(model, labels_of(batch, **kwargs)):
            return engines(self, model, batch, *args, **kwargs)

    return method
