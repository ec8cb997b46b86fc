from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.errors import CheckpointError
from rlguide.policy.safetensors import read_header
from tests.policy.checkpoint_files import write_safetensors

SHAPES = st.dictionaries(
    st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
    st.lists(st.integers(0, 5), max_size=3).map(tuple),
    max_size=5,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("权重 files")


@given(shapes=SHAPES)
def test_reads_back_what_was_written(folder: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    header = read_header(write_safetensors(folder / "a.safetensors", shapes))
    assert {name: info.shape for name, info in header.items()} == shapes


@given(data=st.binary(max_size=300))
def test_random_bytes_raise_nothing_but_checkpoint_error(folder: Path, data: bytes) -> None:
    path = folder / "b.safetensors"
    path.write_bytes(data)
    try:
        read_header(path)
    except CheckpointError as error:
        assert str(path) in error.what
        assert error.fix


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["dtype", "shape", "data_offsets", "x"]), inner)
    ),
    max_leaves=12,
)


@given(value=JSON, tail=st.binary(max_size=8))
def test_any_json_header_is_read_or_refused(folder: Path, value: object, tail: bytes) -> None:
    raw = json.dumps(value).encode()
    path = folder / "c.safetensors"
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + tail)
    try:
        read_header(path)
    except CheckpointError:
        pass


@given(shapes=SHAPES.filter(lambda shapes: any(0 not in shape for shape in shapes.values())), data=st.data())
def test_every_cut_is_noticed(folder: Path, shapes: dict[str, tuple[int, ...]], data: st.DataObject) -> None:
    path = write_safetensors(folder / "d.safetensors", shapes)
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(CheckpointError):
        read_header(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(CheckpointError, match="1 bytes more"):
        read_header(path)


@pytest.mark.parametrize("raw", [b"[" * 50_000, b'{"a": 1' + b"0" * 5000 + b"}", b"\xff\xfe", b"null"])
def test_hostile_headers_are_refused(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(raw)) + raw)
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        read_header(path)


def test_a_header_length_beyond_the_file_allocates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", 2**63) + b"{}")
    with pytest.raises(CheckpointError):
        read_header(path)
    path.write_bytes(struct.pack("<Q", 90_000_000) + b"{}")
    with pytest.raises(CheckpointError, match="truncated"):
        read_header(path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        read_header(tmp_path / "x.safetensors")
