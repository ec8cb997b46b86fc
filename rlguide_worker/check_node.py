"""What a host has that a training needs: versions, files, models, GPUs; as `rlguide launch` compares it between nodes.

The text of this script, followed by a call of `main`, is run by the engine's Python on each node (`python -I -`), so
that nothing of rlguide needs to be there. It prints one line, `FOUND {...}`. It needs the standard library only.
"""

import hashlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

# Of a large file only samples are read: after a training nearly every number of a model is another.
SAMPLES, SAMPLE_BYTES = 16, 1 << 16
OF_A_MODEL = (".safetensors", ".bin", ".json", ".model", ".txt", ".jinja", ".py")
# What a training writes beside a model, and what says where it came from.
NOT_OF_A_MODEL = ("trainer_state.json", "run.json", "all_results.json", "train_results.json", "training_args.bin")


def main(asked: dict) -> None:
    """Print what is found of what is `asked`: names of distributions, paths, models of the hub."""
    os.environ.update(asked["variables"])
    found = {
        "python": platform.python_version(),
        "versions": {name: version(name) for name in asked["names"]},
        "worker": folder_digest(asked["worker"], (".py",), ()),
        "probe": file_digest(asked["probe"]),
        "data": {path: file_digest(path) for path in asked["data"]},
        "models": {path: folder_digest(path, OF_A_MODEL, NOT_OF_A_MODEL) for path in asked["models"]},
        "hub": {name: commit(name, asked["revision"]) for name in asked["hub"]},
        "gpus": gpus(),
        "reached": os.environ.get("SSH_CONNECTION", "").split()[2:],  # address and port, as sshd says them
    }
    print("FOUND " + json.dumps(found), flush=True)


def version(name: str) -> str:
    """The installed version of a distribution; "" if it is not there."""
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def file_digest(path: str) -> str:
    """The SHA-256 of a whole file; "" if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            while part := file.read(1 << 20):
                digest.update(part)
    except OSError:
        return ""
    return digest.hexdigest()


def folder_digest(path: str, endings: tuple, without: tuple) -> str:
    """A checksum of the files of a folder with these endings: names, sizes, samples of content; "" if there is none."""
    digest = hashlib.sha256()
    try:
        files = sorted(file for file in Path(path).iterdir() if file.suffix in endings and file.name not in without)
        for file in files:
            add_samples(digest, file)
    except OSError:
        return ""
    return digest.hexdigest() if files else ""


def add_samples(digest, path: Path) -> None:
    """Add a file: whole if it is small."""
    size = path.stat().st_size
    digest.update(f"{path.name} {size}\n".encode())
    with path.open("rb") as file:
        for start in range(0, size, max(size // SAMPLES, SAMPLE_BYTES)):
            file.seek(start)
            digest.update(file.read(SAMPLE_BYTES))


def commit(name: str, revision: str) -> str:
    """The commit of a model in this host's cache of the hub, as the hub's client lays it out; "" if it is not there."""
    ask = os.environ.get
    home = ask("HF_HOME") or Path(ask("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    cache = Path(ask("HF_HUB_CACHE") or ask("HUGGINGFACE_HUB_CACHE") or Path(home, "hub")).expanduser()
    folder = cache / f"models--{name.replace('/', '--')}"
    if (folder / "snapshots" / revision).is_dir():
        return revision
    try:
        return (folder / "refs" / revision).read_text(encoding="ascii")[:100].strip()
    except (OSError, ValueError):
        return ""


def gpus() -> list:
    """The names of the GPUs that may be used, as the driver has them."""
    try:
        command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    names = [line.strip() for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return names
    chosen = [part.strip() for part in visible.split(",")]
    if not all(part.isdigit() for part in chosen if part):
        return names  # by UUID
    return [names[int(part)] for part in chosen if part and int(part) < len(names)]


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
