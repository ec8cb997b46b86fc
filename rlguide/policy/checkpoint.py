"""What lies in a checkpoint folder: adapter or whole model, complete or not, SFT or preference training.

Only JSON files and the headers of safetensors files are read. Pickles (`training_args.bin`, `*.bin` weights)
are never opened: a pickle runs code when it is loaded.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from rlguide.catalog.methods import SFT_COMMAND, recorded_method
from rlguide.errors import CheckpointError, DataError, did_you_mean
from rlguide.policy.run_record import CHECKPOINT_NAME, RunRecord, record_of
from rlguide.policy.safetensors import read_header
from rlguide.workspace import Workspace, read_json, read_text

Kind = Literal["lora", "full", "unknown"]
Stage = Literal["sft", "preference", "reward", "model"]

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "spiece.model",
    "vocab.txt",
    "tokenizer_config.json",
)

TRAIN_SFT = f"train one: `{SFT_COMMAND}`"
_CHOOSE = "choose another folder; `rlguide checkpoints` lists those under saves/"


NOT_VERIFIED = ".not-verified"  # how the name of a merged model ends that could not be shown to be its stack


@dataclass(frozen=True)
class Checkpoint:
    """One folder that training left behind.

    Attributes:
        name: as a config names it: from the workspace, or absolute.
        stage: what made it: "sft" (or any other training without preferences), "preference", "reward" (a reward
            model), or "model": a whole model without a training state, such as a base or a merged export.
        base: as written in adapter_config.json; None for a full model.
        template: the one it was trained with, if a file beside the checkpoint says so.
        shapes: from the adapter's safetensors header; empty for a full model or .bin weights.
        record: rlguide's record (run.json) of the run it belongs to; empty without one.
        problem, fix: why training cannot start from it, and what to do; None if it can.
    """

    path: Path
    name: str
    kind: Kind
    stage: Stage
    date: datetime
    step: int | None = None
    base: str | None = None
    rank: int | None = None
    target_modules: tuple[str, ...] = ()
    last_loss: float | None = None
    template: str | None = None
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict, repr=False, compare=False)
    record: RunRecord = field(default_factory=RunRecord, repr=False, compare=False)
    problem: str | None = None
    fix: str | None = None

    @property
    def is_complete(self) -> bool:
        """Whether training can start from it."""
        return self.problem is None

    @property
    def is_sft_candidate(self) -> bool:
        """Whether `--sft-ckpt latest` may pick it: complete, and the result of SFT."""
        return self.is_complete and self.stage == "sft"


def read_checkpoint(path: Path, ws: Workspace | None = None) -> Checkpoint:
    """Read the checkpoint at `path`. Without a workspace it is named by its path.

    Raises:
        CheckpointError: no such folder, not a checkpoint, or files missing, empty, truncated or broken.
    """
    if not path.exists():
        raise CheckpointError(f"the checkpoint {path} does not exist{_near(path, ws.saves if ws else None)}", _CHOOSE)
    if not path.is_dir():
        raise CheckpointError(f"{path} is a file, not a checkpoint folder", f"name the folder: {path.parent}")
    checkpoint = _inspect(path, ws)
    if checkpoint.problem is not None:
        raise CheckpointError(checkpoint.problem, checkpoint.fix or _CHOOSE)
    return checkpoint


def find_checkpoints(ws: Workspace, folder: Path | None = None) -> list[Checkpoint]:
    """All checkpoints at any depth under `folder` (saves/), newest first; broken ones are listed with their problem.

    An output directory that holds a final adapter counts, and so does each `checkpoint-N` in it.
    """
    found = [_inspect(path, ws) for path in candidate_folders(folder or ws.saves)]
    return sorted(found, key=lambda item: (item.date, item.step or 0), reverse=True)


def latest_sft(checkpoints: list[Checkpoint]) -> Checkpoint | None:
    """The newest complete SFT checkpoint of a list that is sorted newest first."""
    return next((item for item in checkpoints if item.is_sft_candidate), None)


def resolve_checkpoint(ws: Workspace, text: str) -> Checkpoint:
    """The checkpoint that a user names: "latest", or a folder (from the workspace or the current folder).

    Raises:
        CheckpointError: there is none, or it is not usable.
    """
    if text == "latest":
        newest = latest_sft(find_checkpoints(ws))
        if newest is None:
            raise CheckpointError(
                f"there is no complete SFT checkpoint under {ws.saves}",
                f"{TRAIN_SFT}; or name the folder of yours with --sft-ckpt",
            )
        return newest
    return read_checkpoint(locate(ws, text), ws)


def locate(ws: Workspace, text: str) -> Path:
    """Where a path leads, in a config or typed: from the workspace, as the engine reads it; else from here."""
    path = Path(text).expanduser()
    if path.is_absolute() or (ws.root / path).exists():
        return ws.root / path
    return path.absolute() if path.exists() else ws.root / path


def check_full_model(path: Path) -> None:
    """Check that the folder holds a whole model that can be loaded: config, all weights, tokenizer.

    Raises:
        CheckpointError: naming the file that is missing or damaged.
    """
    read_config(path / "config.json")
    _check_weights(path)
    if not any((path / name).is_file() for name in _TOKENIZER_FILES):
        raise CheckpointError(
            f"{path} holds a full model but no tokenizer",
            "copy tokenizer.json and tokenizer_config.json from its base model into that folder",
        )


def candidate_folders(saves: Path) -> Iterator[Path]:
    """The folders at any depth that look like checkpoints, complete or not, by their names and their files' names."""
    seen: set[str] = set()  # links may point upwards
    for folder, subfolders, files in os.walk(saves, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        skipped = {"reward"} if any(name.startswith("value_head.") for name in files) else set()  # PPO's copy of it
        subfolders[:] = sorted(
            name for name in subfolders if name not in skipped and not name.startswith((".", "global_step"))
        )
        is_named_one = CHECKPOINT_NAME.fullmatch(Path(folder).name) is not None
        has_model = "config.json" in files and any(_is_weight_name(name) for name in files)
        if "adapter_config.json" in files or has_model or is_named_one:
            yield Path(folder)


def _is_weight_name(name: str) -> bool:
    return name.startswith(("model", "pytorch_model")) and name.endswith((".safetensors", ".bin", ".index.json"))


def _near(path: Path, saves: Path | None) -> str:
    """A hint with the nearest checkpoint that exists, or ''."""
    if saves is None:
        saves = next((parent for parent in path.parents if parent.is_dir()), None)
    if saves is None or saves == Path(saves.anchor):
        return ""
    # Near names share a folder: look in the nearest parent that exists first, then in all of saves/.
    parent = next((item for item in path.parents if item.is_dir()), None)
    inside_saves = parent is not None and parent.resolve().is_relative_to(saves.resolve())
    for top in ([parent] if inside_saves and parent is not None else []) + [saves]:
        known = [str(folder.resolve()) for folder in candidate_folders(top)]
        near = did_you_mean(str(path.absolute()), known)
        if near:
            return near
    return ""


def _check_verified(path: Path) -> None:
    """Refuse a merge that is not the stack that it was made of. Raises CheckpointError."""
    if path.name.endswith(NOT_VERIFIED):
        usual = path.with_name(path.name.removesuffix(NOT_VERIFIED))
        raise CheckpointError(
            f"{path} was not verified: it differs from the stack that it was merged from, or was not compared with it",
            f"export again; or, to use it in spite of that: `mv {shlex.quote(str(path))} {shlex.quote(str(usual))}`",
        )


def _inspect(path: Path, ws: Workspace | None) -> Checkpoint:
    """Read all that can be read; what is wrong goes into `problem` instead of being raised."""
    has_adapter = (path / "adapter_config.json").exists()
    kind: Kind = "lora" if has_adapter else "full" if (path / "config.json").exists() else "unknown"
    values: dict[str, Any] = {}
    error: CheckpointError | None = None
    try:
        if kind == "lora":
            _read_adapter(path, values)
        elif kind == "full":
            check_full_model(path)
            _check_verified(path)
        else:
            error = CheckpointError(
                f"{path} is not a checkpoint: it has neither adapter_config.json nor config.json", _CHOOSE
            )
    except CheckpointError as caught:
        error = caught
    try:
        state = read_config(path / "trainer_state.json") if (path / "trainer_state.json").exists() else {}
    except CheckpointError as caught:
        state, error = {}, error or caught
    record = record_of(path) or RunRecord()
    logged = state.get("log_history")
    history = [entry for entry in logged if isinstance(entry, dict)] if isinstance(logged, list) else []
    step = state.get("global_step")
    named = CHECKPOINT_NAME.fullmatch(path.name)
    return Checkpoint(
        path=path,
        name=ws.relative(path) if ws else str(path),
        kind=kind,
        stage=_stage(path, kind, history, record.method, bool(state)),
        date=_date(path),
        step=step if isinstance(step, int) else int(named[1]) if named else None,
        last_loss=_last_loss(history),
        template=record.template or _board_template(path),
        record=record,
        problem=error.what if error else None,
        fix=error.fix if error else None,
        **values,
    )


def _read_adapter(path: Path, values: dict[str, Any]) -> None:
    """Fill `values` step by step, so that what was read before an error is kept. Raises CheckpointError."""
    config = read_config(path / "adapter_config.json")
    base, rank, targets = config.get("base_model_name_or_path"), config.get("r"), config.get("target_modules")
    values["base"] = base if isinstance(base, str) and base else None
    values["rank"] = rank if isinstance(rank, int) else None
    if isinstance(targets, str):
        targets = [targets]
    values["target_modules"] = tuple(sorted(str(item) for item in targets)) if isinstance(targets, list) else ()
    adapter_type = config.get("peft_type", "LORA")
    if adapter_type != "LORA":
        raise CheckpointError(
            f"{path} is a {adapter_type} adapter; only LoRA adapters and full models can be stacked",
            "merge it into its base first (`llamafactory-cli export`) and use the merged folder",
        )
    weights = path / "adapter_model.safetensors"
    if weights.exists():
        header = read_header(weights)
        if not any("lora_" in name for name in header):
            raise CheckpointError(f"{weights} holds no LoRA weights", _CHOOSE)
        values["shapes"] = {name: tensor.shape for name, tensor in header.items()}
        return
    _existing(path, "adapter_model.bin", "adapter_model.safetensors")


def _check_weights(path: Path) -> None:
    """Raises CheckpointError unless all weight files of a full model are there and whole."""
    index = path / "model.safetensors.index.json"
    if (path / "model.safetensors").exists():
        read_header(path / "model.safetensors")
    elif index.exists():
        for shard in _shards(index):
            if not (path / shard).exists():
                raise CheckpointError(
                    f"{path / shard} is missing ({index.name} names it)", "copy or download the folder again"
                )
            read_header(path / shard)
    elif (path / "pytorch_model.bin.index.json").exists():
        for shard in _shards(path / "pytorch_model.bin.index.json"):
            _existing(path, shard, shard)
    else:
        _existing(path, "pytorch_model.bin", "model.safetensors")


def _shards(index: Path) -> list[str]:
    names = read_config(index).get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise CheckpointError(f"{index} names no weight files", "copy or download the folder again")
    shards = sorted(set(names.values()))
    if any(Path(name).name != name for name in shards):  # never look outside the folder
        raise CheckpointError(f"{index} names files outside its folder", "copy or download the folder again")
    return shards


def _existing(path: Path, name: str, wanted: str) -> None:
    """Raises CheckpointError unless the pickle file `name` exists and is not empty (it is never opened)."""
    file = path / name
    if not file.exists():
        states = any(path.glob("global_step*")) or any(path.glob("pytorch_model_fsdp*"))
        fix = (
            "the weights are still in pieces: run zero_to_fp32.py in that folder (DeepSpeed), or merge them"
            if states
            else "wait if training is still writing it; else copy the folder again or choose another one"
        )
        raise CheckpointError(f"{path} has no weights ({wanted} is missing)", fix)
    if file.stat().st_size == 0:
        raise CheckpointError(f"{file} is empty (0 bytes)", "copy it again, or choose another checkpoint")


def read_config(path: Path) -> dict[str, Any]:
    """The JSON object in `path` (config.json, adapter_config.json, ...). Raises CheckpointError."""
    try:
        if path.exists() and path.stat().st_size == 0:
            raise CheckpointError(f"{path} is empty (0 bytes)", "copy the folder again, or choose another checkpoint")
        value = read_json(path)
    except DataError as error:
        raise CheckpointError(error.what, "copy the folder again, or choose another checkpoint") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} does not hold a JSON object", "copy the folder again")
    return value


def _stage(path: Path, kind: Kind, history: list[dict[str, Any]], name: str | None, has_state: bool) -> Stage:
    if name is not None:
        method = recorded_method(name)
        if name == "sft":
            return "sft"
        return "reward" if method is not None and method.trains != "policy" else "preference"
    if any(path.glob("value_head.*")):
        return "reward"
    if any(key.startswith(("rewards/", "eval_rewards/")) for entry in history for key in entry):
        return "preference"  # DPO, KTO, ORPO and SimPO all log rewards/chosen; SFT never does
    if kind == "full" and not has_state:
        return "model"
    return "sft"


def _last_loss(history: list[dict[str, Any]]) -> float | None:
    for entry in reversed(history):
        loss = entry.get("loss")
        if isinstance(loss, int | float) and not isinstance(loss, bool):
            return float(loss)
    return None


def _board_template(path: Path) -> str | None:
    """The template in LLaMA Board's `training_args.yaml`, the one file of the engine that names it."""
    for folder in (path, path.parent):
        file = folder / "training_args.yaml"
        if not file.is_file() or file.stat().st_size > 1_000_000:
            continue
        import yaml

        from rlguide.engine.config_file import parse_yaml

        try:
            value = parse_yaml(read_text(file))
        except (yaml.YAMLError, DataError):
            continue
        if isinstance(value, dict) and isinstance(value.get("template"), str):
            return str(value["template"])
    return None


def _date(path: Path) -> datetime:
    """When the weights were written; the configuration's or the folder's date if there are none."""
    for name in (
        *("adapter_model.safetensors", "adapter_model.bin", "model.safetensors", "model.safetensors.index.json"),
        *("pytorch_model.bin", "pytorch_model.bin.index.json", "adapter_config.json", "config.json", "."),
    ):
        try:
            return datetime.fromtimestamp((path / name).stat().st_mtime, tz=UTC)
        except (OSError, ValueError, OverflowError):
            continue
    return datetime.fromtimestamp(0, tz=UTC)
