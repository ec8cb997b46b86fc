"""Merge a stack into one model with the engine: atomic, and reused while nothing below it changes."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlguide import __version__
from rlguide.console import say, warn
from rlguide.engine.config_file import format_value
from rlguide.engine.find import Engine
from rlguide.engine.hardware import list_gpus
from rlguide.engine.job import JobFailed, cli_command, run_job
from rlguide.engine.process import is_alive
from rlguide.errors import CheckpointError, EngineError, RlguideError, UsageError
from rlguide.locks import locked
from rlguide.policy.base import model_name
from rlguide.policy.checkpoint import NOT_VERIFIED, check_full_model, locate
from rlguide.policy.merge_compare import Comparison, compare
from rlguide.policy.merge_fingerprint import DTYPES, FLOATS, MANIFEST, PROMPT_KEYS, digest_of, fingerprint, is_merge_of
from rlguide.policy.merge_template import match_template
from rlguide.policy.merge_view import MergeView
from rlguide.policy.parts import weight_files
from rlguide.policy.policy import Policy, check_policy
from rlguide.policy.safetensors import read_header
from rlguide.policy.tied_embeddings import check_tied
from rlguide.progress import format_bytes
from rlguide.workspace import Workspace, atomic_write, free_bytes, log_folder, read_json, write_json

# LLaMA Board's record of a training; the one file by which a folder says its template (policy.checkpoint reads it).
TEMPLATE_FILE = "training_args.yaml"
_SHARD_GB = 5  # size of one weight file
_ROOM = 1.05  # weights written for each byte of the base: tokenizer, config, and a little to spare


def merge(
    ws: Workspace,
    engine: Engine,
    policy: Policy,
    target: Path,
    keys: Mapping[str, Any] | None = None,
    is_compared: bool = True,
) -> Path:
    """Merge a policy's whole stack into the folder `target`, which must not exist or be empty.

    Args:
        keys: further LLaMA-Factory keys that loading needs (trust_remote_code, resize_vocab, ...).
        is_compared: whether the merged model is scored beside the stack, and refused if it is another one.

    Returns:
        `target`, read back and complete.

    Raises:
        UsageError: nothing to merge, the target holds something, or a tied layer was trained.
        CheckpointError: a part of the stack is missing or damaged.
        RlguideError: the disk is too small.
        EngineError: the engine failed, or the merged model is not the stack.
    """
    check_adapters(policy)
    _check_target(ws, policy, target)
    for note in check_policy(ws, policy):
        warn(note)
    check_tied(ws, policy)
    found = fingerprint(ws, policy)
    if found["dtype"] is None:
        warn(f"the weight type of {policy.base} is unknown: LLaMA-Factory chooses the type of the merged model")
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
                values = config(policy, partial, found, keys or {})
                with MergeView(partial, needed) as view:
                    _run_engine(ws, engine, values, view)
                _finish(partial, policy, found["dtype"])
                if policy.template:
                    match_template(engine, partial, policy.template, keys or {})
                compared = _compared(ws, engine, policy, values, target) if is_compared else None
                prompts = {key: (keys or {}).get(key) for key in PROMPT_KEYS}
                _write_manifest(partial, {**found, "prompts": prompts}, compared)
                partial.replace(target)
    except OSError as error:
        raise RlguideError(
            f"cannot write {target}: {error.strerror or error}", "choose a folder you may write to with --output"
        ) from error
    return target


def _compared(ws: Workspace, engine: Engine, policy: Policy, values: dict[str, Any], target: Path) -> Comparison:
    """Compare; a merge that fails is kept beside its target under a name that says so: it took hours, maybe.

    Raises:
        EngineError: as `merge_compare.compare`; says where the merge lies now.
    """
    try:
        return compare(engine, ws.root, policy, values)
    except EngineError as error:
        kept = target.with_name(target.name + NOT_VERIFIED)
        shutil.rmtree(kept, ignore_errors=True)  # of an earlier try
        Path(values["export_dir"]).replace(kept)
        raise EngineError(f"{error.what}; it is kept as {ws.relative(kept)}", error.fix) from error


def merged_base(ws: Workspace, engine: Engine, policy: Policy) -> str:
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
    other = target.with_name(f"{target.name}-{digest_of(found)}")
    for folder in (target, other):
        if is_merge_of(folder, found):
            never = "" if read_json(folder / MANIFEST).get("compared") else ", never compared with the stack"
            say(f"merged already{never}: {ws.relative(folder)}")
            return ws.relative(folder)
    free = target if not _holds_something(target) else other
    try:
        merge(ws, engine, policy, free)
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


def check_adapters(policy: Policy) -> None:
    """Raises UsageError for a policy that is a single model: there is nothing to merge."""
    if not policy.adapters:
        raise UsageError(
            f"{policy.base} is a single model already: there is no adapter to merge", f"use it as it is: {policy.base}"
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


def config(policy: Policy, folder: Path, found: Mapping[str, Any], keys: Mapping[str, Any]) -> dict[str, Any]:
    """The config of LLaMA-Factory's export into `folder`, in the base model's own type."""
    dtype, size = found["dtype"], found["base_bytes"]
    # An adapter that was trained above a quantized base is merged into the full one: the engine refuses any other way.
    keys = {key: value for key, value in keys.items() if not key.startswith(("quantization_", "double_quantization"))}
    # On the GPU if one has room for the model: chat merges there too, and every rounding is then the same.
    has_room = any(gpu.free_bytes > 1.3 * size + (1 << 30) for gpu in list_gpus())
    return {
        **keys,
        **policy.model_config(),
        "trust_remote_code": bool(keys.get("trust_remote_code", False)),
        "infer_dtype": dtype if dtype in DTYPES.values() else "auto",
        "export_dir": str(folder.absolute()),
        "export_size": _SHARD_GB,
        "export_device": "auto" if has_room else "cpu",
        "export_legacy_format": False,
    }


def _run_engine(ws: Workspace, engine: Engine, values: dict[str, Any], view: MergeView) -> None:
    """Run `llamafactory-cli export`; its config and log stay only where an error names them."""
    folder = Path(tempfile.mkdtemp(prefix="export-", dir=log_folder()))
    log, file = folder / "engine.log", folder / "export.yaml"
    with atomic_write(file) as out:
        out.writelines(f"{key}: {format_value(value)}\n" for key, value in values.items())
    is_kept = False
    try:
        run_job(engine, cli_command(engine, ws.root, "export", str(file)), log, view.handle)
    except JobFailed as error:
        is_kept = True
        raise EngineError(f"the stack could not be merged: {error.what}", f"{error.cause.fix}; log: {log}") from error
    finally:
        if not is_kept:
            shutil.rmtree(folder, ignore_errors=True)


def _finish(partial: Path, policy: Policy, wanted: str | None) -> None:
    """Read the merged model back and note its template. Raises EngineError if it is not complete or of another type."""
    try:
        check_full_model(partial)
    except CheckpointError as error:
        raise EngineError(f"the merged model is incomplete: {error.what}", "run `rlguide doctor`") from error
    for path in weight_files(partial):
        types = {tensor.dtype for tensor in read_header(path).values()} & FLOATS
        if wanted in DTYPES.values() and types - {key for key, value in DTYPES.items() if value == wanted}:
            raise EngineError(
                f"{path.name} was saved as {', '.join(sorted(types))}, and the base model is {wanted}",
                "its responses would differ from those of the stack; run `rlguide doctor`",
            )
    if policy.template:
        with atomic_write(partial / TEMPLATE_FILE) as file:
            file.write("# The chat template that this model was trained with; written by rlguide export.\n")
            file.write(f"template: {format_value(policy.template)}\n")


def _write_manifest(partial: Path, found: Mapping[str, Any], compared: Comparison | None) -> None:
    """Write beside the merged model what it was made of, and how far it is from the stack (null: not compared)."""
    sizes = {path.name: path.stat().st_size for path in weight_files(partial)}
    result = compared.as_dict() if compared else None
    write_json(partial / MANIFEST, {"rlguide": __version__, **found, "files": sizes, "compared": result})
