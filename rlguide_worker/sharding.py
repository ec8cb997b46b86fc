"""What the engine's transformers does not read of a config that shares a training among processes by FSDP.

transformers 4.57 puts `fsdp` into the environment that accelerate reads, but of `fsdp_config` only some keys
(training_args.py, `__post_init__`). The others of accelerate 1.11 (utils/dataclasses.py,
FullyShardedDataParallelPlugin) go there too: without `version` it would be FSDP1, and without `state_dict_type` FSDP2
would write no adapter at all, because transformers' `save_model` saves a full state only.

accelerate writes a checkpoint of an adapter under FSDP2 from the part of one process (fsdp_utils.py,
`_get_model_state_dict` with `adapter_only` gives DTensors), and resumes with that part without a word. So the file is
made whole, and a training is resumed from the checkpoint's `adapter_model.safetensors`, which is.

FSDP2's frozen weights, those of a reference model too, are kept in the type that they were loaded in. accelerate makes
all of them float32 where it computes in 16 bits (fsdp_utils.py, end of `fsdp2_prepare_model`), which doubles them and
changes nothing: they are rounded back to the same 16 bits whenever a layer is gathered. FSDP1 keeps them, too
(accelerator.py, `prepare_model`).

DeepSpeed 0.16 leaves out groups of weights that are empty, as of LoRA those without weight decay are, and torch 2.11
then fails to give each group its learning rate (lr_scheduler.py, `zip(..., strict=True)`). So they are left out before.

On CPUs accelerate leaves FSDP out without a word and trains by DDP (state.py, AcceleratorState: MULTI_CPU is not among
the kinds that it shares). There it is put in, so that a training on CPUs is what its config says.

Nothing of this is done for a training without `fsdp` and `deepspeed`, and nothing to other code than was read: what is
replaced is known by a hash of its source. Other code that would train or resume wrong without a word is refused.
"""

import functools
import json
import os
from pathlib import Path

from known_code import is_known

# sha256 of the source of what is replaced, by the function that replaces it: transformers 4.57.6 and accelerate 1.11.0.
_KNOWN = {
    "resume": "299601ef5f30f7be",
    "frozen": "c600687963aea8c3",
    "groups": "fbf23d7fd5befb1c",
    "cpus": "96c0d15fab92f4dc",
}
# Keys of `fsdp_config`, and the environment variables of accelerate.
_VARIABLES = {
    "version": "FSDP_VERSION",
    "state_dict_type": "FSDP_STATE_DICT_TYPE",
    "reshard_after_forward": "FSDP_RESHARD_AFTER_FORWARD",
}


def prepare(keys: dict) -> None:
    """Let a training with these keys of a config be shared as they say; before the engine reads the config."""
    if keys.get("deepspeed") and _is_known("groups"):
        _leave_out_empty_groups()
    if not keys.get("fsdp"):
        return
    os.environ.update(variables(keys.get("fsdp_config")))
    if os.environ.get("FSDP_VERSION") == "2":
        if keys.get("finetuning_type", "lora") not in ("full", "freeze"):
            _refuse_others("resume", "may write a part of an adapter into checkpoints")
            _resume_whole()
        if _is_known("frozen"):
            _keep_frozen()
    if keys.get("use_cpu"):
        _refuse_others("cpus", "may leave FSDP out on CPUs")
        _share_on_cpus()


def known_code(name: str) -> list:
    """The functions on which a change relies, one of `_KNOWN`."""
    if name == "resume":
        from accelerate.utils import fsdp_utils
        from transformers import Trainer

        return [fsdp_utils.save_fsdp_model, fsdp_utils.load_fsdp_model, Trainer._save_optimizer_and_scheduler]
    if name == "frozen":
        from accelerate.utils.fsdp_utils import fsdp2_prepare_model

        return [fsdp2_prepare_model]
    if name == "groups":
        from transformers import Trainer

        return [Trainer.create_optimizer]
    from accelerate.state import AcceleratorState

    return [AcceleratorState.__init__]


def _is_known(name: str) -> bool:
    return is_known(lambda: known_code(name), _KNOWN[name])


def _refuse_others(name: str, harm: str) -> None:
    """Raises RuntimeError for code that is not known."""
    if not _is_known(name):
        from importlib.metadata import version

        found = " and ".join(f"{package} {version(package)}" for package in ("accelerate", "transformers"))
        raise RuntimeError(
            f"{found} {harm}: known are accelerate 1.11.0 and transformers 4.57.6; use these, or --sharing ddp"
        )


def variables(settings) -> dict:
    """The environment variables for `fsdp_config`: a mapping, JSON, or the name of a JSON file."""
    if isinstance(settings, str):
        if not settings.lstrip().startswith("{"):
            with open(settings, encoding="utf-8") as file:
                settings = file.read()
        settings = json.loads(settings)
    found = {}
    for key, value in (settings or {}).items():
        name = _VARIABLES.get(key.removeprefix("fsdp_"))
        if name is not None:
            found[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return found


def _resume_whole() -> None:
    """Let checkpoints of an adapter hold all of it, and trainings continue with all of it."""
    import transformers.trainer as trainer

    engines_save, engines_load = trainer.save_fsdp_model, trainer.load_fsdp_model

    @functools.wraps(engines_save)
    def save(plugin, accelerator, model, folder, *args, **kwargs):
        if not _is_adapter(model):
            return engines_save(plugin, accelerator, model, folder, *args, **kwargs)
        import torch

        whole = {name: tensor.full_tensor().cpu() for name, tensor in _adapter(model).items()}  # by all processes
        if accelerator.is_main_process:
            torch.save(whole, Path(folder, f"{trainer.FSDP_MODEL_NAME}.bin"))  # by which it is known as FSDP's
        return None

    @functools.wraps(engines_load)
    def load(plugin, accelerator, model, folder, *args, **kwargs):
        if not _is_adapter(model):
            return engines_load(plugin, accelerator, model, folder, *args, **kwargs)
        from safetensors.torch import load_file
        from torch.distributed.tensor import distribute_tensor

        accelerator.wait_for_everyone()
        whole = load_file(Path(folder, "adapter_model.safetensors"))
        for name, part in _adapter(model).items():
            given = whole[name].to(part.device, part.dtype)
            part.to_local().copy_(distribute_tensor(given, part.device_mesh, part.placements).to_local())
        return None

    trainer.save_fsdp_model, trainer.load_fsdp_model = save, load


def _is_adapter(model) -> bool:
    from accelerate.utils import is_peft_model

    return is_peft_model(model)


def _adapter(model) -> dict:
    """The parts of the adapter that this process holds, by the names that they have in a file."""
    from peft import get_peft_model_state_dict

    return get_peft_model_state_dict(model, adapter_name=model.active_adapter)


def _keep_frozen() -> None:
    """Let frozen weights stay in the type that they were loaded in."""
    import accelerate.accelerator
    import torch
    from accelerate.utils import fsdp_utils

    engines = fsdp_utils.fsdp2_prepare_model

    @functools.wraps(engines)
    def prepare_model(accelerator, model):
        if {weight.dtype for weight in model.parameters() if weight.requires_grad} - {torch.float32}:
            return engines(accelerator, model)
        kind = type(model)  # of which FSDP2 makes a subclass; transformers' models have a property of that name there
        own = vars(kind).get("dtype")
        kind.dtype = torch.float32  # by which it decides whether weights are to become so
        try:
            return engines(accelerator, model)
        finally:
            if own is None:
                del kind.dtype
            else:
                kind.dtype = own

    accelerate.accelerator.fsdp2_prepare_model = prepare_model  # of the model that is trained
    fsdp_utils.fsdp2_prepare_model = prepare_model  # of a reference model (LLaMA-Factory, train/dpo/trainer.py)


def _leave_out_empty_groups() -> None:
    from transformers import Trainer

    engines = Trainer.create_optimizer

    @functools.wraps(engines)
    def create_optimizer(self, *args, **kwargs):
        optimizer = engines(self, *args, **kwargs)
        optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["params"]]
        return optimizer

    Trainer.create_optimizer = create_optimizer


def _share_on_cpus() -> None:
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType

    engines = AcceleratorState.__init__

    @functools.wraps(engines)
    def __init__(self, *args, **kwargs):
        engines(self, *args, **kwargs)
        plugin = kwargs.get("fsdp_plugin")
        if plugin is None or self.distributed_type != DistributedType.MULTI_CPU:
            return
        self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
        if self._mixed_precision != "no":
            plugin.set_mixed_precision(self._mixed_precision)
        self.fsdp_plugin = plugin

    AcceleratorState.__init__ = __init__
