"""What holds no rows: called by its name, with what to do, whatever the file is called; and what is packed."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import sqlite3
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.data.readers import packing
from tests.data.readers.reading import QUICK, refused, survives, values, write

PAIRS = [{"prompt": f"q {n}", "chosen": "a", "rejected": "b"} for n in range(20)]
LINES = "".join(json.dumps(row) + "\n" for row in PAIRS).encode()


def archive(files: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as written:
        for name, content in files.items():
            written.writestr(name, content)
    return data.getvalue()


def tar() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as written:
        about = tarfile.TarInfo("a.jsonl")
        about.size = len(LINES)
        written.addfile(about, io.BytesIO(LINES))
    return data.getvalue()


def database(folder: Path) -> bytes:
    with sqlite3.connect(folder / "x") as connection:
        connection.execute("create table a (b)")
    return (folder / "x").read_bytes()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"ab" * 32 + b"\nsize 123456\n"
PAGE = b"\n<!DOCTYPE html>\n<html><head><title>Sign in - Hub</title></head><body>[{}]</body></html>"


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet", "a.arrow", "a.xlsx", "a"])
@pytest.mark.parametrize(
    ("content", "what", "fix"),
    [
        (LFS, "a Git LFS pointer", "git lfs pull"),
        (PAGE, "a web page (Sign in - Hub)", "/resolve/"),
        (tar(), "a tar archive", "unpack it"),
        (gzip.compress(tar()), "a tar archive", "unpack it"),
        (b"7z\xbc\xaf\x27\x1c\0\4", "a 7z archive", "unpack it"),
        (b"Rar!\x1a\x07\x01\0", "a RAR archive", "unpack it"),
        (pickle.dumps(PAIRS), "a pickle of Python, which is never loaded", "JSON lines"),
        (pickle.dumps({"a": 1}, protocol=2), "a pickle of Python", "JSON lines"),
        (archive({"archive/data.pkl": b"", "archive/data/0": b""}), "a file of PyTorch", "JSON lines"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), "an old or a protected Excel file", ".xlsx or .csv"),
        (b"<?xml version='1.0'?><a/>", "XML", "JSON lines"),
        (b"", "is empty", "name a file"),
        (b"\xef\xbb\xbf \n", "is empty", "name a file"),
    ],
)
def test_what_is_no_data_is_called_by_its_name(tmp_path: Path, name: str, content: bytes, what: str, fix: str) -> None:
    told, todo = refused(write(tmp_path / name, content))
    assert what in told and fix in todo


def test_a_database_is_called_so(tmp_path: Path) -> None:
    assert "an SQLite database" in refused(write(tmp_path / "a.db", database(tmp_path)))[0]


@pytest.mark.parametrize("kind", ["zip", "bz2", "xz", "gz"])
@pytest.mark.parametrize("inner", ["a.jsonl", "a.json", "a.csv", "a.txt"])
def test_packed_files_read_back(tmp_path: Path, kind: str, inner: str) -> None:
    table = "prompt,chosen,rejected\n" + "".join(f"{row['prompt']},a,b\n" for row in PAIRS)
    plain = {"a.json": json.dumps(PAIRS).encode(), "a.csv": table.encode()}.get(inner, LINES)
    pack = {"zip": lambda data: archive({f"deep/../{inner}": data}), "bz2": bz2.compress, "xz": lzma.compress}
    path = write(tmp_path / f"{inner}.{kind}", pack.get(kind, gzip.compress)(plain))
    assert values(path) == PAIRS
    assert [one.name for one in tmp_path.iterdir()] == [path.name], "nothing is unpacked to disk"


def test_what_lies_beside_the_data_in_a_zip_does_not_count(tmp_path: Path) -> None:
    aside = {
        "__MACOSX/._a.jsonl": b"x",
        ".DS_Store": b"x",
        "set/.hidden.jsonl": b"x",
        "README.md": b"# x",
        "LICENSE": b"x",
    }
    path = write(tmp_path / "a.zip", archive({**aside, "set/a.jsonl": LINES, "set/dataset_info.json": b"{}"}))
    assert values(path) == PAIRS


def test_zips_that_hold_several_files_or_none_are_refused(tmp_path: Path) -> None:
    many = {f"part-{n}.jsonl": LINES for n in range(30)}
    what, fix = refused(write(tmp_path / "a.zip", archive(many)))
    assert "holds 30 data files: part-0.jsonl, " in what and what.endswith("and 20 more") and "unpack it" in fix
    assert "holds no data file" in refused(write(tmp_path / "a.zip", archive({".x": b"1"})))[0]
    assert "compressed again" in refused(write(tmp_path / "a.zip", archive({"a.parquet": b"PAR1 PAR1"})))[0]


def test_what_unpacks_to_absurdly_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MOST_UNPACKED", 1 << 20)
    zeros = b'{"prompt": "' + b"q" * (4 << 20) + b'"}\n'
    for pack in (gzip.compress, bz2.compress, lzma.compress, lambda data: archive({"a.jsonl": data})):
        what, fix = refused(write(tmp_path / "a.jsonl.x", pack(zeros * 2)))
        assert "unpacks to more than 200 times its size" in what and "unpack it yourself" in fix


@pytest.mark.parametrize("kind", ["zip", "bz2", "xz", "gz"])
@QUICK
@given(data=st.data(), new=st.binary(min_size=1, max_size=3))
def test_damaged_packs_are_never_a_traceback(kind: str, tmp_path: Path, data: st.DataObject, new: bytes) -> None:
    pack = {"zip": lambda content: archive({"a.jsonl": content}), "bz2": bz2.compress, "xz": lzma.compress}
    whole = pack.get(kind, gzip.compress)(LINES)
    survives(tmp_path / f"a.jsonl.{kind}", whole, data.draw(st.integers(0, len(whole))), new)
