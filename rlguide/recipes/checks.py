"""Everything that can be known about a config before the engine starts, checked in well under two seconds."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlguide.catalog.methods import Method, method_of, methods
from rlguide.engine.capabilities import can
from rlguide.engine.config_file import split_names
from rlguide.engine.find import Engine
from rlguide.engine.hardware import Gpu, list_gpus
from rlguide.engine.schema import Schema, load_schema
from rlguide.errors import CheckpointError, EngineError, UsageError, did_you_mean
from rlguide.policy.base import BaseModel, check_base, find_base
from rlguide.policy.checkpoint import Checkpoint, read_checkpoint
from rlguide.policy.policy import check_reference
from rlguide.workspace import Workspace

REQUIRED = ("stage", "model_name_or_path", "dataset", "template", "output_dir")
# Names of secrets, by rule: keys that LLaMA-Factory or a tracker will have tomorrow are among them. "add_tokens",
# "max_new_tokens" and "ignore_pad_token_for_loss" are not, nor is a number or a boolean.
_SECRET = re.compile(
    r"(^|[_.-])(token|api_?key|access_?key|private_?key|secret_?key|key)$|secret|passw(or)?d|passphrase|webhook|credential",
    re.IGNORECASE,
)
_URL_SECRET = re.compile(
    r"[a-z][a-z0-9+.-]*://[^/\s?#]*@|[?&](access_)?(token|key|api_key|secret|signature|sig)=", re.I
)
# By the start of a key, the variable that the service itself reads; HF_TOKEN for any other token.
_VARIABLES = {
    "swanlab_api": "SWANLAB_API_KEY",
    "wandb": "WANDB_API_KEY",
    "ms_": "MODELSCOPE_API_TOKEN",
    "om_": "OM_TOKEN",
    "comet": "COMET_API_KEY",
    "neptune": "NEPTUNE_API_TOKEN",
}


@dataclass(frozen=True)
class Host:
    """What a config is checked against: the engine, its argument table, and the GPUs that it will see."""

    engine: Engine
    schema: Schema
    gpus: list[Gpu]


def look_at_host(engine: Engine, gpus: list[Gpu] | None = None) -> Host:
    """The host with this engine, or as if it had these GPUs. Raises EngineError if the engine does not import."""
    return Host(engine, load_schema(engine), list_gpus() if gpus is None else gpus)


def check_keys(config: Mapping[str, Any], schema: Schema, source: str) -> None:
    """Refuse unknown keys, wrong types, unknown choices and secrets.

    Args:
        source: what the config is called in the message ("configs/dpo_config.yaml", "--set").

    Raises:
        UsageError: with the first problem, and how many more there are.
    """
    check_secrets(config, source)
    problems = schema.problems(dict(config))
    if problems:
        more = f" (and {len(problems) - 1} more: {'; '.join(problems[1:4])})" if len(problems) > 1 else ""
        raise UsageError(
            f"{source}: {problems[0]}{more}", "correct it; LLaMA-Factory's argument table has the valid keys"
        )


def check_secrets(values: Any, source: str, name: str = "") -> None:
    """Refuse secrets in a config, also in mappings and lists within it; the message never holds the value.

    Raises:
        UsageError: naming the key, and where its secret belongs.
    """
    pairs = values.items() if isinstance(values, Mapping) else [(name, item) for item in values]
    for key, value in pairs:
        if isinstance(value, (Mapping, list)):
            check_secrets(value, source, str(key))
        elif isinstance(value, str) and value.strip() and names_secret(str(key)):
            starts = (variable for start, variable in _VARIABLES.items() if str(key).startswith(start))
            variable = next(starts, "HF_TOKEN" if str(key).lower().endswith("token") else None)
            instead = f"set {variable} in the environment" if variable else "keep it in the environment of its service"
            raise UsageError(f"{source}: {key} would be written to disk with the run", f"remove it and {instead}")
        elif isinstance(value, str) and holds_secret(value):
            raise UsageError(
                f"{source}: the URL in {key} holds a secret, which would be written to disk with the run",
                "remove it from the URL; tokens of hubs come from HF_TOKEN or MODELSCOPE_API_TOKEN in the environment",
            )


def names_secret(key: str) -> bool:
    """Whether a key of this name holds a secret, as its name says."""
    return _SECRET.search(key) is not None


def holds_secret(text: str) -> bool:
    """Whether a text has a user name or a token in a URL."""
    return _URL_SECRET.search(text) is not None


def check_values(config: Mapping[str, Any], host: Host, source: str) -> None:
    """Refuse values that are valid one by one, but would fail or mislead: template, reference, precision.

    Raises:
        UsageError: the first of them.
    """
    template = config["template"]
    if template not in host.schema.templates:
        near = did_you_mean(str(template), list(host.schema.templates))
        raise UsageError(
            f"{source}: LLaMA-Factory has no template {template!r}{near}", "see `--template` in `rlguide train -h`"
        )
    check_reference(config)
    _check_precision(config, host.gpus, source)


def check_required(config: Mapping[str, Any], source: str) -> None:
    """Refuse a config without a key that every training needs. Raises UsageError."""
    for key in REQUIRED:
        if config.get(key) in (None, ""):
            raise UsageError(f"{source}: {key} is missing", f"add `{key}: ...` or --set {key}=...")


def check_method(config: Mapping[str, Any], versions: Mapping[str, str], source: str) -> Method:
    """The method of a config: one that this engine really trains, with no key that only another method reads.

    Raises:
        UsageError: no such method, or a key without effect.
        EngineError: the engine would silently train something else, or cannot train it.
    """
    loss = config.get("pref_loss")
    method = method_of(config)
    if method is None:
        raise UsageError(
            f"{source}: rlguide knows no method with stage {config['stage']}"
            + (f" and pref_loss {loss}" if loss else ""),
            "`rlguide methods` lists them",
        )
    owners = {key: other.name for other in methods().values() for key in other.keys}
    for key in config:
        if key in owners and key not in method.keys:
            raise UsageError(
                f"{source}: {key} has no effect with {method.name}", f"remove it; it belongs to {owners[key]}"
            )
    if config.get("dpo_label_smoothing") and (loss or "sigmoid") != "sigmoid":
        raise UsageError(
            f"{source}: dpo_label_smoothing has no effect with pref_loss {loss}", "it belongs to sigmoid; remove it"
        )
    limitation = can(versions, method.name, loss)
    if limitation is not None:
        raise EngineError(limitation.what, limitation.fix)
    return method


def check_models(config: Mapping[str, Any], ws: Workspace, source: str) -> tuple[BaseModel, list[str]]:
    """Check the base and every adapter that the config names; returns the base and warnings. Raises CheckpointError."""
    named = str(config["model_name_or_path"])
    if (parts := Path(named).parts)[0:1] == ("saves",) and not os.path.lexists(ws.root / named):
        raise CheckpointError(f"{source}: {named} does not exist", _how_to_make(ws, parts))
    base = find_base(ws, named)
    warnings = base.notes
    for name in split_names(config.get("adapter_name_or_path")):
        checkpoint = _adapter(ws, name, named, source)
        # The names may differ: a config is a person's own, and configure has compared them when it wrote it.
        warnings += [note for note in check_base(checkpoint, base, trust_base=True) if note not in warnings]
    return base, warnings


def _adapter(ws: Workspace, name: str, base: str, source: str) -> Checkpoint:
    try:
        return read_checkpoint(ws.root / name, ws)
    except CheckpointError as error:
        if os.path.lexists(ws.root / name):
            raise
        raise CheckpointError(
            f"{source}: {error.what}",
            f"train it: `rlguide train --method sft --base {shlex.quote(base)}`;"
            " or name yours (adapter_name_or_path): `rlguide checkpoints` lists them",
        ) from error


def _how_to_make(ws: Workspace, parts: tuple[str, ...]) -> str:
    """The fix for a model that a config expects under saves/, by the parts of its path: a merged one is exported."""
    if len(parts) == 4 and parts[2] == "merged":
        run = "/".join((parts[0], parts[1], "lora", parts[3]))
        if (ws.root / run).is_dir():
            return f"merge it: `rlguide export {shlex.quote(run)}`; or name yours (model_name_or_path)"
    return "name yours (model_name_or_path), a hub id or a folder: `rlguide checkpoints` lists those under saves/"


def _check_precision(config: Mapping[str, Any], gpus: list[Gpu], source: str) -> None:
    if config.get("bf16") and config.get("fp16"):
        raise UsageError(
            f"{source}: bf16 and fp16 are both true", "keep bf16 on Ampere GPUs and newer, fp16 on older ones"
        )
    if not gpus and not config.get("use_cpu") and (config.get("bf16") or config.get("fp16")):
        raise UsageError(
            f"{source} asks for bf16 or fp16, but there is no GPU here",
            "to train on the CPU: --set use_cpu=true --set bf16=false --set fp16=false",
        )
    if gpus and config.get("bf16") and not config.get("use_cpu") and not all(gpu.has_bf16 for gpu in gpus):
        raise UsageError(f"{source}: {gpus[0].name} has no bfloat16", "use --set bf16=false --set fp16=true")
