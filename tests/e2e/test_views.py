"""One stored file of pairs in the stages of LLaMA-Factory that do not read pairs."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest

from tests.e2e.conftest import SFT_CONFIG, Bench

pytestmark = pytest.mark.engine


def test_sft_learns_the_chosen_answers_of_the_stored_pairs(bench: Bench) -> None:
    """The same losses, step by step, as from a file of the prompts and chosen answers that was written by hand."""
    before = sorted((bench.root / "data").glob("*.parquet"))
    assert bench.run("view", "polite", "--use", "sft").stdout == "polite_sft\n"
    assert sorted((bench.root / "data").glob("*.parquet")) == before, "no second copy"
    rows = [
        {"instruction": row["prompt"], "output": row["chosen"]}
        for row in pq.read_table(bench.root / "data/polite.parquet").to_pylist()
    ]
    (bench.root / "data/by_hand.json").write_text(json.dumps(rows), encoding="utf-8")
    path = bench.root / "data/dataset_info.json"
    info = json.loads(path.read_text(encoding="utf-8"))
    info["by_hand"] = {"file_name": "by_hand.json", "columns": {"prompt": "instruction", "response": "output"}}
    path.write_text(json.dumps(info), encoding="utf-8")
    losses = []
    for dataset in ("polite_sft", "by_hand"):
        config = {**SFT_CONFIG, "finetuning_type": "lora", "dataset": dataset, "output_dir": f"saves/{dataset}"}
        (bench.root / "sft.yaml").write_text(json.dumps(config), encoding="utf-8")
        bench.llamafactory("train", "sft.yaml")
        losses.append([row["loss"] for row in bench.history(f"saves/{dataset}") if "loss" in row])
    assert len(losses[0]) == 10 and losses[0][-1] < losses[0][0]
    assert losses[0] == losses[1]
