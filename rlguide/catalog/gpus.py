"""What kinds of GPU can do (`gpus.yaml`), and how people name some of them: `2xA6000`, `8xH100-80GB`, `24GB`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from rlguide.catalog.yaml_file import read_yaml
from rlguide.engine.hardware import Gpu
from rlguide.errors import UsageError, did_you_mean

_FIX = "name a GPU and how many, such as 2xA6000, 4090 or 8xH100; of one that is not listed its memory, such as 2x24GB"
_MOST = 4096  # of one kind; more is a slip of the finger
_MAKERS = re.compile(r"^(nvidia|geforce|tesla|quadro|huawei)")
_NODES = re.compile(r"(?P<nodes>\d{1,4})\s*[x*×]\s*(?P<gpus>\d{1,4}\s*[x*×].+)", re.IGNORECASE)
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*(?:gi?b?)?", re.IGNORECASE)
_SHORT = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "fp32", "float": "fp32"}


@dataclass(frozen=True)
class GpuModel:
    """One kind of GPU.

    Attributes:
        name: its key in `gpus.yaml`; what the user typed where only the memory is known.
        memory_bytes: the total that the driver reports.
        bandwidth: bytes a second between the GPU and its memory; 0 if not known.
        flops: dense peak operations a second by "bf16", "fp16", "tf32" and "fp32", with float32 accumulation; empty if
            not known, without "bf16" where it has no units for it.
        watts: power of the board; 0 if not known.
        capability: CUDA's compute capability, such as (8, 6); None if it has none or it is not known.
        source: where the figures are from.
        names: what the driver prints and what people type.
    """

    name: str
    title: str
    memory_bytes: int
    bandwidth: float = 0.0
    flops: Mapping[str, float] = field(default_factory=dict)
    watts: float = 0.0
    capability: tuple[int, int] | None = None
    source: str = ""
    names: tuple[str, ...] = ()

    def peak(self, dtype: str) -> float | None:
        """Dense peak operations a second in this type ("bf16", "bfloat16", "torch.bfloat16"); None if not known."""
        return self.flops.get(short_dtype(dtype))


@dataclass(frozen=True)
class Gpus:
    """So many GPUs of one kind.

    Attributes:
        nodes: hosts that they are in, as many in each; 0 if that is not said.
        network: what joins these hosts, such as "100GbE"; "" if it is not said.
    """

    model: GpuModel
    count: int = 1
    nodes: int = 0
    network: str = ""

    def __str__(self) -> str:
        return f"{self.count} x {self.model.title}"


def short_dtype(dtype: str) -> str:
    """ "bf16" for "torch.bfloat16" and so on; what it does not know stays as it is."""
    name = dtype.removeprefix("torch.").lower()
    return _SHORT.get(name, name)


@cache
def gpu_models() -> dict[str, GpuModel]:
    """All kinds of the catalog, by name."""
    return {
        name: GpuModel(
            name=name,
            title=item["title"],
            memory_bytes=int(item["memory_mib"]) << 20,
            bandwidth=item["bandwidth"] * 1e9,
            flops={dtype: value * 1e12 for dtype, value in item["tflops"].items()},
            watts=float(item["watts"]),
            capability=_capability(item["capability"]),
            source=item["source"],
            names=tuple(item["names"]),
        )
        for name, item in read_yaml(Path(__file__).with_name("gpus.yaml")).items()
    }


def find_gpu_model(name: str) -> GpuModel | None:
    """The kind that the driver prints ("NVIDIA RTX A6000") or a person types ("a6000", "RTX4090") so; None if none."""
    return _by_name().get(_plain(name))


def parse_gpus(text: str) -> Gpus:
    """The GPUs that a user names: `2xA6000`, `2*a6000`, `A6000x2`, `a6000`; `2xA6000:40`, of which 40 GiB are usable.

    `2x8xA100` are 16 GPUs in two nodes. `24GB` or `2x24GB` is a GPU of which only the memory is known, in GiB; nothing
    is said of time on it.

    Raises:
        UsageError: none of these, or no GPU of that name is known.
    """
    several = _NODES.fullmatch(text.strip())
    if several and 0 < int(several["nodes"]) <= _MOST:
        within, nodes = parse_gpus(several["gpus"]), int(several["nodes"])
        if within.count * nodes <= _MOST:
            return replace(within, count=within.count * nodes, nodes=nodes)
    if re.fullmatch(r"\s*\d+(\s*,\s*\d+)*\s*", text) and find_gpu_model(text) is None:
        raise UsageError(
            f"'{text}' are indices of GPUs, and a plan needs their kind", f"{_FIX}; without --gpus it is of this host's"
        )
    given, colon, memory = text.strip().partition(":")
    for count, name in _readings(given.strip()):
        model = find_gpu_model(name) or _of_memory(name)
        if model is not None and 0 < count <= _MOST:
            return Gpus(_with_memory(model, memory, text) if colon else model, count)
    name = re.sub(r"^\d+\s*[x*×]\s*|\s*[x*×]\s*\d+$", "", given.strip())
    if find_gpu_model(name) or _of_memory(name):
        raise UsageError(f"'{text}' is not a number of GPUs", _FIX)
    raise UsageError(f"no GPU '{name}' is known{_nearest(name)}", _FIX)


def names_kind(text: str) -> bool:
    """Whether a text names GPUs to plan for, as `parse_gpus` reads it."""
    try:
        parse_gpus(text)
    except UsageError:
        return False
    return True


def detected(gpus: Sequence[Gpu]) -> Gpus | None:
    """The GPUs of this host as one kind, with the memory that the driver reports; None if there are none.

    Of several kinds it is the one with the least memory, then the slowest: what must fit on all of them must fit there,
    and each step waits for it. A GPU that the catalog does not have is known by its memory only.
    """
    if not gpus:
        return None
    kinds = [
        replace(find_gpu_model(gpu.name) or GpuModel(gpu.name, gpu.name, 0), memory_bytes=gpu.memory_bytes)
        for gpu in gpus
    ]
    return Gpus(min(kinds, key=lambda kind: (kind.memory_bytes, kind.peak("bf16") or 0.0)), len(gpus))


def _readings(text: str) -> Iterator[tuple[int, str]]:
    """(count, name) in each way that the text can be meant: `RTX4090` holds an x, and so may `4090x2`."""
    yield 1, text
    for pattern in (r"(?P<count>\d{1,9})\s*[x*×]\s*(?P<name>.+)", r"(?P<name>.+?)\s*[x*×]\s*(?P<count>\d{1,9})"):
        found = re.fullmatch(pattern, text, re.IGNORECASE)
        if found:
            yield int(found["count"]), found["name"]


def _of_memory(name: str) -> GpuModel | None:
    """A GPU named by its memory alone, which needs its unit: `4090` is no memory."""
    found = re.fullmatch(r"(\d{1,5}(?:\.\d{1,3})?)\s*gi?b?", name.strip(), re.IGNORECASE)
    memory = round(float(found[1]) * 2**30) if found else 0
    return GpuModel(name, f"GPU with {found[1]} GB", memory) if found and memory else None


def _with_memory(model: GpuModel, memory: str, text: str) -> GpuModel:
    found = _MEMORY.fullmatch(memory.strip())
    usable = round(float(found[1]) * 2**30) if found and len(found[1]) < 9 else 0
    if found is None or not usable:
        raise UsageError(f"'{text}': the memory after the colon is not a number of GB", "write it so: 2xA6000:40")
    return replace(model, title=f"{model.title} ({found[1]} GB usable)", memory_bytes=usable)


def _nearest(name: str) -> str:
    """' (did you mean X?)' with the name as people type it."""
    typed = {_plain(each): each for model in gpu_models().values() for each in (model.name, *model.names[1:])}
    near = did_you_mean(_plain(name), list(typed))
    return re.sub(r"mean (.+)\?", lambda found: f"mean {typed[found[1]]}?", near)


@cache
def _by_name() -> dict[str, GpuModel]:
    return {_plain(each): model for model in gpu_models().values() for each in (model.name, *model.names)}


def _plain(name: str) -> str:
    """A name without case, separators and makers."""
    plain, before = re.sub(r"[\s_-]", "", name.lower()), ""
    while plain != before:
        plain, before = _MAKERS.sub("", plain), plain
    return plain


def _capability(text: str) -> tuple[int, int] | None:
    major, _, minor = text.partition(".")
    return (int(major), int(minor)) if minor else None
