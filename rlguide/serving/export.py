"""Merge a whole stack (base + adapters) into one ordinary model folder, with LLaMA-Factory's own export.

The engine's export merges the adapters in order exactly as its chat, its API server and the reference of a
training do (model/adapter.py, `adapter_to_merge`), so the merged folder *is* the stack. Two settings decide that:

- `infer_dtype` is the base's own type. Left at `auto`, the engine writes a float32 base as half precision wherever
  a GPU is present (train/tuner.py, `export_model`), and the answers are no longer those of the stack.
- `template` is that of the training: the engine writes its stop tokens into the tokenizer that it saves.

Everything is written into a hidden folder beside the target, read back, and renamed: a target is whole or absent.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlguide import __version__
from rlguide.console import say, warn
from rlguide.engine.find import Engine
from rlguide.engine.hardware import list_gpus
from rlguide.engine.interrupts import interrupts_held
from rlguide.engine.output import explain_failure
from rlguide.engine.process import EngineProcess, is_alive
from rlguide.engine.schema import load_schema
from rlguide.engine.worker import engine_environment
from rlguide.errors import CheckpointError, DataError, EngineError, RlguideError, UsageError
from rlguide.policy.base import find_base, model_name
from rlguide.policy.checkpoint import check_full_model, locate
from rlguide.policy.policy import Policy, check_policy
from rlguide.policy.safetensors import read_header
from rlguide.preferences.progress import format_bytes
from rlguide.recipes.render import format_value
from rlguide.runs.conversation import Wanted, choose_partner
from rlguide.runs.manifest import MANIFEST as RUN_MANIFEST
from rlguide.runs.manifest import Run, open_run, read_run
from rlguide.runs.merge_view import MergeView
from rlguide.workspace import Workspace, atomic_write, free_bytes, locked, read_json, user_cache, write_json

MANIFEST = "rlguide.json"  # what was merged, beside the merged model
# LLaMA Board's record of a training; the one file by which a folder says its template (policy.checkpoint reads it).
TEMPLATE_FILE = "training_args.yaml"
_SHARD_GB = 5  # size of one weight file
_ROOM = 1.05  # weights written for each byte of the base: tokenizer, config, and a little to spare
_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
_FLOATS = {*_DTYPES, "F64", "F8_E4M3", "F8_E5M2"}
_LOG_TAIL = 200_000
OnLine = Callable[[str | None], None]


@dataclass(frozen=True)
class Exported:
    """A merged model. `size` in bytes; `dtype` as torch names it."""

    path: Path
    size: int
    dtype: str
    policy: Policy

    def values(self, ws: Workspace) -> dict[str, Any]:
        """For `--json`."""
        return {
            "path": ws.relative(self.path),
            "bytes": self.size,
            "dtype": self.dtype,
            "base": self.policy.base,
            "stack": list(self.policy.adapters),
            "template": self.policy.template,
        }


def export(ws: Workspace, engine: Engine, wanted: Wanted, output: str | None = None) -> Exported:
    """Merge the run or checkpoint that is meant (as for chat; the newest finished run by default).

    Args:
        output: the folder to make, from the workspace; `saves/<model>/merged/<name>` by default.

    Raises:
        UsageError: a reward model, a model without adapters, or a target that holds something.
        CheckpointError: a part of the stack is missing or damaged.
        EngineError: the engine failed; the message has the cause and the log.
    """
    run = _run_meant(ws, wanted)
    if run is not None:
        _check_run(ws, run)
    partner = choose_partner(ws, wanted, lambda: load_schema(engine).model_templates)
    policy = partner.policy
    _check_adapters(policy)
    target = ws.root / Path(output).expanduser() if output else default_folder(ws, policy)
    keys = {key: value for key, value in partner.args.items() if key not in policy.model_config()}
    say(f"merging {partner.title}")
    say(f"into {ws.relative(target)}")
    merge(ws, engine, policy, target, keys=keys)
    return Exported(target, folder_size(target), str(read_json(target / MANIFEST)["dtype"]), policy)


def wanted_step(ws: Workspace, name: str | None, step: int) -> str:
    """The checkpoint of this step of a run (the newest finished one without a name). Raises UsageError."""
    run = open_run(ws, name, finished=name is None)
    folder = run.path / f"checkpoint-{step}"
    if not folder.is_dir():
        known = sorted(int(path.name.partition("-")[2]) for path in run.path.glob("checkpoint-*") if path.is_dir())
        raise UsageError(
            f"{ws.relative(run.path)} has no checkpoint of step {step}",
            f"its checkpoints: {', '.join(map(str, known))}" if known else "leave --checkpoint out",
        )
    return str(folder)


def next_steps(ws: Workspace, done: Exported) -> list[str]:
    """What was made and what to do with it, a line each."""
    folder = shlex.quote(ws.relative(done.path))
    modelfile = shlex.quote(ws.relative(done.path / "Modelfile"))
    name = re.sub(r"[^a-z0-9._-]+", "-", done.path.name.lower()).strip("-.") or "model"
    return [
        f"{format_bytes(done.size)}, {done.dtype}, template {done.policy.template}",
        f"talk to it: rlguide chat {folder}",
        f"serve it: vllm serve {folder}    or: ollama create {name} -f {modelfile}",
    ]


def merge(
    ws: Workspace,
    engine: Engine,
    policy: Policy,
    target: Path,
    on_line: OnLine | None = None,
    keys: Mapping[str, Any] | None = None,
) -> Path:
    """Merge a policy's whole stack into the folder `target`, which must not exist or be empty.

    Args:
        on_line: called with each line of the engine's output, None while it is quiet (about 5 times a second);
            without it the progress is shown on the screen.
        keys: further LLaMA-Factory keys that loading needs (trust_remote_code, resize_vocab, ...).

    Returns:
        `target`, read back and whole.

    Raises:
        UsageError: nothing to merge, or the target holds something.
        CheckpointError: a part of the stack is missing or damaged.
        RlguideError: the disk is too small.
        EngineError: the engine failed.
    """
    _check_adapters(policy)
    _check_target(ws, policy, target)
    for note in check_policy(ws, policy):
        warn(note)
    found = fingerprint(ws, policy)
    if found["dtype"] is None:
        warn(f"the weight type of {policy.base} is not known here: LLaMA-Factory chooses the type of the merged model")
    needed = int(found["base_bytes"] * _ROOM)
    if free_bytes(target) < needed:
        raise RlguideError(
            f"the merged model needs {format_bytes(needed)}, and {format_bytes(free_bytes(target))} are free",
            "free some space, or choose a folder on another disk with --output",
        )
    try:
        with locked(target):
            _check_target(ws, policy, target)  # another rlguide may have made it meanwhile
            _remove_abandoned(target)
            with _partial(target) as partial:
                _run_engine(ws, engine, config(policy, partial, found, keys or {}), partial, needed, on_line)
                _finish(partial, policy, found)
                partial.replace(target)
    except OSError as error:
        raise RlguideError(
            f"cannot write {target}: {error.strerror or error}", "choose a folder you may write to with --output"
        ) from error
    return target


def merged_base(
    ws: Workspace,
    engine: Engine,
    policy: Policy,
    on_line: OnLine | None = None,
    keys: Mapping[str, Any] | None = None,
) -> str:
    """One model folder that is exactly this stack, for `model_name_or_path` where adapters cannot be stacked.

    A folder that was merged from the same base, adapters (by their content) and template is used again; else it is
    made under `saves/<model>/merged/`. A policy without adapters is its own base.

    Returns:
        The folder as a config names it (from the workspace).

    Raises:
        as `merge`.
    """
    if not policy.adapters:
        return policy.base
    target = default_folder(ws, policy)
    found = fingerprint(ws, policy)
    # The stack below was trained again since: its older merge is kept, and this one gets a name of its own.
    other = target.with_name(f"{target.name}-{_digest(found)}")
    for folder in (target, other):
        if is_merge_of(folder, found):
            say(f"merged already: {ws.relative(folder)}")
            return ws.relative(folder)
    free = target if not _holds_something(target) else other
    try:
        merge(ws, engine, policy, free, on_line, keys)
    except UsageError:
        if not is_merge_of(free, found):  # else another rlguide made it while this one waited
            raise
    return ws.relative(free)


def default_folder(ws: Workspace, policy: Policy) -> Path:
    """`saves/<model>/merged/<name>`: named after the topmost adapter, beside the method folders of its model."""
    top = locate(ws, policy.adapters[-1])
    step = re.fullmatch(r"checkpoint-(\d+)", top.name)
    run = top.parent if step else top
    name = f"{run.name}-{step[1]}" if step else run.name
    try:
        parts = run.resolve().relative_to(ws.saves.resolve()).parts
    except ValueError:
        parts = ()
    model = parts[0] if len(parts) > 1 else model_name(policy.base)
    return ws.saves / model / "merged" / name


def config(policy: Policy, folder: Path, found: Mapping[str, Any], keys: Mapping[str, Any]) -> dict[str, Any]:
    """The LLaMA-Factory config that merges the policy into `folder`."""
    dtype = found["dtype"]
    return {
        **keys,
        **policy.model_config(),
        "trust_remote_code": bool(keys.get("trust_remote_code", False)),
        "infer_dtype": dtype if dtype in _DTYPES.values() else "auto",
        "export_dir": str(folder.absolute()),
        "export_size": _SHARD_GB,
        "export_device": _device(found["base_bytes"]),
        "export_legacy_format": False,
    }


def fingerprint(ws: Workspace, policy: Policy) -> dict[str, Any]:
    """What decides the merged weights: base (by name and files), adapters (by SHA-256), template, type.

    Raises:
        CheckpointError: a part is missing.
    """
    base = find_base(ws, policy.base)
    folder = base.folder or _snapshot(policy.base)
    weights = _weight_files(folder) if folder else []
    # A local base can be trained again in place; a snapshot of the hub cannot, and its folder is named by commit.
    stamps = {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in weights} if base.folder else {}
    return {
        "base": policy.base,
        "base_commit": folder.name if folder and not base.folder else None,
        "base_files": stamps,
        "base_bytes": sum(path.stat().st_size for path in weights),
        "dtype": _dtype(base.config or {}, weights),
        "template": policy.template,
        "adapters": [{"path": item, "sha256": _sha256(locate(ws, item))} for item in policy.adapters],
    }


def is_merge_of(folder: Path, found: Mapping[str, Any]) -> bool:
    """Whether `folder` holds, whole and unchanged, the merge of what the fingerprint says (paths may differ)."""
    try:
        manifest = read_json(folder / MANIFEST)
        check_full_model(folder)
        sizes = {path.name: path.stat().st_size for path in _weight_files(folder)}
        return bool(manifest["files"] == sizes and _identity(manifest) == _identity(found))
    except (DataError, CheckpointError, KeyError, TypeError, OSError):
        return False


def folder_size(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _identity(values: Mapping[str, Any]) -> tuple[Any, ...]:
    adapters = [item["sha256"] for item in values["adapters"]]
    keys = ("base", "base_commit", "base_files", "dtype", "template")
    return (*(values[key] for key in keys), adapters)


def _digest(found: Mapping[str, Any]) -> str:
    return hashlib.sha256(repr(_identity(found)).encode()).hexdigest()[:8]


def _sha256(adapter: Path) -> str:
    """Of the adapter's weights and of its config, which holds the scale (lora_alpha)."""
    digest = hashlib.sha256()
    weights = [path for path in (adapter / "adapter_model.safetensors", adapter / "adapter_model.bin") if path.exists()]
    if not weights:
        raise CheckpointError(f"{adapter} has no adapter weights", "copy the folder again, or choose another one")
    for path in (weights[0], adapter / "adapter_config.json"):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _snapshot(name: str) -> Path | None:
    """The folder of a hub model in the cache, None if it is not there."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json")
    return Path(found).parent if isinstance(found, str) else None


def _weight_files(folder: Path) -> list[Path]:
    for pattern in ("model*.safetensors", "pytorch_model*.bin"):
        files = sorted(folder.glob(pattern))
        if files:
            return files
    return []


def _dtype(config: Mapping[str, Any], weights: list[Path]) -> str | None:
    """The type in which the engine loads the base: what its config says, else what its first weights are."""
    text = config.get("text_config")
    for place in (config, text if isinstance(text, dict) else {}):
        for key in ("dtype", "torch_dtype"):
            if isinstance(place.get(key), str):
                return str(place[key])
    for path in weights[:1]:
        if path.suffix == ".safetensors":
            for tensor in read_header(path).values():
                if tensor.dtype in _FLOATS:
                    return _DTYPES.get(tensor.dtype)
    return None


def _device(size: int) -> str:
    """ "auto" (the GPU) if one has room for the model: chat merges there too, and every rounding is then the same."""
    return "auto" if any(gpu.free_bytes > 1.3 * size + (1 << 30) for gpu in list_gpus()) else "cpu"


def _run_meant(ws: Workspace, wanted: Wanted) -> Run | None:
    """The run that is meant, None if a plain checkpoint is."""
    if wanted.name is None:
        return open_run(ws, finished=True) if wanted.base is None else None
    path = locate(ws, wanted.name)
    return read_run(path) if (path / RUN_MANIFEST).is_file() else None


def _check_run(ws: Workspace, run: Run) -> None:
    """Refuse a reward model; warn where the adapter was trained above a quantized base."""
    if run.values.get("method") == "rm":
        raise UsageError(
            f"{ws.relative(run.path)} is a reward model: it scores answers, it does not write them",
            "name the run of a policy: rlguide export RUN",
        )
    bits = run.config.get("quantization_bit")
    if bits:
        warn(
            f"the adapter was trained above a {bits}-bit base and is merged into the full one, as is usual: "
            "answers can differ a little from those of the training"
        )


def _check_adapters(policy: Policy) -> None:
    if not policy.adapters:
        raise UsageError(
            f"{policy.base} is one model already: there is no adapter to merge", f"use it as it is: {policy.base}"
        )


def _check_target(ws: Workspace, policy: Policy, target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is a file", "name a new folder with --output")
    if _holds_something(target):
        try:
            again = is_merge_of(target, fingerprint(ws, policy))
        except CheckpointError:
            again = False
        what = "holds the merge of exactly this stack already" if again else "holds something already"
        raise UsageError(
            f"{ws.relative(target)} {what}",
            "use it as it is, or name another folder with --output" if again else "name a new folder with --output",
        )


def _holds_something(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


@contextmanager
def _partial(target: Path) -> Iterator[Path]:
    """A hidden folder beside the target, gone at the end unless it was renamed. Checkpoint lists skip hidden ones."""
    partial = target.parent / f".{target.name}.{os.getpid()}.merging"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _remove_abandoned(target: Path) -> None:
    """Remove what a killed rlguide left behind. Called under the target's lock."""
    for folder in target.parent.glob(".*.merging"):
        match = re.fullmatch(r"\.(.+)\.(\d+)\.merging", folder.name)
        if match and match[1] == target.name and not is_alive(int(match[2])):
            shutil.rmtree(folder, ignore_errors=True)


def _run_engine(
    ws: Workspace, engine: Engine, values: dict[str, Any], partial: Path, size: int, on_line: OnLine | None
) -> None:
    """Run `llamafactory-cli export`; its config and log stay only where an error names them."""
    logs = user_cache() / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="export-", dir=logs))
    log, file = folder / "engine.log", folder / "export.yaml"
    with atomic_write(file) as out:
        out.writelines(f"{key}: {format_value(value)}\n" for key, value in values.items())
    is_kept = False
    try:
        command = [str(engine.cli), "export", str(file)]
        with ExitStack() as stack:
            with interrupts_held():
                process = stack.enter_context(EngineProcess(command, ws.root, engine_environment(engine), log))
            view = stack.enter_context(MergeView(partial, size, quiet=on_line is not None))
            for line in process.lines():
                (on_line or view.read)(line)
            code = process.process.wait()
        if code != 0:
            is_kept = True
            failure = explain_failure(log.read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL:], code)
            todo = failure.todo.replace("`rlguide train --resume`", "merge again")
            raise EngineError(f"the stack could not be merged: {failure.what}", f"{todo}; log: {log}")
    finally:
        if not is_kept:
            shutil.rmtree(folder, ignore_errors=True)


def _finish(partial: Path, policy: Policy, found: Mapping[str, Any]) -> None:
    """Read the merged model back and write beside it what it is. Raises EngineError if it is not what was asked."""
    try:
        check_full_model(partial)
    except CheckpointError as error:
        raise EngineError(f"the merged model is not whole: {error.what}", "look at `rlguide doctor`") from error
    files = _weight_files(partial)
    wanted = found["dtype"]
    for path in files:
        types = {tensor.dtype for tensor in read_header(path).values()} & _FLOATS
        if wanted in _DTYPES.values() and types - {key for key, value in _DTYPES.items() if value == wanted}:
            raise EngineError(
                f"{path.name} was saved as {', '.join(sorted(types))}, and the base model is {wanted}",
                "its answers would differ from those of the stack; look at `rlguide doctor`",
            )
    if policy.template:
        with atomic_write(partial / TEMPLATE_FILE) as file:
            file.write("# The chat template that this model was trained with; written by rlguide export.\n")
            file.write(f"template: {format_value(policy.template)}\n")
    sizes = {path.name: path.stat().st_size for path in files}
    write_json(partial / MANIFEST, {"rlguide": __version__, **found, "files": sizes})
