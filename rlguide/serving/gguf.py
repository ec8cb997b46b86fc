"""A GGUF file of an exported model, by llama.cpp's own converter, read back before it gets its name."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path
from typing import Any

from rlguide.console import say
from rlguide.engine.find import Engine
from rlguide.engine.job import Command, Event, JobFailed, run_job
from rlguide.errors import DataError, EngineError, UsageError
from rlguide.locks import locked
from rlguide.policy.base import language_part
from rlguide.policy.merge_fingerprint import MANIFEST
from rlguide.policy.modelfile import MODELFILE, retargeted
from rlguide.serving.gguf_header import Header, read_gguf
from rlguide.workspace import Workspace, atomic_write, log_folder, read_json, read_text

TYPES = ("f32", "f16", "bf16", "q8_0")  # of convert_hf_to_gguf.py --outtype
VARIABLE = "RLGUIDE_GGUF_CONVERTER"
SCRIPT = "convert_hf_to_gguf.py"
_OTHER = "take another version of llama.cpp, then run the same command again"
_NAMES = (SCRIPT, "convert-hf-to-gguf", "convert_hf_to_gguf")


def check_type(kind: str) -> None:
    """Raises UsageError for a type of weights that the converter does not write."""
    if kind not in TYPES:
        raise UsageError(f"--gguf {kind} is not a type of weights", f"choose from {', '.join(TYPES)}")


def find_converter(given: str | None) -> Path:
    """llama.cpp's convert_hf_to_gguf.py: the one that is named, or on PATH.

    Args:
        given: the script, or the folder of llama.cpp.

    Raises:
        UsageError: it is not there; says how to get it.
    """
    if given:
        path = Path(given).expanduser()
        path = path / SCRIPT if path.is_dir() else path
        if not path.is_file():
            raise UsageError(f"there is no {path}", f"name {SCRIPT} of llama.cpp, or its folder: --converter PATH")
        return path.absolute()
    for name in _NAMES:
        if found := shutil.which(name):
            return Path(found)
    raise UsageError(
        f"--gguf needs {SCRIPT} of llama.cpp, which is not on PATH",
        "fetch it: `git clone --depth 1 https://github.com/ggml-org/llama.cpp`, then add --converter llama.cpp",
    )


def convert(ws: Workspace, engine: Engine, folder: Path, kind: str, converter: Path) -> Path:
    """Convert an exported model; gives the file `<folder>-<type>.gguf` beside it, with a Modelfile of its own.

    A file of this very export is taken as it is: whoever runs a command again whose upload failed has one.

    Raises:
        UsageError: there is a file of that name, of another model.
        EngineError: the converter failed, or what it wrote is not the model.
    """
    target = folder.with_name(f"{folder.name}-{kind}.gguf")
    with locked(target):
        if _is_of(folder, target):
            say(f"converted already: {ws.relative(target)}")
        elif target.exists():
            raise UsageError(f"{ws.relative(target)} is there already", f"remove it: `rm {shlex.quote(str(target))}`")
        else:
            _make(ws, engine, (folder, target), kind, converter)
    if (folder / MODELFILE).is_file():
        with atomic_write(target.with_suffix(f".{MODELFILE}")) as file:
            file.write(retargeted(read_text(folder / MODELFILE), f"./{target.name}"))
    return target


def _make(ws: Workspace, engine: Engine, places: tuple[Path, Path], kind: str, converter: Path) -> None:
    """Convert a folder into a file, which gets its name when it was read back."""
    folder, target = places
    partial = target.with_name(f".{target.name}.{os.getpid()}.gguf")
    say(f"converting into {ws.relative(target)}")
    try:
        _run(ws, engine, [str(folder), "--outtype", kind, "--outfile", str(partial)], converter)
        check(folder, read_gguf(partial))
        partial.replace(target)
    except DataError as error:
        raise EngineError(f"the converter wrote another model: {error.what}", error.fix) from error
    finally:
        partial.unlink(missing_ok=True)


def _is_of(folder: Path, target: Path) -> bool:
    """Whether a file was made of this export: after it, and with its layers, tokens and chat template."""
    try:
        if target.stat().st_mtime_ns < (folder / MANIFEST).stat().st_mtime_ns:
            return False
        check(folder, read_gguf(target))
    except (OSError, DataError):
        return False
    return True


def check(folder: Path, header: Header) -> None:
    """Hold a GGUF file against the model that it was made of: layers, vocabulary, special tokens, chat template.

    Raises:
        DataError: it is another model, or something is missing.
    """
    config = language_part(read_json(folder / "config.json"))
    architecture = header.text("general.architecture")
    layers = header.values.get(f"{architecture}.block_count")
    wanted = config.get("num_hidden_layers")
    if not architecture or layers != wanted or not header.tensors:
        raise _other(f"{architecture or 'no architecture'} with {layers} layers, and the model has {wanted}")
    blocks = {name.split(".")[1] for name in header.tensors if name.startswith("blk.")}
    if len(blocks) != wanted:
        raise _other(f"it has tensors of {len(blocks)} layers of {wanted}")
    tokens = header.values.get("tokenizer.ggml.tokens")
    for number, token in special_tokens(folder).items():
        if not isinstance(tokens, list) or number >= len(tokens) or tokens[number] != token:
            raise _other(f"its token {number} is not {token}")
    template = _chat_template(folder)
    if template and header.text("tokenizer.chat_template").strip() != template.strip():
        raise _other("its chat template is another one")


def _other(what: str) -> DataError:
    return DataError(what, _OTHER)


def special_tokens(folder: Path) -> dict[int, str]:
    """The tokens that were added to a tokenizer, by their numbers."""
    try:
        added = read_json(folder / "tokenizer.json")["added_tokens"]
        return {int(token["id"]): str(token["content"]) for token in added}
    except (DataError, KeyError, TypeError, ValueError):
        return {}


def _chat_template(folder: Path) -> str:
    if (folder / "chat_template.jinja").is_file():
        return read_text(folder / "chat_template.jinja")
    try:
        found = read_json(folder / "tokenizer_config.json").get("chat_template")
    except (DataError, AttributeError):
        return ""
    return found if isinstance(found, str) else ""


def _run(ws: Workspace, engine: Engine, arguments: list[str], converter: Path) -> None:
    """Run the converter: a script in the engine's Python, which has torch and transformers; a program as it is."""
    program = [str(engine.python), str(converter)] if converter.suffix == ".py" else [str(converter)]
    log = log_folder() / f"gguf-{os.getpid()}.log"
    log.unlink(missing_ok=True)
    try:
        run_job(engine, Command((*program, *arguments), ws.root), log, _ignore)
    except JobFailed as error:
        what = error.cause.what.removeprefix("LLaMA-Factory ")
        fix = "name the script inside a whole llama.cpp: it needs its package gguf" if _lacks_gguf(log) else _OTHER
        raise EngineError(f"{converter.name} {what}", f"{fix}; log: {log}") from error
    log.unlink(missing_ok=True)


def _lacks_gguf(log: Path) -> bool:
    try:
        return "No module named 'gguf'" in read_text(log)
    except DataError:
        return False


def _ignore(event: Event | Any) -> None:
    """Nothing of its output is for a person: it lists every tensor."""
