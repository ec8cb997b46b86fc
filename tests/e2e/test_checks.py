"""Everything wrong that can be known before the engine starts is refused in two lines, with nothing written.

The engine's real argument table is used; no training starts.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rlguide.engine.find import Engine
from rlguide.engine.schema import load_schema
from tests.e2e.conftest import SFT, Bench

pytestmark = pytest.mark.engine


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def assert_refused(bench: Bench, arguments: list[str], code: int, words: str) -> None:
    before = snapshot(bench.root)
    done = bench.run(*arguments, code=code, env={"HF_HUB_OFFLINE": "0"})  # the network is not touched by any check
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 2, done.stderr
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("  fix: ")
    assert words in done.stderr
    assert done.stdout == ""
    assert snapshot(bench.root) == before


COMMAND = ["train", "--sft-ckpt", SFT, "--dataset", "polite"]


@pytest.fixture(scope="module", autouse=True)
def _schema_is_cached(engine: Engine) -> None:
    """The engine's table is read once and said so; every later check is silent."""
    load_schema(engine)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--set", "pref_bata=0.1"], 2, "did you mean pref_beta?"),
        (["--set", "learning_rate=fast"], 2, "must be a number"),
        (["--set", "lora_rank=1.5"], 2, "must be a whole number"),
        (["--set", "bf16=1"], 2, "true or false"),
        (["--set", "pref_loss=sigmod"], 2, "did you mean sigmoid?"),
        (["--set", "pref_beta=0"], 2, "above 0"),
        (["--set", "gradient_accumulation_steps=0"], 2, "above 0"),
        (["--set", "learning_rate"], 2, "has no value"),
        (["--set", "bf16=true", "--set", "use_cpu=false"], 2, "no GPU"),
        (["--set", "create_new_adapter=false"], 2, "reference is the base model"),
        (["--set", "save_total_limit=100000000"], 1, "GiB of disk"),
        (["--template", "qwen33"], 2, "did you mean qwen3?"),
        (["--dataset", "polit"], 2, "did you mean polite?"),
        (["--dataset", "sft"], 1, "not a preference dataset"),
        (["--dataset", "polite,polite_test"], 2, "keeps out of training"),
        (["--set", "eval_dataset=polite"], 2, "both trained on and evaluated on"),
        (["--set", "swanlab_lark_webhook_url=https://open.example/hook"], 2, "would be written to disk"),
        (["--set", "report_to=wandb"], 1, "needs wandb"),
        (["--set", "finetuning_type=full"], 2, "LoRA checkpoint"),
        (["--set", "val_size=0.1"], 2, "beside eval_dataset"),
        (["--set", "do_train=false"], 2, "nothing would be trained"),
        (["--set", "pissa_init=true"], 2, "where there is a reference"),
        (["--set", "use_galore=true"], 2, "use_galore"),
        (["--set", "per_device_eval_batch_size=0"], 2, "above 0"),
        (["--set", "max_samples=0", "--dry-run"], 2, "above 0"),
        (["--set", "streaming=true"], 2, "needs max_steps"),
        (["--set", "num_train_epochs=.inf"], 2, "finite"),
        (["--set", f"gradient_accumulation_steps={'9' * 400}"], 2, "larger than any training"),
        (["--set", "ref_model=/no/such"], 1, "does not exist"),
        (["--set", "group_by_length=true"], 2, "group_by_length"),
        (["--dataset", "polite,polite"], 2, "named twice"),
        (["--sft-ckpt", "saves/tiny/lora/stf"], 1, "does not exist"),
        (["--sft-ckpt", "data"], 1, "not a checkpoint"),
        (["--base", "Qwen/Qwen3-4B"], 1, "was trained on"),
        (["--base", "models/nothing"], 1, "does not exist"),
        (["--output-dir", SFT], 2, "is an adapter that it starts from"),
        (["--output-dir", SFT, "--dry-run", "--set", "overwrite_output_dir=true"], 2, "an adapter that it starts from"),
        (["--output-dir", "models/tiny"], 2, "is the base model"),
        (["--output-dir", "saves"], 2, "an adapter that it starts from"),
        (["--output-dir", "data"], 2, "the folder of the datasets"),
        (["--output-dir", "."], 2, "the workspace itself"),
        (["--output-dir", "saves/a,b"], 2, "comma"),
        (["--set", "output_dir=saves/a,b"], 2, "comma"),
        (["--config", "configs/none.yaml"], 2, "already says"),
        (["--resume"], 2, "takes no other option"),
        (["--engine", "/nowhere"], 1, "rlguide engine install"),
    ],
)
def test_wrong_options(bench: Bench, options: list[str], code: int, words: str) -> None:
    assert_refused(bench, [*COMMAND, *options], code, words)


def truncate_adapter(root: Path) -> None:
    path = root / SFT / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def truncate_base(root: Path) -> None:
    path = root / "models/tiny/model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def another_base(root: Path) -> None:
    path = root / "models/tiny/config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "hidden_size": config["hidden_size"] * 2}))


def lose_column(root: Path) -> None:
    path = root / "data/polite.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["rejected"]), path)


def lose_file(root: Path) -> None:
    (root / "data/polite.parquet").unlink()


def break_registry(root: Path) -> None:
    path = root / "data/dataset_info.json"
    path.write_text(path.read_text()[:-20])


def lose_adapter_config(root: Path) -> None:
    (root / SFT / "adapter_config.json").unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncate_adapter, "truncated"),
        (truncate_base, "truncated"),
        (another_base, "fit"),
        (lose_column, "no column rejected"),
        (lose_file, "missing"),
        (break_registry, "not valid JSON"),
        (lose_adapter_config, "adapter_config.json"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_damage(bench: Bench, damage: Callable[[Path], None], words: str) -> None:
    damage(bench.root)
    assert_refused(bench, COMMAND, 1, words)


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("stage: dpo\nstage: dpo\n", 1, "twice"),
        ("stage: [dpo\n", 1, "line 2"),
        ("just words", 1, "key: value"),
        ("stage: dpo\nlora_rnk: 3\n", 2, "did you mean lora_rank?"),
        ("stage: dpo\n", 2, "model_name_or_path is missing"),
        (
            "stage: pt\nmodel_name_or_path: models/tiny\ndataset: sft\ntemplate: qwen3\noutput_dir: x\n",
            2,
            "no method with stage pt",
        ),
    ],
)
def test_wrong_configs(bench: Bench, text: str, code: int, words: str) -> None:
    path = bench.root / "my 配置.yaml"
    path.write_text(text, encoding="utf-8")
    assert_refused(bench, ["train", "--config", str(path)], code, words)


def test_dry_run_writes_nothing(bench: Bench) -> None:
    """So that the disk need not have room for what the run would write."""
    before = snapshot(bench.root)
    done = bench.run(*COMMAND, "--dry-run", "--set", "save_total_limit=100000000")
    assert snapshot(bench.root) == before
    assert "create_new_adapter: true" in done.stdout
    assert f"adapter_name_or_path: {SFT}" in done.stdout
    assert "rlguide_worker/train.py saves/tiny/lora/dpo/config.yaml" in done.stderr


def test_a_dry_run_of_kto_on_pairs_makes_no_view(bench: Bench) -> None:
    before = snapshot(bench.root)
    done = bench.run(*COMMAND, "--method", "kto", "--dry-run")
    assert snapshot(bench.root) == before
    assert "dataset: polite_kto" in done.stdout


def test_configure_keeps_an_edited_config(bench: Bench) -> None:
    configure = ["configure", "--sft-ckpt", SFT, "--dataset", "polite"]
    bench.run(*configure)
    done = bench.run(*configure, "--set", "pref_beta=0.2")  # not edited: rendered anew
    assert "pref_beta: 0.1 -> 0.2" in done.stderr
    assert "pref_beta: 0.2 -> 0.1" in bench.run(*configure).stderr
    bench.run(*configure, "--set", "pref_beta=0.2")
    path = bench.root / "configs/dpo_config.yaml"
    edited = path.read_text(encoding="utf-8").replace("pref_beta: 0.2", "pref_beta: 0.3")
    path.write_text(edited, encoding="utf-8")
    assert_refused(bench, configure, 2, "edited by hand")
    assert "pref_beta: 0.3" in bench.run("train", "--config", "configs/dpo_config.yaml", "--dry-run").stdout
    bench.run(*configure, "--force")
    assert (bench.root / "configs/dpo_config.yaml.bak").read_text(encoding="utf-8") == edited


def test_latest_checkpoint_and_only_dataset_are_found(bench: Bench) -> None:
    done = bench.run("configure")
    assert "reference  saves/tiny/full/sft" in done.stderr  # the newer one
    assert "48 pairs, 12 held out" in done.stderr


def test_the_workspace_counts_not_the_current_folder(bench: Bench, tmp_path: Path) -> None:
    """From a folder that has data/, models/ and saves/ of its own, which are not what is meant."""
    here = tmp_path / "elsewhere"
    for name in ("data", "models/tiny", SFT):
        (here / name).mkdir(parents=True)
    (here / "data/dataset_info.json").write_text("{}")
    done = bench.run(*COMMAND, "--workspace", str(bench.root), "--dry-run", cwd=here)
    assert f"adapter_name_or_path: {SFT}" in done.stdout
    assert "48 pairs, 12 held out" in done.stderr
    (here / "dpo.yaml").write_text(done.stdout, encoding="utf-8")
    again = bench.run("train", "--config", "dpo.yaml", "--workspace", str(bench.root), "--dry-run", cwd=here)
    assert "48 pairs, 12 held out" in again.stderr
