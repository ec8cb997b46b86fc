"""Merge a whole stack (base + adapters) into one ordinary model folder, with LLaMA-Factory's own export.

The engine's export merges the adapters in order exactly as its chat, its API server and the reference of a
training do (model/adapter.py, `adapter_to_merge`), so the merged folder *is* the stack. Two settings decide that:

- `infer_dtype` is the base's own type. Left at `auto`, the engine writes a float32 base as half precision wherever
  a GPU is present (train/tuner.py, `export_model`), and the responses are no longer those of the stack.
- `template` is that of the training: the engine writes its stop tokens into the tokenizer that it saves.

Everything is written into a hidden folder beside the target, read back, scored beside the stack
(policy/merge_compare.py), and renamed: a target is complete and the model that was trained, or absent.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rlguide.console import say, warn
from rlguide.engine.find import Engine
from rlguide.engine.schema import load_schema
from rlguide.errors import RlguideError
from rlguide.policy.merge import check_adapters, default_folder, merge
from rlguide.policy.merge_fingerprint import MANIFEST, fingerprint, is_merge_of
from rlguide.policy.modelfile import MODELFILE
from rlguide.policy.policy import Policy
from rlguide.progress import format_bytes
from rlguide.runs.choose import ModelRequest, choose_partner, run_meant
from rlguide.runs.record import Run
from rlguide.serving.card import write_card
from rlguide.serving.on_record import CARD
from rlguide.workspace import Workspace, read_json


@dataclass(frozen=True)
class Exported:
    """A merged model. `name`: its path from the workspace; `size` in bytes; `dtype` as torch names it.

    `compared`: how far it is from the stack (`policy.merge_compare.Comparison`); None if it was not compared.
    """

    path: Path
    name: str
    size: int
    dtype: str
    policy: Policy
    compared: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "path": self.name,
            "bytes": self.size,
            "dtype": self.dtype,
            "base": self.policy.base,
            "stack": list(self.policy.adapters),
            "template": self.policy.template,
            "compared": self.compared,
        }


@dataclass(frozen=True)
class Wish:
    """How the model is exported.

    Attributes:
        output: the folder to make, from the workspace; `saves/<model>/merged/<name>` by default.
        is_compared: whether the merged model is scored beside the stack before the folder gets its name.
        may_exist: whether a folder that holds this very merge is taken as it is.
    """

    output: str | None = None
    is_compared: bool = True
    may_exist: bool = False


def export(ws: Workspace, engine: Engine, wanted: ModelRequest, wish: Wish = Wish()) -> Exported:
    """Merge the run or checkpoint that is meant (as for chat; the newest usable run by default).

    Raises:
        UsageError: a reward model, a model without adapters, or a target that holds something.
        CheckpointError: a part of the stack is missing or damaged.
        EngineError: the engine failed, or the merged model is not the stack; the message has the cause.
    """
    run = run_meant(ws, wanted)
    if run is not None:
        _warn_of_quantization(run)
        wanted = replace(wanted, name=run.name)
    partner = choose_partner(ws, wanted, lambda: load_schema(engine).model_templates)
    policy = partner.policy
    check_adapters(policy)
    target = ws.root / Path(wish.output).expanduser() if wish.output else default_folder(ws, policy)
    keys = {key: value for key, value in partner.args.items() if key not in policy.model_config()}
    if run is not None and type(cutoff := run.config.get("cutoff_len")) is int:
        keys["cutoff_len"] = cutoff
    name = ws.relative(target)
    if wish.may_exist and is_merge_of(target, fingerprint(ws, policy)):
        say(f"merged already: {name}")
    else:
        say(f"merging {partner.title}")
        say(f"into {name}")
        if not wish.is_compared:
            warn("the merged model will not be compared with the stack (--no-verify)")
        merge(ws, engine, policy, target, keys, wish.is_compared)
    if not (target / CARD).is_file():  # else somebody may have written more into it
        write_card(ws, target, policy, run)
    manifest = read_json(target / MANIFEST)
    return Exported(target, name, folder_size(target), str(manifest["dtype"]), policy, manifest.get("compared"))


def next_steps(done: Exported) -> list[str]:
    """What was made and what to do with it, one line each."""
    folder = shlex.quote(done.name)
    ollama = f"    or: {ollama_command(done, done.path / MODELFILE)}" if (done.path / MODELFILE).is_file() else ""
    if done.compared:
        apart, before = (f"{done.compared[key]:.1g}" for key in ("difference", "trained_difference"))
        compared = (
            f"log-probabilities are those of the stack: at most {apart} nats off, {before} from those in training"
        )
    else:
        compared = "not compared with the stack"
    return [
        f"{format_bytes(done.size)}, {done.dtype}, template {done.policy.template}",
        compared,
        f"chat with it: rlguide chat {folder}",
        f"serve it: vllm serve {folder}{ollama}",
    ]


def ollama_command(done: Exported, file: Path) -> str:
    """What makes a model of ollama of a Modelfile. Raises RlguideError where there is none."""
    if not file.is_file():
        raise RlguideError(
            f"no Modelfile can say the template {done.policy.template} as it was in training",
            f"serve the model with its own chat template: `vllm serve {shlex.quote(done.name)}`",
        )
    name = re.sub(r"[^a-z0-9._-]+", "-", done.path.name.lower()).strip("-.") or "model"
    beside = f"{done.name}/{file.name}" if file.parent == done.path else str(Path(done.name).parent / file.name)
    return f"ollama create {name} -f {shlex.quote(beside)}"


def folder_size(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _warn_of_quantization(run: Run) -> None:
    bits = run.config.get("quantization_bit")
    if bits:
        warn(
            f"the adapter was trained above a {bits}-bit base and is merged into the full one, as is usual: "
            "responses can differ slightly from those during training"
        )
