"""Lengths in tokens are those of the engine's own processor."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.data.example import Example, Turn
from rlguide.data.inspect.tokens import Tokenizer, count_tokens, kept_lengths, summarise
from rlguide.data.store.columns import to_batch
from rlguide.data.store.dataset_info import our_entry
from rlguide.engine.find import Engine, find_engine
from rlguide.engine.worker import engine_environment, worker_command
from rlguide.errors import EngineError

ROWS = [
    Example.pair((Turn("human", "What is two plus two?"),), "Four, of course.", "Five"),
    Example.pair(
        (Turn("human", "你好"), Turn("gpt", "您好,有什么事?"), Turn("human", "写一首诗\u2028两行")),
        "床前明月光," * 30,
        "不会",
        "You are a poet.",
    ),
    Example.pair((Turn("human", "long " * 300),), "a\n\n\tb <|im_end|> c", "x" * 500),
    Example.pair((Turn("human", "think"),), "<think>\nwhy\n</think>\n\nbecause", "so"),
]

# Runs in the engine's Python: what a training would see, loaded and tokenized by LLaMA-Factory's own loader.
DATASET = """
import json, sys
from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.hparams import get_train_args
from llamafactory.model import load_tokenizer
model, template, folder, cutoff, out = sys.argv[1:6]
model_args, data_args, training_args, _, _ = get_train_args(dict(
    stage="dpo", do_train=True, model_name_or_path=model, template=template, dataset="rows", dataset_dir=folder,
    cutoff_len=int(cutoff), output_dir=out, finetuning_type="lora", use_cpu=True, report_to="none",
    preprocessing_num_workers=None, overwrite_cache=True))
loaded = load_tokenizer(model_args)
template = get_template_and_fix_tokenizer(loaded["tokenizer"], data_args)
data = get_dataset(template, model_args, data_args, training_args, stage="rm", **loaded)["train_dataset"]
rows = []
for row in data:
    prompt = sum(label == -100 for label in row["chosen_labels"])
    rows.append([prompt, len(row["chosen_input_ids"]) - prompt, len(row["rejected_input_ids"]) - prompt])
print("ROWS" + json.dumps(rows))
"""


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 4096))
def test_what_is_kept_never_exceeds_the_cutoff_and_short_rows_are_whole(prompt: int, answer: int, cutoff: int) -> None:
    kept = kept_lengths(prompt, answer, cutoff)
    assert sum(kept) <= cutoff and kept[0] <= prompt and kept[1] <= answer
    if prompt + answer <= cutoff:
        assert kept == (prompt, answer)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return find_engine()


@pytest.fixture(scope="module")
def model(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer and a tiny model."""
    path = tmp_path_factory.mktemp("tokens") / "微 tiny"
    made = subprocess.run(
        worker_command(engine, "make_model", "--out", str(path), "--tiny"),
        env=engine_environment(engine),
        capture_output=True,
    )
    assert made.returncode == 0, made.stderr
    return path


def engine_lengths(engine: Engine, model: Path, template: str, cutoff: int, folder: Path) -> list[list[int]]:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_batches([to_batch(ROWS, "pairs")]), folder / "rows.parquet")
    (folder / "dataset_info.json").write_text(json.dumps({"rows": our_entry("rows.parquet")}))
    done = subprocess.run(
        [str(engine.python), "-c", DATASET, str(model), template, str(folder), str(cutoff), str(folder / "out")],
        capture_output=True,
        text=True,
        env=engine_environment(engine, HF_HUB_OFFLINE="1", HF_DATASETS_CACHE=str(folder / "cache")),
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("ROWS"))
    return [list(row) for row in json.loads(line.removeprefix("ROWS"))]


@pytest.mark.engine
@pytest.mark.parametrize("template", ["qwen3_nothink", "qwen3"])
def test_counts_are_the_lengths_that_a_training_sees(
    engine: Engine, model: Path, template: str, tmp_path: Path
) -> None:
    counted = count_tokens(Tokenizer(engine, str(model), template), ROWS)
    assert counted == engine_lengths(engine, model, template, 1_000_000, tmp_path / "数 data")


@pytest.mark.engine
def test_what_is_cut_is_what_a_training_cuts(engine: Engine, model: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer(engine, str(model), "qwen3_nothink")
    counted = count_tokens(tokenizer, ROWS)
    cut = 0
    for row, seen in zip(counted, engine_lengths(engine, model, "qwen3_nothink", 256, tmp_path / "data"), strict=True):
        prompt, answer = kept_lengths(row[0], max(row[1:]), 256)
        assert seen == [prompt, min(row[1], answer), min(row[2], answer)]
        cut += seen != row
    found = summarise(tokenizer, counted, 256)
    assert found is not None
    assert (found.cut.hits, found.rows) == (cut, len(ROWS))
    assert 0 < cut < len(ROWS)


@pytest.mark.engine
def test_a_labelled_answer_counts_as_the_same_answer_of_a_pair(engine: Engine, model: Path) -> None:
    tokenizer = Tokenizer(engine, str(model), "qwen3_nothink")
    labelled = [Example.labelled(row.messages, row.chosen, True, row.system) for row in ROWS]
    assert count_tokens(tokenizer, labelled) == [row[:2] for row in count_tokens(tokenizer, ROWS)]


@pytest.mark.engine
def test_a_wrong_model_is_two_lines(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot count the tokens") as caught:
        count_tokens(Tokenizer(engine, str(tmp_path), "qwen3_nothink"), ROWS)
    assert "\n" not in caught.value.what
