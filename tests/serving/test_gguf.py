"""A GGUF file gets its name only if it is the model. The converter here is a script that writes small files; tried by
hand with llama.cpp's own on the tiny model: the same layers, tokens, template and tensors."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.engine.find import Engine
from rlguide.errors import DataError, EngineError, UsageError
from rlguide.serving.gguf import check, check_type, convert, find_converter
from rlguide.serving.gguf_header import read_gguf
from rlguide.workspace import Workspace
from tests.policy.checkpoint_files import write_model
from tests.policy.go_template import parse_modelfile

TEMPLATE = "{{ messages[0]['content'] }}"


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(given: Any) -> bytes:
    """A typed value, as docs/gguf.md of ggml lays it out."""
    if isinstance(given, bool):
        return struct.pack("<I?", 7, given)
    if isinstance(given, int):
        return struct.pack("<Iq", 11, given)
    if isinstance(given, float):
        return struct.pack("<Id", 12, given)
    if isinstance(given, str):
        return struct.pack("<I", 8) + text(given)
    kind = 8 if given and isinstance(given[0], str) else 11
    items = [text(item) if kind == 8 else struct.pack("<q", item) for item in given]
    return struct.pack("<IIQ", 9, kind, len(given)) + b"".join(items)


def gguf(values: dict[str, Any], tensors: dict[str, tuple[int, ...]], data: int = 64) -> bytes:
    """A GGUF file of version 3; the tensors have no data to speak of."""
    raw = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values))
    raw += b"".join(text(key) + value(given) for key, given in values.items())
    for number, (name, shape) in enumerate(tensors.items()):
        raw += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        raw += struct.pack("<IQ", 0, 32 * number)
    raw += b"\0" * (-len(raw) % 32)
    return raw + b"\1" * (32 * len(tensors) if data else 0)


GOOD: dict[str, Any] = {
    "general.architecture": "qwen3",
    "qwen3.block_count": 2,
    "tokenizer.ggml.tokens": ["a", "b", "<|im_end|>"],
    "tokenizer.chat_template": TEMPLATE,
}
TENSORS = {"token_embd.weight": (16, 3), "blk.0.attn_q.weight": (16, 16), "blk.1.attn_q.weight": (16, 16)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An export: two layers, one added token, a chat template, a Modelfile."""
    made = write_model(tmp_path / "my exports/polite")
    (made / "tokenizer.json").write_text(json.dumps({"added_tokens": [{"id": 2, "content": "<|im_end|>"}]}))
    (made / "chat_template.jinja").write_text(TEMPLATE)
    (made / "Modelfile").write_text('# x\nFROM .\n\nTEMPLATE """{{ .System }}"""\n')
    return made


@pytest.fixture
def converter(tmp_path: Path) -> Callable[..., Path]:
    """Makes a converter that writes these bytes, or fails."""

    def make(raw: bytes, says: str = "") -> Path:
        (tmp_path / "raw").write_bytes(raw)
        script = tmp_path / "llama.cpp/convert_hf_to_gguf.py"
        script.parent.mkdir(exist_ok=True)
        script.write_text(
            "import shutil, sys\n"
            f"assert sys.argv[2:4] == ['--outtype', 'q8_0'], sys.argv\n{says}\n"
            f"shutil.copyfile({str(tmp_path / 'raw')!r}, sys.argv[5])\n"
        )
        return script.parent

    return make


def run(folder: Path, llama: Path) -> Path:
    engine = Engine(Path(sys.executable), {})
    return convert(Workspace(folder.parents[1]), engine, folder, "q8_0", find_converter(str(llama)))


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.parent.iterdir() if not path.name.endswith(".lock"))


def test_a_good_file_gets_its_name_and_a_modelfile(folder: Path, converter: Callable[..., Path]) -> None:
    made = run(folder, converter(gguf(GOOD, TENSORS)))
    assert left(folder) == ["polite", "polite-q8_0.Modelfile", "polite-q8_0.gguf"]
    assert read_gguf(made).tensors == TENSORS
    assert dict(parse_modelfile(made.with_suffix(".Modelfile").read_text()))["FROM"] == "./polite-q8_0.gguf"
    with pytest.raises(UsageError, match="is there already") as caught:
        run(folder, converter(b""))
    subprocess.run(shlex.split(caught.value.fix.split("`")[1]), check=True)
    assert run(folder, converter(gguf(GOOD, TENSORS))) == made


def test_a_file_of_this_very_export_is_taken_as_it_is(folder: Path, converter: Callable[..., Path]) -> None:
    (folder / "rlguide.json").write_text("{}")
    made = run(folder, converter(gguf(GOOD, TENSORS)))
    made.with_suffix(".Modelfile").unlink()  # as of one that was killed just then
    assert run(folder, converter(b"not asked")) == made
    assert left(folder) == ["polite", "polite-q8_0.Modelfile", "polite-q8_0.gguf"]
    later = made.stat().st_mtime_ns + 1
    os.utime(folder / "rlguide.json", ns=(later, later))  # exported again since
    with pytest.raises(UsageError, match="is there already"):
        run(folder, converter(b""))
    os.utime(folder / "rlguide.json", ns=(0, 0))
    made.write_bytes(gguf({**GOOD, "general.architecture": "other"}, TENSORS))
    with pytest.raises(UsageError, match="is there already"):
        run(folder, converter(b""))


@pytest.mark.parametrize(
    ("values", "tensors", "what"),
    [
        ({"qwen3.block_count": 3}, TENSORS, "qwen3 with 3 layers, and the model has 2"),
        ({"general.architecture": ""}, TENSORS, "no architecture"),
        ({}, {"blk.0.attn_q.weight": (1,)}, "tensors of 1 layers of 2"),
        ({}, {}, "and the model has 2"),
        ({"tokenizer.ggml.tokens": ["a", "b", "c"]}, TENSORS, "its token 2 is not <|im_end|>"),
        ({"tokenizer.ggml.tokens": ["a"]}, TENSORS, "its token 2 is not"),
        ({"tokenizer.chat_template": "other"}, TENSORS, "its chat template is another one"),
    ],
)
def test_another_model_gets_none(
    folder: Path, converter: Callable[..., Path], values: dict[str, Any], tensors: Any, what: str
) -> None:
    with pytest.raises(EngineError, match="the converter wrote another model") as caught:
        run(folder, converter(gguf({**GOOD, **values}, tensors)))
    assert what in caught.value.what
    assert left(folder) == ["polite"]


def test_a_converter_that_fails_is_explained(folder: Path, converter: Callable[..., Path]) -> None:
    with pytest.raises(EngineError, match=r"^convert_hf_to_gguf\.py .*Model X is not supported") as caught:
        run(folder, converter(b"", "raise NotImplementedError('Model X is not supported')"))
    assert "llama.cpp" in caught.value.fix and "LLaMA-Factory" not in caught.value.what
    assert left(folder) == ["polite"]
    with pytest.raises(EngineError) as caught:
        run(folder, converter(b"", "import sys; sys.path = []; sys.modules['gguf'] = None; import gguf"))
    assert "\n" not in caught.value.what + caught.value.fix


def test_where_the_converter_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="not on PATH") as caught:
        find_converter(None)
    assert "git clone" in caught.value.fix and "--converter llama.cpp" in caught.value.fix
    program = tmp_path / "convert-hf-to-gguf"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_converter(None) == program
    with pytest.raises(UsageError, match="there is no"):
        find_converter(str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="not a type") as caught:
        check_type("q4_k_m")
    assert "q8_0" in caught.value.fix


VALUES = st.dictionaries(
    st.text(max_size=8).filter(lambda key: key != "general.alignment"),
    st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=8)
    | st.lists(st.text(max_size=4), max_size=4) | st.lists(st.integers(0, 9), max_size=4),
    max_size=4,
)  # fmt: skip
SHAPES = st.dictionaries(st.text(max_size=8), st.lists(st.integers(1, 99), max_size=4).map(tuple), max_size=3)


@given(VALUES, SHAPES, st.data())
def test_what_was_written_is_read_and_a_part_of_it_is_refused(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any], shapes: Any, data: Any
) -> None:
    file = tmp_path_factory.getbasetemp() / "some.gguf"
    raw = gguf(values, shapes)
    file.write_bytes(raw)
    found = read_gguf(file)
    assert (found.values, found.tensors) == (values, shapes)
    if shapes:
        file.write_bytes(raw[: data.draw(st.integers(0, len(raw) - 32))])
        with pytest.raises(DataError):
            read_gguf(file)


@given(st.binary(max_size=80))
def test_any_other_bytes_are_refused(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "other.gguf"
    for start in (b"", b"GGUF\3\0\0\0"):
        file.write_bytes(start + raw)
        try:
            found = read_gguf(file)
        except DataError:
            continue
        assert (start + raw).startswith(b"GGUF") and len(found.tensors) <= len(raw)


@pytest.mark.skipif(importlib.util.find_spec("gguf") is None, reason="the package gguf is not here to compare with")
def test_llama_cpp_reads_the_same(tmp_path: Path) -> None:
    from gguf import GGUFReader

    tensors = dict.fromkeys(TENSORS, (8,))
    (tmp_path / "x.gguf").write_bytes(gguf(GOOD, tensors))
    theirs = GGUFReader(tmp_path / "x.gguf")
    ours = read_gguf(tmp_path / "x.gguf")
    assert {item.name: tuple(map(int, item.shape)) for item in theirs.tensors} == ours.tensors
    assert {key: theirs.fields[key].contents() for key in ours.values} == ours.values


def test_the_template_may_stand_in_the_tokenizer_s_config(folder: Path, tmp_path: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "another"}))
    (tmp_path / "x.gguf").write_bytes(gguf(GOOD, TENSORS))
    with pytest.raises(DataError, match="chat template"):
        check(folder, read_gguf(tmp_path / "x.gguf"))
