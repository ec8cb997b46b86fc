"""Find the engine: a Python environment that has LLaMA-Factory in it."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from rlguide.engine.state import INSTALL_HINT, MAIN, ask, engine_folder, python_of, read_state, trouble
from rlguide.errors import EngineError

# The distributions whose versions decide what the engine can do, and those that a key of a config may need.
WATCHED = (
    *("llamafactory", "torch", "torchvision", "torchaudio", "transformers", "trl", "peft", "accelerate", "datasets"),
    *("huggingface_hub", "deepspeed", "bitsandbytes", "unsloth", "lm_eval", "liger_kernel", "matplotlib"),
    *("galore_torch", "apollo_torch", "badam", "adam_mini", "azureml_core", "clearml", "codecarbon", "comet_ml"),
    *("dagshub", "dvclive", "flytekit", "mlflow", "mlflow_skinny", "neptune", "neptune_client", "swanlab"),
    *("tensorboard", "tensorboardX", "trackio", "wandb", "flash_attn", "hqq", "eetq", "kt_kernel", "mixture_of_depth"),
    *("torchao", "lomo_optim", "grokadamw", "schedulefree", "torch_optimi", "apex", "torchdistx", "torch_xla"),
    *("torch_npu", "transformer_engine", "hyper_parallel", "jieba", "vllm", "ray"),
)


@dataclass(frozen=True)
class Engine:
    """An environment that can run LLaMA-Factory.

    Attributes:
        python: its interpreter.
        versions: installed version by distribution name, of those in `WATCHED`.
    """

    python: Path
    versions: dict[str, str] = field(hash=False)

    @property
    def cli(self) -> Path:
        """The `llamafactory-cli` script beside the interpreter."""
        return self.python.parent / "llamafactory-cli"

    @property
    def version(self) -> str:
        """The version of LLaMA-Factory."""
        return self.versions["llamafactory"]


def find_engine(explicit: str | None = None) -> Engine:
    """Find the engine.

    In this order: `explicit`, RLGUIDE_ENGINE, this environment, `llamafactory-cli` on PATH, the main engine that
    `rlguide engine install` made.

    Args:
        explicit: folder of an environment, its python, or its llamafactory-cli.

    Raises:
        EngineError: none found, or what was named has no LLaMA-Factory in it.
    """
    named = explicit or os.environ.get("RLGUIDE_ENGINE")
    if named:
        python = _python_of(Path(named).expanduser())
        versions = installed_versions(python)
        if "llamafactory" not in versions:
            raise EngineError(f"{python} has no LLaMA-Factory in it", INSTALL_HINT)
        return Engine(python, versions)
    candidates = [Path(sys.executable)]
    on_path = shutil.which("llamafactory-cli")
    if on_path:
        candidates.append(_python_of(Path(on_path)))
    for python in candidates:
        versions = installed_versions(python)
        if "llamafactory" in versions:
            return Engine(python, versions)
    problem = trouble(MAIN)
    if problem is None:
        return engine_at(engine_folder(MAIN))
    if read_state(engine_folder(MAIN)):
        raise EngineError(f"the engine {MAIN!r} {problem}", INSTALL_HINT)
    raise EngineError("LLaMA-Factory is not installed here", INSTALL_HINT)


def engine_at(folder: Path) -> Engine:
    """The engine in an environment's folder."""
    return Engine(python_of(folder), installed_versions(python_of(folder)))


def _python_of(path: Path) -> Path:
    """The interpreter meant by a folder, an interpreter or a `llamafactory-cli` script.

    The path is made absolute but links are not followed: a virtual environment's python is a link.
    """
    path = path.absolute()
    if path.is_dir():
        for candidate in (path / "bin" / "python", path / "python"):
            if candidate.is_file():
                return candidate
        raise EngineError(f"{path} is not an environment: it has no bin/python", INSTALL_HINT)
    if not path.is_file():
        raise EngineError(f"the engine {path} does not exist", INSTALL_HINT)
    if path.name.startswith("python"):
        return path
    beside = path.parent / "python"
    if beside.is_file():
        return beside
    first = path.read_bytes().split(b"\n", 1)[0]
    if first.startswith(b"#!") and b"python" in first:
        return Path(os.fsdecode(first[2:].strip().split(b" ")[0]))
    raise EngineError(f"cannot tell which Python runs {path}", "name that environment's folder or python instead")


def installed_versions(python: Path) -> dict[str, str]:
    """Versions of the distributions in `WATCHED` that `python` has. Raises EngineError if it does not run."""
    versions: dict[str, str] = ask(python, WATCHED)["versions"]
    return versions
