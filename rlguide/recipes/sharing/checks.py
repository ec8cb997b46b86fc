"""What cannot be shared among processes, or would be shared otherwise than a config says: refused before the start."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlguide.catalog.methods import Method
from rlguide.engine.find import Engine
from rlguide.engine.hardware import Gpu
from rlguide.errors import EngineError, UsageError
from rlguide.recipes.outward import read_settings
from rlguide.recipes.schedule import is_forced, processes_here
from rlguide.recipes.sharing.ways import FSDP, VALUE_HEAD, ZERO2, ZERO3

_DEEPSPEED = "deepspeed>=0.10,<=0.16.9"  # LLaMA-Factory 0.9.5, requirements/deepspeed.txt
_FEW = 8  # processes that any CPU can be tried with


def check_sharing(root: Path, config: Mapping[str, Any], method: Method, count: int, source: str) -> None:
    """Refuse what LLaMA-Factory fails on after its start, or trains by DDP without a word.

    Args:
        root: the workspace, from which files are named.
        count: processes.

    Raises:
        UsageError: the first of them.
    """
    fsdp, deepspeed = config.get("fsdp"), config.get("deepspeed")
    if fsdp and deepspeed:  # transformers 4.57, trainer.py
        raise UsageError(
            f"{source}: deepspeed and fsdp both share the training", "keep one of them: --set fsdp=null, or deepspeed"
        )
    if not fsdp and not deepspeed:
        return
    name = "fsdp" if fsdp else "deepspeed"
    if count == 1 and not is_forced(os.environ):  # transformers, trainer.py; LLaMA-Factory, hparams/parser.py
        raise UsageError(
            f"{source}: {name} shares a training among processes, and one process would train",
            f"give it more: --nproc 2, or --gpus 0,1; or leave {name} (--sharing) out",
        )
    if method.stage == "ppo":  # trl 0.9.6 generates with the weights that this process has: with FSDP's, a part
        raise UsageError(
            f"{source}: PPO is not shared by {name}: FSDP cannot generate, and DeepSpeed was not tried with it",
            "leave it out (--sharing ddp), and train a quantized or smaller model",
        )
    if fsdp:
        _check_fsdp(root, config, method, source)
    else:
        _check_deepspeed(root, config, source)


def check_way(name: str | None, engine: Engine) -> None:
    """Refuse a way (`ways`) for which the engine lacks its package. Raises EngineError."""
    if name in (ZERO2, ZERO3) and "deepspeed" not in engine.versions:
        python = shlex.quote(str(engine.python))
        raise EngineError(
            f"--sharing {name} needs deepspeed, which the engine does not have",
            f"install it: `{python} -m pip install '{_DEEPSPEED}'`; or use --sharing {FSDP}, which needs nothing",
        )


def _check_fsdp(root: Path, config: Mapping[str, Any], method: Method, source: str) -> None:
    settings = read_settings(root, config.get("fsdp_config"))
    settings = settings if isinstance(settings, dict) else {}
    version = str(settings.get("version", settings.get("fsdp_version", os.environ.get("FSDP_VERSION", 1))))
    if method.stage in VALUE_HEAD and version == "2":
        # trl 0.19.1 renames the weights of such a model in its state_dict, and accelerate 1.11 cannot load that back.
        raise UsageError(
            f"{source}: FSDP2 cannot share a model with a value head ({method.name}): its weights are not found again",
            "use --sharing zero3 (with deepspeed in the engine), or --sharing ddp with a quantized or smaller model",
        )
    if config.get("use_cpu") and version != "2":  # torch 2.11, FullyShardedDataParallel: no available devices
        raise UsageError(f"{source}: FSDP1 needs GPUs", "use FSDP2: --sharing fsdp in the place of the key fsdp")
    bits = config.get("quantization_bit")
    if bits and version == "2":  # accelerate 1.11, fsdp2_load_full_state_dict; measured with bitsandbytes 0.50.2
        raise UsageError(
            f"{source}: FSDP2 cannot share a quantized base: accelerate does not find its weights again",
            "use --sharing ddp, or leave the quantization out",
        )
    if bits and bits != 4:  # LLaMA-Factory 0.9.5, model_utils/quantization.py
        raise UsageError(
            f"{source}: LLaMA-Factory shares only a base of 4 bits by FSDP, and this is of {bits}",
            "use quantization_bit: 4, or --sharing ddp",
        )


def _check_deepspeed(root: Path, config: Mapping[str, Any], source: str) -> None:
    if config.get("use_cpu"):  # accelerate 1.11, state.py: DeepSpeed "and not cpu"
        raise UsageError(
            f"{source}: on CPUs accelerate leaves DeepSpeed out and trains by DDP without a word",
            "leave deepspeed out (--sharing ddp), or share by FSDP2: --sharing fsdp",
        )
    settings = read_settings(root, config["deepspeed"])
    zero = settings.get("zero_optimization") if isinstance(settings, dict) else None
    bits = config.get("quantization_bit")
    if isinstance(zero, dict) and zero.get("stage") == 3 and bits and bits != 4:
        raise UsageError(  # LLaMA-Factory 0.9.5, model_utils/quantization.py
            f"{source}: LLaMA-Factory shares only a base of 4 bits by ZeRO-3, and this is of {bits}",
            "use quantization_bit: 4, or --sharing zero2",
        )


def check_processes(config: Mapping[str, Any], gpus: list[Gpu], environment: Mapping[str, str]) -> None:
    """Refuse more processes than this host has GPUs: torch fails on the first that has none; or far more than it has
    cores, where a CPU trains: a slip of the finger, or somebody else's record, would take all of its memory.

    Args:
        environment: with which the processes are started.

    Raises:
        UsageError: naming how many there can be.
    """
    here = processes_here(config, gpus, environment)
    on_cpu = bool(config.get("use_cpu")) or not gpus
    most = max(_FEW, os.cpu_count() or 1) if on_cpu else len(gpus)
    if here <= most:
        return
    if on_cpu:
        raise UsageError(
            f"{here} processes would train on {os.cpu_count() or 1} CPU cores", f"use at most --nproc {most}"
        )
    seen = ",".join(str(gpu.index) for gpu in gpus)
    raise UsageError(
        f"{here} processes would train on {len(gpus)} GPU{'s' if len(gpus) > 1 else ''} ({seen})",
        f"use --nproc {len(gpus)} (NPROC_PER_NODE says {environment.get('NPROC_PER_NODE', here)}), or more --gpus",
    )
