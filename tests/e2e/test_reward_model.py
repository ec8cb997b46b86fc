"""A reward model on the real engine: what `rlguide eval` finds is what its own training found."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from rlguide.data.ingest.options import IngestOptions
from rlguide.engine.find import Engine
from rlguide.engine.worker import engine_environment
from rlguide.evaluation.rewards.model import find_reward_model
from rlguide.evaluation.rewards.score import Wanted, score_file
from rlguide.evaluation.rewards.server import ScoreServer
from rlguide.policy.policy import Policy
from rlguide.workspace import Workspace
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


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation has told: its figures, each pair's, and what was shown. config: as it was written."""

    found: dict[str, Any]
    rows: list[dict[str, Any]]
    out: str
    err: str
    config: str


def evaluated(bench: Bench, *arguments: str) -> Evaluated:
    done = bench.run("eval", *arguments)
    found = json.loads((bench.root / RM / "eval/suite.json").read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in (bench.root / RM / "eval/pairs.jsonl").read_text().split("\n") if line]
    config = (bench.root / "configs/eval_config.yaml").read_text(encoding="utf-8")
    return Evaluated(found, rows, done.stdout, done.stderr, config)


@pytest.fixture(scope="module")
def result(scored: Bench) -> Evaluated:
    """Without a name, the newest run that can be evaluated is the reward model."""
    return evaluated(scored, "--json")


@pytest.fixture(scope="module")
def turned(scored: Bench, result: Evaluated) -> Evaluated:
    """The same pairs the other way round, in batches of another size, the last of which is a smaller one."""
    rows = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in pairs(60)]
    (scored.root / "turned.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    scored.run("register", "turned.json", "--test-size", "0")
    return evaluated(scored, RM, "--dataset", "turned", "--set", "per_device_eval_batch_size=5", "--worst", "2")


def assert_agrees(bench: Bench, run: str, found: dict[str, Any], digits: float = 1e-5) -> None:
    """The last evaluation of the training, of the adapter that is saved, is on the same pairs."""
    during = json.loads((bench.root / run / "eval_results.json").read_text())
    assert found["pairs"] == 12
    assert found["ties"] == 0  # which the engine counts as wrong
    assert found["accuracy"]["value"] == pytest.approx(during["eval_accuracy"], abs=1e-9)
    assert found["loss"]["value"] == pytest.approx(during["eval_loss"], abs=digits)
    assert abs(found["loss"]["value"] - math.log(2)) > 1e-3  # that of a model that learnt nothing


def test_agrees_with_the_evaluation_during_training(scored: Bench, result: Evaluated) -> None:
    """Base, SFT adapter, the adapter trained on it and the value head: without any of them the loss is another."""
    assert_agrees(scored, RM, result.found)
    held_out = json.loads((scored.root / RM / "run.json").read_text(encoding="utf-8"))["summary"]["held_out"]
    assert result.found["loss"]["value"] == pytest.approx(held_out["eval_loss"], abs=1e-4)
    assert result.found["reward_model"] == f"models/tiny + {SFT} + {RM}"
    assert json.loads(result.out) == result.found


def test_every_pair_has_its_scores_texts_and_tokens(result: Evaluated) -> None:
    assert len(result.rows) == 12
    for row in result.rows:
        margin = row["chosen_reward"] - row["rejected_reward"]
        assert row["loss"] == pytest.approx(math.log1p(math.exp(-margin)), abs=1e-5)
        number = int(row["prompt"][-1]["content"].split()[1].rstrip(":"))
        assert row["chosen"] == f"Of course! It is {2 * number}."
        assert 0 < row["rejected_tokens"] < row["chosen_tokens"] < 64
    (longer,) = result.found["by_length"]
    assert (longer["name"], longer["accuracy"]) == ("longer", result.found["accuracy"])
    assert sum(group["accuracy"]["count"] for group in result.found["by_margin"]) == 12
    assert len({row["chosen_reward"] for row in result.rows}) > 1


def test_pairs_turned_round_have_the_opposite_margins_whatever_the_batches(
    result: Evaluated, turned: Evaluated
) -> None:
    """A score is of a response, whichever side it stands on.

    The engine gives a mean of each batch, the last of which is a smaller one; a pair has a loss of its own.
    """
    assert "left out   48 of 60 pairs: their prompts were trained on" in turned.err
    before, found = {row["chosen"]: row for row in result.rows}, turned.found
    margin = result.found["margin"]["value"]
    assert found["margin"]["value"] == pytest.approx(-margin, abs=1e-4)
    assert found["accuracy"]["value"] == pytest.approx(1 - result.found["accuracy"]["value"], abs=1e-9)
    # log(1 + exp(m)) = log(1 + exp(-m)) + m, of each pair and so of their means
    assert found["loss"]["value"] == pytest.approx(result.found["loss"]["value"] + margin, abs=1e-4)
    assert [group["name"] for group in found["by_length"]] == ["shorter"]
    assert len(turned.rows) == 12
    for row in turned.rows:
        there = before[row["rejected"]]
        assert row["chosen_tokens"] == there["rejected_tokens"]
        assert row["chosen_reward"] == pytest.approx(there["rejected_reward"], abs=1e-4)


def test_the_config_runs_without_rlguide(scored: Bench, result: Evaluated) -> None:
    (scored.root / "plain.yaml").write_text(result.config, encoding="utf-8")
    scored.llamafactory("train", "plain.yaml", "output_dir=saves/plain_eval")
    plain = json.loads((scored.root / "saves/plain_eval/eval_results.json").read_text())
    assert plain["eval_accuracy"] == pytest.approx(result.found["accuracy"]["value"], abs=1e-9)
    assert plain["eval_loss"] == pytest.approx(result.found["loss"]["value"], abs=1e-5)


def test_what_is_shown(scored: Bench, turned: Evaluated) -> None:
    shown = turned.out
    assert f"{turned.found['accuracy']['value']:.4f}" in shown and turned.found["verdict"] in shown
    lowest = min(row["chosen_reward"] - row["rejected_reward"] for row in turned.rows)
    assert f"1. margin {lowest:+.4f}" in shown and "3. margin" not in shown
    assert "rlguide chat" not in shown + turned.err
    assert f"--method ppo --sft-ckpt {SFT} --template qwen3_nothink --reward-model {RM}" in turned.err
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


class Servers(ScoreServer):
    """Several servers as one: each is asked for the rewards of the same texts, and all must agree."""

    def __init__(self, *addresses: str) -> None:
        super().__init__(addresses[0])
        self.others = [ScoreServer(address) for address in addresses[1:]]

    def scores(self, texts: Sequence[str], longest: int) -> list[float]:
        found = super().scores(texts, longest)
        for other in self.others:
            assert other.scores(texts, longest) == pytest.approx(found, abs=1e-5)
        return found


def test_a_file_is_scored_as_by_eval_and_as_by_a_server(
    scored: Bench, result: Evaluated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens, template, truncation and the whole stack are the same on all ways."""
    monkeypatch.chdir(scored.root)
    monkeypatch.setenv("XDG_CACHE_HOME", str(scored.root / "cache"))
    rows = [{key: row[key] for key in ("prompt", "chosen", "rejected")} for row in result.rows]
    long = "and so on, 如此等等 " * 40  # far above cutoff_len
    rows += [{**rows[0], "rejected": long}, {**rows[0], "prompt": [{"role": "user", "content": long}]}]
    file = scored.root / "held out.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    done = scored.run("score", file.name, "--reward-model", RM, "-o", "here.jsonl", "--json")
    here = [json.loads(line) for line in (scored.root / "here.jsonl").read_text(encoding="utf-8").splitlines()]
    names = ("chosen_reward", "rejected_reward")
    for row, evaluated in zip(here, result.rows, strict=False):
        assert [row[name] for name in names] == pytest.approx([evaluated[name] for name in names], abs=1e-5)
    assert all(row["reward_cut"] > 100 for row in here[12:])
    said = json.loads(done.stdout)
    assert (said["rows"], said["scored"], said["cut"]) == (14, 14, sum(row["reward_cut"] > 0 for row in here))
    model = find_reward_model(Workspace(scored.root), scored.engine, RM, None, False, False)
    with score_server(scored) as engines, rlguide_server(scored) as own:
        output = scored.root / "there.jsonl"
        score_file(replace(model, server=Servers(engines, own)), Wanted(file, IngestOptions()), output)
    there = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
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


def test_without_its_value_head_it_is_refused(scored: Bench, bench: Bench) -> None:
    """The engine would go on with a random one."""
    shutil.copytree(scored.root / RM, bench.root / RM)
    (bench.root / RM / "value_head.safetensors").unlink()
    refused = bench.run("eval", RM, code=1).stderr.strip().splitlines()
    assert len(refused) == 2 and "has no value_head.safetensors" in refused[0]
