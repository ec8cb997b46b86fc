"""What `rlguide download` refuses before it asks any hub; the downloads themselves are in tests/hub."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).parent / "rlguide")


def download(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(folder / "hf")}
    return subprocess.run(
        [COMMAND, "download", *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["orca"], "did you mean orca_dpo?"),
        (["orca_dpo", "nothing-like-it"], "the catalog has no dataset nothing-like-it"),
        (["dpo_en_zh", "--lang", "fr"], "dpo_en_zh has no fr part"),
        (["coig_p", "--lang", "en"], "coig_p has no en part"),
        (["coig_p", "--max-samples", "1"], "2 or more"),
        (["orca_dpo", "--test-size", "1.5"], "--test-size 1.5"),
        (["orca_dpo", "--test-size", "nan"], "--test-size nan"),
        (["orca_dpo", "-w", "nowhere"], "nowhere"),
        (["orca_dpo", "--hub", "hff"], "there is no hub hff (did you mean hf?)"),
        (["orca_dpo", "--hub", "modelscope"], "--hub modelscope --name orca_dpo"),
        (["a/b", "c/b"], "two of these datasets would be called b"),
        (["a/b", "c/d", "--name", "e"], "cannot be the name of 2 datasets"),
        (["a/b", "--name", "x,y"], "cannot be a dataset name"),
        (["a/b", "--file", "*", "--split", "train"], "--file names the files"),
        (["a/b", "--lang", "klingon"], "--lang klingon is not known"),
        (["https://huggingface.co/datasets/Intel/orca_dpo_pairs?x=1"], "give Intel/orca_dpo_pairs"),
        (["./nowhere"], "named by its id, ORG/NAME"),
        (["a/b/c"], "named by its id, ORG/NAME"),
        (["/"], "rlguide register /"),
        ([], "Missing argument"),
    ],
)
def test_what_cannot_be_meant_starts_nothing(tmp_path: Path, arguments: list[str], message: str) -> None:
    refused = download(tmp_path, *arguments)
    assert refused.returncode == 2
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_entry_of_the_same_name_is_kept(tmp_path: Path) -> None:
    """LLaMA-Factory's own registry has an ultrafeedback: it is not overwritten, and no hub is asked."""
    (tmp_path / "data").mkdir()
    registry = tmp_path / "data" / "dataset_info.json"
    registry.write_text('{"ultrafeedback": {"hf_hub_url": "llamafactory/ultrafeedback_binarized"}}')
    before = registry.read_bytes()
    refused = download(tmp_path, "ultrafeedback")
    assert refused.returncode == 2
    assert "already has a dataset ultrafeedback that is not from this download" in refused.stderr
    assert registry.read_bytes() == before


def test_a_file_of_the_same_name_is_kept(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "orca_dpo_test.parquet").write_text("mine")
    refused = download(tmp_path, "orca_dpo")
    assert refused.returncode == 2
    assert "orca_dpo_test.parquet is already there" in refused.stderr
    assert (tmp_path / "data" / "orca_dpo_test.parquet").read_text() == "mine"
