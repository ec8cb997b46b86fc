"""An adapter whose weights are not what its config says is refused before anything starts."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from rlguide.errors import CheckpointError
from rlguide.policy.adapter_weights import check_weights
from rlguide.policy.checkpoint import read_checkpoint
from tests.policy.checkpoint_files import lora_shapes, write_lora, write_safetensors

ONE = struct.pack("<f", 1.0)


def replace_values(path: Path, value: bytes, only: str = "") -> None:
    """Overwrite the tensors whose name holds `only` with a four-byte value."""
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    for name, tensor in header.items():
        if name != "__metadata__" and only in name:
            begin, end = (8 + length + offset for offset in tensor["data_offsets"])
            data[begin:end] = value * ((end - begin) // 4)
    path.write_bytes(data)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return write_lora(tmp_path / "sft")


def check(adapter: Path) -> None:
    check_weights(read_checkpoint(adapter))


def test_a_good_one_passes(adapter: Path) -> None:
    check(adapter)


@pytest.mark.parametrize(("side", "missing"), [("lora_A", "lora_B"), ("lora_B", "lora_A")])
def test_half_of_a_pair(adapter: Path, side: str, missing: str) -> None:
    shapes = {name: shape for name, shape in lora_shapes().items() if missing not in name or "layers.1" in name}
    write_safetensors(adapter / "adapter_model.safetensors", shapes)
    with pytest.raises(CheckpointError, match=f"has no {missing} of .*layers.0"):
        check(adapter)


def test_another_rank_than_the_config_says(adapter: Path) -> None:
    write_safetensors(adapter / "adapter_model.safetensors", lora_shapes(rank=8))
    with pytest.raises(CheckpointError, match=r"has rank 8, and its adapter_config\.json says 4"):
        check(adapter)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinity(adapter: Path, value: float) -> None:
    replace_values(adapter / "adapter_model.safetensors", struct.pack("<f", value), "layers.1.mlp.down_proj.lora_A")
    with pytest.raises(CheckpointError, match="NaN or infinity"):
        check(adapter)


def test_zeros_that_change_nothing(adapter: Path) -> None:
    path = adapter / "adapter_model.safetensors"
    replace_values(path, bytes(4), "lora_B")
    with pytest.raises(CheckpointError, match="changes nothing"):
        check(adapter)
    check_weights(read_checkpoint(adapter), may_be_zero=True)
    replace_values(path, ONE, "layers.0.self_attn.q_proj.lora_B")
    check(adapter)


def test_bfloat16_is_read_too(adapter: Path) -> None:
    path = adapter / "adapter_model.safetensors"
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = raw[8 : 8 + length].replace(b'"F32"', b'"BF16"')
    shapes = {name: item for name, item in json.loads(header).items() if name != "__metadata__"}
    end, made = 0, {}
    for name, item in shapes.items():
        size = (item["data_offsets"][1] - item["data_offsets"][0]) // 2
        made[name] = {**item, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(made).encode()
    for value, is_good in ((0x3F80, True), (0x7F7F, True), (0x7F80, False), (0xFFC0, False)):
        path.write_bytes(struct.pack("<Q", len(text)) + text + struct.pack("<H", value) * (end // 2))
        if is_good:
            check(adapter)
        else:
            with pytest.raises(CheckpointError, match="NaN or infinity"):
                check(adapter)
