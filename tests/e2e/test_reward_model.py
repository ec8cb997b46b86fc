"""A reward model on the real engine: what `rlguide eval` finds is what its own training found."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rlguide.engine.find import Engine
from rlguide.engine.worker import engine_environment
from rlguide.policy.policy import Policy
from tests.e2e.conftest import SFT, WORKSPACE, Bench, pairs, settings

pytestmark = pytest.mark.engine

RM = "saves/tiny/lora/rm"
TRAIN = ("train", "--method", "rm", "--dataset", "polite")


@pytest.fixture(scope="module")
def scored(master: Path, engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A workspace with one finished reward model; tests that use it change nothing in it but its evaluation."""
    root = tmp_path_factory.mktemp("scored") / WORKSPACE
    shutil.copytree(master, root)
    bench = Bench(root, engine)
    done = bench.run(*TRAIN, "--sft-ckpt", SFT, *settings())
    assert f"next: rlguide eval {RM}    then: " in done.stderr
    return bench


@pytest.fixture(scope="module")
def result(scored: Bench) -> dict[str, Any]:
    """Without a name, the newest run that can be evaluated is the reward model."""
    return json.loads(scored.run("eval", "--json").stdout)  # type: ignore[no-any-return]


def rows_of(bench: Bench, run: str = RM) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (bench.root / run / "eval/pairs.jsonl").read_text().split("\n") if line]


def assert_agrees(bench: Bench, run: str, found: dict[str, Any], digits: float = 1e-5) -> None:
    """The last evaluation of the training, of the adapter that is saved, is on the same pairs."""
    during = json.loads((bench.root / run / "eval_results.json").read_text())
    assert found["pairs"] == 12
    assert found["ties"] == 0  # which the engine counts as wrong
    assert found["accuracy"]["value"] == pytest.approx(during["eval_accuracy"], abs=1e-9)
    assert found["loss"]["value"] == pytest.approx(during["eval_loss"], abs=digits)
    assert abs(found["loss"]["value"] - math.log(2)) > 1e-3  # that of a model that learnt nothing


def test_agrees_with_the_evaluation_during_training(scored: Bench, result: dict[str, Any]) -> None:
    """Base, SFT adapter, the adapter trained on it and the value head: without any of them the loss is another."""
    assert_agrees(scored, RM, result)
    held_out = json.loads((scored.root / RM / "run.json").read_text(encoding="utf-8"))["summary"]["held_out"]
    assert result["loss"]["value"] == pytest.approx(held_out["eval_loss"], abs=1e-4)
    assert result["reward_model"] == f"models/tiny + {SFT} + {RM}"
    assert json.loads((scored.root / RM / "eval/suite.json").read_text(encoding="utf-8")) == result


def test_every_pair_has_its_scores_texts_and_tokens(scored: Bench, result: dict[str, Any]) -> None:
    rows = rows_of(scored)
    assert len(rows) == 12
    for row in rows:
        margin = row["chosen_reward"] - row["rejected_reward"]
        assert row["loss"] == pytest.approx(math.log1p(math.exp(-margin)), abs=1e-5)
        number = int(row["prompt"][-1]["content"].split()[1].rstrip(":"))
        assert row["chosen"] == f"Of course! It is {2 * number}."
        assert 0 < row["rejected_tokens"] < row["chosen_tokens"] < 64
    (longer,) = result["by_length"]
    assert (longer["name"], longer["accuracy"]) == ("longer", result["accuracy"])
    assert sum(group["accuracy"]["count"] for group in result["by_margin"]) == 12
    assert len({row["chosen_reward"] for row in rows}) > 1


def test_pairs_turned_round_have_the_opposite_margins(scored: Bench, result: dict[str, Any]) -> None:
    """A score is of a response, whichever side it stands on."""
    before = {row["chosen"]: row for row in rows_of(scored)}
    turned = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in pairs(60)]
    (scored.root / "turned.json").write_text(json.dumps(turned, ensure_ascii=False), encoding="utf-8")
    scored.run("register", "turned.json", "--test-size", "0")
    done = scored.run("eval", RM, "--dataset", "turned", "--json")
    assert "left out   48 of 60 pairs: their prompts were trained on" in done.stderr
    found = json.loads(done.stdout)
    assert found["margin"]["value"] == pytest.approx(-result["margin"]["value"], abs=1e-4)
    assert [group["name"] for group in found["by_length"]] == ["shorter"]
    for row in rows_of(scored):
        there = before[row["rejected"]]
        assert row["chosen_tokens"] == there["rejected_tokens"]
        assert row["chosen_reward"] == pytest.approx(there["rejected_reward"], abs=1e-4)


def test_batches_change_nothing(scored: Bench, result: dict[str, Any]) -> None:
    """The engine gives a mean of each batch, the last of which is a smaller one; a pair has a loss of its own."""
    done = scored.run("eval", RM, "--json", "--set", "per_device_eval_batch_size=5")
    found = json.loads(done.stdout)
    for name in ("accuracy", "loss", "margin"):
        assert found[name]["value"] == pytest.approx(result[name]["value"], abs=1e-4)


def test_the_config_runs_without_rlguide(scored: Bench, result: dict[str, Any]) -> None:
    scored.run("eval", RM, "--set", "output_dir=saves/plain_eval")
    scored.llamafactory("train", "configs/eval_config.yaml")
    plain = json.loads((scored.root / "saves/plain_eval/eval_results.json").read_text())
    assert plain["eval_accuracy"] == pytest.approx(result["accuracy"]["value"], abs=1e-9)
    assert plain["eval_loss"] == pytest.approx(result["loss"]["value"], abs=1e-5)


def test_what_is_shown(scored: Bench, result: dict[str, Any]) -> None:
    done = scored.run("eval", RM, "--worst", "2")
    assert f"{result['accuracy']['value']:.4f}" in done.stdout and result["verdict"] in done.stdout
    lowest = min(row["chosen_reward"] - row["rejected_reward"] for row in rows_of(scored))
    assert f"1. margin {lowest:+.4f}" in done.stdout and "3. margin" not in done.stdout
    assert "rlguide chat" not in done.stdout + done.stderr
    assert f"--method ppo --sft-ckpt {SFT} --template qwen3_nothink --reward-model {RM}" in done.stderr
    assert "was trained on" in scored.run("eval", RM, "--dataset", "polite", code=2).stderr


# LLaMA-Factory's own server, but for the device: with its "auto" trl refuses a value head on a CPU.
SERVER = """
import json, socket, sys
import uvicorn
from llamafactory.api.app import create_app
from llamafactory.chat import ChatModel, hf_engine
from llamafactory.extras.misc import get_current_device
load = hf_engine.load_model
def load_model(tokenizer, model_args, *rest, **more):
    model_args.device_map = {"": get_current_device()}
    return load(tokenizer, model_args, *rest, **more)
hf_engine.load_model = load_model
app = create_app(ChatModel(json.loads(sys.argv[1])))
listening = socket.create_server(("127.0.0.1", 0))
print("listening on", listening.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])
"""


@contextmanager
def score_server(bench: Bench) -> Iterator[str]:
    """The address of a server that holds the reward model: base, SFT adapter, its own adapter and its value head."""
    policy = Policy("models/tiny", (SFT, RM), "qwen3_nothink")
    command = [str(bench.engine.python), "-c", SERVER, json.dumps({**policy.model_config(), "stage": "rm"})]
    environment = {**engine_environment(bench.engine), "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(command, cwd=bench.root, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = next(line.split()[-1] for line in process.stdout if line.startswith("listening on"))
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()


@contextmanager
def rlguide_server(bench: Bench) -> Iterator[str]:
    """The address of `rlguide serve`."""
    environment = {"XDG_STATE_HOME": str(bench.root / "state"), "RLGUIDE_API_KEY": ""}
    started = bench.run("serve", RM, "--port", "0", "--background", env=environment)
    try:
        yield started.stdout.strip()
    finally:
        bench.run("serve", "--stop", env=environment)


def test_a_file_is_scored_as_by_eval_and_as_by_a_server(scored: Bench, result: dict[str, Any]) -> None:
    """Tokens, template, truncation and the whole stack are the same on all ways."""
    scored.run("eval", RM)  # another test may have evaluated it on other pairs
    rows = [{key: row[key] for key in ("prompt", "chosen", "rejected")} for row in rows_of(scored)]
    long = "and so on, 如此等等 " * 40  # far above cutoff_len
    rows += [{**rows[0], "rejected": long}, {**rows[0], "prompt": [{"role": "user", "content": long}]}]
    file = scored.root / "held out.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    environment = {"XDG_CACHE_HOME": str(scored.root / "cache")}
    command = ("score", file.name, "--reward-model", RM)
    done = scored.run(*command, "-o", "here.jsonl", "--json", env=environment)
    here = [json.loads(line) for line in (scored.root / "here.jsonl").read_text(encoding="utf-8").splitlines()]
    names = ("chosen_reward", "rejected_reward")
    for row, evaluated in zip(here, rows_of(scored), strict=False):
        assert [row[name] for name in names] == pytest.approx([evaluated[name] for name in names], abs=1e-5)
    assert all(row["reward_cut"] > 100 for row in here[12:])
    said = json.loads(done.stdout)
    assert (said["rows"], said["scored"], said["cut"]) == (14, 14, sum(row["reward_cut"] > 0 for row in here))
    for server in (score_server, rlguide_server):
        with server(scored) as address:
            asked = ("--endpoint", address, "-o", "there.jsonl")
            scored.run("score", file.name, "--reward-model", RM, *asked, env=environment)
        there = [json.loads(line) for line in (scored.root / "there.jsonl").read_text(encoding="utf-8").splitlines()]
        for row, other in zip(here, there, strict=True):
            if "reward_missing" in other:  # cut within a character, which no text can say
                assert row["reward_cut"] > 0
                continue
            assert [row[name] for name in names] == pytest.approx([other[name] for name in names], abs=1e-5)
        assert sum("reward_missing" not in row for row in there) >= 10


@pytest.mark.parametrize(
    ("options", "digits"),
    [(["--quantization", "4"], 1e-3), (["--set", "default_system=You are a pirate."], 1e-5)],
    ids=["quantized", "system prompt"],
)
def test_agrees_however_it_was_trained(bench: Bench, options: list[str], digits: float) -> None:
    """On a quantized base; under another system prompt.

    On CPUs with AVX512-BF16 bitsandbytes computes in bfloat16 where no input needs a gradient, so not during training.
    """
    bench.run(*TRAIN, "--sft-ckpt", SFT, "-o", "saves/rm", *options, *settings())
    assert_agrees(bench, "saves/rm", json.loads(bench.run("eval", "saves/rm", "--json").stdout), digits)


def test_agrees_in_bfloat16(bench: Bench) -> None:
    """The adapter stays beside the weights, as it was: merged, most of so small a change would be rounded away."""
    half = ("bf16=true", "learning_rate=1e-5")
    bench.run(*TRAIN, "--sft-ckpt", SFT, "-o", "saves/rm", *settings(*half))
    assert_agrees(bench, "saves/rm", json.loads(bench.run("eval", "saves/rm", "--set", "bf16=true", "--json").stdout))


def test_without_its_value_head_it_is_refused(bench: Bench) -> None:
    """The engine would go on with a random one."""
    bench.run(*TRAIN, "--sft-ckpt", SFT, "-o", "saves/rm", *settings("max_steps=1"))
    (bench.root / "saves/rm/value_head.safetensors").unlink()
    refused = bench.run("eval", "saves/rm", code=1).stderr.strip().splitlines()
    assert len(refused) == 2 and "has no value_head.safetensors" in refused[0]
