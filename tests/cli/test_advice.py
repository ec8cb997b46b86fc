"""What a `fix:` or `next:` line tells to type is accepted when it is pasted.

Each situation runs a command in this process; each `rlguide ...` in what it says is then run in the same workspace.
No engine is needed: what would start one ends where it would, and a training stops at its dry run.
"""

from __future__ import annotations

import fcntl
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

from rlguide.catalog.hyperparameters import hyperparameters
from rlguide.conversation import Response
from rlguide.data.ingest.views import view
from rlguide.engine.find import Engine
from rlguide.engine.installed import engine_for
from rlguide.engine.schema import Field, Schema
from rlguide.evaluation.divergence import summarize
from rlguide.policy.merge_fingerprint import MANIFEST
from rlguide.policy.value_head import WEIGHT
from rlguide.runs.record import open_run
from rlguide.runs.training_rows import write_fingerprints
from rlguide.workspace import Workspace
from tests.cli.command import run
from tests.policy.checkpoint_files import write_lora, write_model, write_safetensors

VERSIONS = {"llamafactory": "0.9.5", "trl": "0.19.1", "bitsandbytes": "0.50.2", "deepspeed": "0.16.9"}
ENGINE = Engine(Path("/nowhere/bin/python"), VERSIONS)
SCORE = {"loss": 0.6, "chosen_reward": 0.2, "rejected_reward": 0.1, "chosen_tokens": 5, "rejected_tokens": 4}
PPO_ENGINE = Engine(Path("/nowhere/ppo/bin/python"), {"llamafactory": "0.9.3", "trl": "0.9.6"})
BASE = "models/tiny-base"
HELD: list[IO[str]] = []
INSTALLED: set[str] = set()  # engines beside the main one
# What stands for something that only its reader knows.
PLACEHOLDERS = {"FILE": "more.jsonl", "my_pairs.json": "more.jsonl"}


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A base, an SFT adapter, 40 pairs of which 8 are held out; the current folder."""
    root = tmp_path / "我的 project"
    ws = Workspace(root)
    write_model(root / "models/tiny-base")
    write_lora(ws.saves / "tiny/lora/sft")
    for name in ("pairs", "more"):
        rows = [{"instruction": f"{name} {n}?", "chosen": f"yes {n}", "rejected": f"no {n}"} for n in range(40)]
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(root)
    without_an_engine(monkeypatch)
    assert run("register", "pairs.jsonl", "--test-size", "0.2") == 0
    return ws


def without_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command runs as far as it would go before it starts the engine."""
    monkeypatch.setenv("FORCE_TORCHRUN", "1")  # without which DeepSpeed is refused
    keys = [
        *hyperparameters(),
        "quantization_bit",
        "ref_model",
        "ref_model_adapters",
        "val_size",
        "dataset",
        "deepspeed",
    ]
    fields, templates = {key: Field(key, (), (), None, "") for key in keys}, ("qwen3_nothink", "qwen3")
    schema = Schema(fields, templates, {"Tiny": "qwen3_nothink"})
    for place in ("rlguide.recipes.checks", "rlguide.evaluation.config", "rlguide.serving.export"):
        monkeypatch.setattr(f"{place}.load_schema", lambda engine: schema)
    monkeypatch.setattr("rlguide.evaluation.config.check_keys", lambda *_: None)
    monkeypatch.setattr("rlguide.engine.find.find_engine", lambda explicit=None: ENGINE)
    INSTALLED.clear()

    def engine_that_can(main: Engine, method: str, loss: str | None = None) -> Engine:
        return PPO_ENGINE if method in INSTALLED else engine_for(main, method, loss)

    for place in ("rlguide.engine.installed", "rlguide.recipes.prepare"):
        monkeypatch.setattr(f"{place}.engine_for", engine_that_can)
    monkeypatch.setattr("rlguide.recipes.checks.list_gpus", lambda: [])

    def score(ws: Workspace, engine: Engine, run: Any, config: Any, rows: int) -> Path:
        path = Path(run.path / "eval/pairs.jsonl")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((json.dumps(SCORE) + "\n") * rows)
        return path

    def merge(ws: Workspace, engine: Engine, policy: Any, target: Path, keys: Any, is_compared: bool) -> None:
        write_model(target)
        (target / MANIFEST).write_text('{"dtype": "float32"}')

    def chat(ws: Workspace, find_engine: Any, wanted: Any, options: Any) -> None:
        from rlguide.runs.choose import choose_partner

        choose_partner(ws, wanted, lambda: {"Tiny": "qwen3_nothink"})

    monkeypatch.setattr("rlguide.evaluation.scoring._score", score)
    monkeypatch.setattr(
        "rlguide.evaluation.asked.stored_responses", lambda model, asked, tokens: [Response("yes", "stop")] * len(asked)
    )
    row = {"kl": 0.1, "log_ratio": 0.1, "tokens": 3, "is_whole": True}
    monkeypatch.setattr("rlguide.evaluation.divergence.measure", lambda *given: summarize([row] * len(given[4])))
    monkeypatch.setattr("rlguide.serving.export.merge", merge)
    monkeypatch.setattr("rlguide.serving.chat.start.chat", chat)


def make_run(ws: Workspace, name: str = "tiny/lora/dpo", weights: bool = True, **values: Any) -> Path:
    """A run on the SFT adapter, with what it leaves."""
    folder = ws.saves / name
    folder.mkdir(parents=True, exist_ok=True)
    if weights:
        write_lora(folder)
    if weights and values.get("method") == "rm":
        write_safetensors(folder / "value_head.safetensors", {WEIGHT: (1, 16)})
    config = {"stage": "dpo", "dataset": "pairs", "eval_dataset": "pairs_test", "template": "qwen3_nothink"}
    config |= {"dataset_dir": "data", "model_name_or_path": "models/tiny-base", "output_dir": f"saves/{name}"}
    record = {
        "method": "dpo",
        "status": "finished",
        "created": "2026-02-02",
        "base": "models/tiny-base",
        "template": "qwen3_nothink",
        "stack": ["saves/tiny/lora/sft", f"saves/{name}"],
        "reference": {"base": "models/tiny-base", "adapters": ["saves/tiny/lora/sft"]},
        "total_steps": 20,
        **values,
        "config": {**config, **values.get("config", {})},
    }
    (folder / "run.json").write_text(json.dumps(record))
    write_fingerprints(ws, folder, record["config"])
    return folder


def commands(text: str) -> list[str]:
    """The rlguide commands in the `fix:` and `next:` lines of what was printed."""
    found = []
    for line in text.splitlines():
        _, mark, advice = line.partition("fix: ") if "fix: " in line else line.partition("next: ")
        if not mark:
            continue
        quoted = re.findall(r"`(rlguide [^`]+)`", advice)
        found += quoted or re.findall(r"rlguide (?:[^;,\s]+(?: (?! |then\b))?)+", advice)
    return [command.strip() for command in found]


def paste(ws: Workspace, command: str) -> int:
    """The exit code of a command as a shell would run it; a training stops at its dry run."""
    words = [PLACEHOLDERS.get(word, word) for word in shlex.split(command)[1:]]
    if words[0] == "train" and "--dry-run" not in words:
        words.append("--dry-run")
    if words[0] == "watch":
        words.append("--once")  # what trains here never ends
    if words[:2] == ["engine", "install"]:
        INSTALLED.update(words[2:])
    if words[0] == "download" or words[:2] == ["engine", "install"]:  # what needs a network
        words.append("--help")
    return run(*words)


def summary(name: str = "tiny/lora/dpo") -> Callable[[Workspace], int]:
    def show(ws: Workspace) -> int:
        from rlguide.cli.train_cmd import _show_summary

        _show_summary(ws, open_run(ws, f"saves/{name}"), ENGINE, as_json=False)
        return 0

    return show


def after(method: str, **config: Any) -> Callable[[Workspace], int]:
    """The end of a training of that method."""

    def end(ws: Workspace) -> int:
        dataset = view(ws, "pairs", method) if method in ("kto", "ppo") else "pairs"
        keys = {"stage": method, "dataset": dataset, "eval_dataset": None, **config}
        make_run(ws, f"tiny/lora/{method}", method=method, config=keys)
        return summary(f"tiny/lora/{method}")(ws)

    return end


def with_run(
    *arguments: str, checkpoint: bool = False, busy: bool = False, **values: Any
) -> Callable[[Workspace], int]:
    """A command on the run `saves/tiny/lora/my dpo`."""

    def act(ws: Workspace) -> int:
        folder = make_run(ws, "tiny/lora/my dpo", **values)
        if checkpoint:
            write_lora(folder / "checkpoint-20")
        if busy:  # until what is said has been pasted: something trains in the folder
            HELD.append((folder / ".training.lock").open("w"))
            fcntl.flock(HELD[-1], fcntl.LOCK_EX)
        return run(*arguments)

    return act


def with_ppo(act: Callable[[Workspace], int]) -> Callable[[Workspace], int]:
    """Where PPO's engine is installed."""

    def then(ws: Workspace) -> int:
        INSTALLED.add("ppo")
        return act(ws)

    return then


def edited_config(ws: Workspace) -> int:
    """`configure` over a config that its user has made theirs."""
    run("configure", "--sft-ckpt", "saves/tiny/lora/sft")
    path = ws.configs / "dpo_config.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("seed: 42", "seed: 7"), encoding="utf-8")
    return run("configure", "--sft-ckpt", "saves/tiny/lora/sft")


def broken_checkpoint(ws: Workspace) -> int:
    (ws.saves / "tiny/lora/sft/adapter_model.safetensors").write_bytes(b"")
    return run("checkpoints")


def broken_chat(ws: Workspace) -> int:
    (ws.saves / "tiny/lora/sft/adapter_model.safetensors").write_bytes(b"")
    return run("chat", "saves/tiny/lora/sft")


RUN = "saves/tiny/lora/my dpo"
BUSY: dict[str, Any] = {"status": "running", "weights": False, "busy": True}
STOPPED: dict[str, Any] = {"status": "interrupted", "weights": False}
SCORER: dict[str, Any] = {"method": "rm", "config": {"stage": "rm"}}


def config_with(**models: Any) -> Callable[[Workspace], int]:
    """A training by a config of one's own on these models."""

    def act(ws: Workspace) -> int:
        keys = {"stage": "dpo", "do_train": True, "dataset": "pairs", "template": "qwen3_nothink", "output_dir": RUN}
        (ws.root / "mine.yaml").write_text(json.dumps({**keys, **models}))  # JSON is YAML
        return run("train", "--config", "mine.yaml")

    return act


def recipe(*arguments: str, times: int = 1) -> Callable[[Workspace], int]:
    """A ready recipe copied, as often as that."""
    return lambda ws: max(run("recipes", "copy", *arguments) for _ in range(times))


WHOLE = {"do_train": True, "adapter_name_or_path": "saves/tiny/lora/sft", "create_new_adapter": True, "use_cpu": True}
SENDS = {"deepspeed": '{"wandb": {"enabled": true}}', "use_cpu": False}


def replay_of_kto(ws: Workspace) -> int:
    before = ws.dataset_info.read_text(encoding="utf-8")
    view(ws, "pairs", "kto")
    make_run(ws, method="kto", config={**WHOLE, "stage": "kto", "dataset": "pairs_kto", "eval_dataset": None})
    ws.dataset_info.write_text(before, encoding="utf-8")
    return run("train", "--replay", "saves/tiny/lora/dpo", "--dry-run")


SITUATIONS: dict[str, tuple[Callable[[Workspace], int], int]] = {
    # name: (what is done, how many commands are printed at least)
    "after dpo": (after("dpo", eval_dataset="pairs_test"), 2),
    "after dpo without held-out pairs": (after("dpo", dataset="pairs_test", eval_dataset=None), 1),
    "after dpo with val_size": (after("dpo", val_size=0.25), 2),
    "after kto": (after("kto", eval_dataset="pairs_kto_test"), 2),
    "after kto with val_size": (after("kto", val_size=0.05), 1),
    "after ppo": (after("ppo"), 2),
    "after a reward model": (after("rm", eval_dataset="pairs_test"), 3),
    "after a reward model without held-out pairs": (after("rm", dataset="pairs_test"), 2),
    "after an evaluation": (with_run("eval", RUN), 1),
    "eval of a running run": (with_run("eval", RUN, **BUSY), 1),
    "eval of a running run with a checkpoint": (with_run("eval", RUN, checkpoint=True, **BUSY), 1),
    "bare eval, running": (with_run("eval", **BUSY), 1),
    "chat with a running run": (with_run("chat", RUN, **BUSY), 1),
    "bare chat, running": (with_run("chat", **BUSY), 1),
    "export of a running run": (with_run("export", RUN, **BUSY), 1),
    "bare export, running": (with_run("export", **BUSY), 1),
    "eval of an interrupted run": (with_run("eval", RUN, **STOPPED), 2),
    "chat with an interrupted run": (with_run("chat", RUN, **STOPPED), 2),
    "export of an interrupted run": (with_run("export", RUN, **STOPPED), 2),
    "eval on what was trained on": (with_run("eval", RUN, "--dataset", "pairs"), 0),
    "eval of a reward model": (with_run("eval", RUN, **SCORER), 2),
    "bare eval, a reward model": (with_run("eval", **SCORER), 2),
    "instructions of a reward model": (with_run("eval", RUN, "--suite", "instructions", **SCORER), 1),
    "every checkpoint of a reward model": (with_run("eval", RUN, "--over-checkpoints", **SCORER), 1),
    "eval of a running reward model": (with_run("eval", RUN, **{**BUSY, **SCORER}), 1),
    "eval of an interrupted reward model": (with_run("eval", RUN, checkpoint=True, **{**STOPPED, **SCORER}), 2),
    "resume of a finished reward model": (with_ppo(with_run("train", "--resume", RUN, **SCORER)), 1),
    "eval of a reward model, PPO installed": (with_ppo(with_run("eval", RUN, **SCORER)), 1),
    "eval by a suite that is none": (with_run("eval", RUN, "--suite", "pears"), 0),
    "eval of a run that held nothing out": (with_run("eval", RUN, config={"dataset": "pairs_test"}), 0),
    "eval of a folder that is not a run": (lambda ws: run("eval", "saves/tiny/lora/sft"), 1),
    "eval of nothing": (lambda ws: run("eval", "saves/nothing"), 1),
    "chat with nothing": (lambda ws: run("chat", "saves/nothing"), 1),
    "export of a base": (lambda ws: run("export", "--base", "models/tiny-base"), 0),
    "after register": (lambda ws: run("register", "more.jsonl"), 2),
    "after configure": (lambda ws: run("configure", "--sft-ckpt", "saves/tiny/lora/sft"), 1),
    "no dataset of that name": (lambda ws: run("train", "--dataset", "nothing"), 1),
    "a method that is not known": (lambda ws: run("train", "--method", "dpoo"), 1),
    "show of a row that is not there": (lambda ws: run("show", "pairs", "--row", "99"), 1),
    "show of row 0": (lambda ws: run("show", "pairs", "--heldout", "--row", "0"), 2),
    "show of what is not held out": (lambda ws: run("show", "pairs_test", "--heldout"), 1),
    "rename to what is no name": (lambda ws: run("rename", "pairs", "my pairs, 2"), 1),
    "rename of a held-out split": (lambda ws: run("rename", "pairs_test", "other"), 1),
    "rename of a view": (lambda ws: run("rename", view(ws, "pairs", "kto"), "other"), 1),
    "remove without a terminal": (lambda ws: run("remove", "pairs"), 1),
    "resume of a finished run": (with_run("train", "--resume", RUN), 1),
    "resume of a running run": (with_run("train", "--resume", RUN, **BUSY), 0),
    "bare resume, finished": (with_run("train", "--resume"), 1),
    "bare resume, running": (with_run("train", "--resume", **BUSY), 0),
    "bare resume of nothing": (lambda ws: run("train", "--resume"), 1),
    "resume that sends": (with_run("train", "--resume", RUN, **STOPPED, config={"push_to_hub": True}), 1),
    "resume with another option": (with_run("train", "--resume", RUN, "--set", "pref_beta=1", **STOPPED), 0),
    "replay of nothing": (lambda ws: run("train", "--replay", "saves/nothing"), 1),
    "replay of a checkpoint": (lambda ws: run("train", "--replay", "saves/tiny/lora/sft"), 1),
    "replay of a run without a stage": (with_run("train", "--replay", RUN, config={"stage": None}), 0),
    "replay that sends": (with_run("train", "--replay", RUN, config={**WHOLE, **SENDS}), 1),
    "replay of KTO, dry, after its pairs went": (replay_of_kto, 1),
    "from a stopped run": (with_run("train", "--from", RUN, **STOPPED), 1),
    "from a running run": (with_run("train", "--from", RUN, **BUSY), 0),
    "from a folder that is not a run": (lambda ws: run("train", "--from", "saves/tiny/lora/sft"), 0),
    "into a finished run": (with_run("train", "-o", RUN), 1),
    "into a stopped run": (with_run("train", "-o", RUN, status="failed"), 1),
    "into a running run": (with_run("train", "-o", RUN, **BUSY), 0),
    "doctor with a stopped run": (with_run("doctor", **STOPPED), 1),
    "a config that is not there": (lambda ws: run("train", "--config", "nothing.yaml"), 1),
    "a template that is not known": (lambda ws: run("train", "--template", "nothing"), 1),
    "a key that is not known": (lambda ws: run("explain", "nothing"), 1),
    "ppo without a reward model": (lambda ws: run("train", "--method", "ppo", "--dataset", "pairs"), 1),
    "quantization, dry": (lambda ws: run("train", "--quantization", "4", "--dry-run"), 1),
    "a config that was edited": (edited_config, 1),
    "a config whose adapter is not there": (config_with(model_name_or_path=BASE, adapter_name_or_path="saves/gone"), 2),
    "a config whose merged model is not there": (config_with(model_name_or_path="saves/tiny/merged/sft"), 1),
    "a config whose full model is not there": (config_with(model_name_or_path="saves/tiny/full/sft"), 1),
    "the list of recipes": (lambda ws: run("recipes"), 1),
    "after a recipe": (recipe("qwen3-4b-base-dpo-1x24gb"), 1),
    "a recipe over a file": (recipe("qwen3-4b-base-dpo-1x24gb", "my recipe.yaml", times=2), 2),
    "a recipe that is not known": (recipe("qwen3-4b-base-dpo"), 1),
    "a recipe of another model": (recipe("qwen3-4b-base-dpo-1x24gb", "--sft-ckpt", "saves/tiny/lora/sft"), 2),
    "download of nothing": (lambda ws: run("download", "nothing"), 1),
    "inspect of nothing": (lambda ws: run("inspect", "nothing"), 1),
    "view of nothing": (lambda ws: run("view", "nothing", "--use", "ppo"), 1),
    "register of nothing": (lambda ws: run("register", "nothing.jsonl"), 0),
    "register of what is there": (lambda ws: run("register", "more.jsonl", "--name", "pairs"), 0),
    "export into a folder that is there": (with_run("export", RUN, "--output", "models/tiny-base"), 0),
    "after export": (with_run("export", RUN, "--output", "exports/my model"), 0),
    "list": (lambda ws: run("list"), 0),
    "inspect": (lambda ws: run("inspect", "pairs"), 0),
    "checkpoints with a broken one": (broken_checkpoint, 0),
    "chat with a broken one": (broken_chat, 0),
    "ppo on pairs": (lambda ws: run("train", "--method", "ppo", "--set", "dataset=pairs"), 0),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_what_is_printed_can_be_pasted(ws: Workspace, capsys: pytest.CaptureFixture[str], situation: str) -> None:
    act, least = SITUATIONS[situation]
    capsys.readouterr()
    act(ws)
    said = capsys.readouterr()
    found = commands(said.out + said.err)
    assert len(found) >= least, said.err
    try:
        for command in found:
            assert paste(ws, command) == 0, f"{command}\n{capsys.readouterr().err}"
    finally:
        while HELD:
            HELD.pop().close()


def test_the_commands_of_a_line() -> None:
    assert commands("  fix: `rlguide a b`, or `rlguide c 'd e'`") == ["rlguide a b", "rlguide c 'd e'"]
    assert commands("next: rlguide eval x    then: rlguide chat x") == ["rlguide eval x", "rlguide chat x"]
    assert commands("next: rlguide inspect p, then rlguide configure --dataset p") == [
        "rlguide inspect p",
        "rlguide configure --dataset p",
    ]
    assert commands("  fix: train one: rlguide train --method rm; or not") == ["rlguide train --method rm"]


def test_an_evaluation_says_what_it_could_not_check(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(ws)
    capsys.readouterr()
    assert run("eval", "saves/tiny/lora/dpo", "--suite", "pairs", "--json") == 0
    said = capsys.readouterr()
    cannot = "has no record of its training prompts: pairs that it saw cannot be left out"
    note = f"the SFT adapter saves/tiny/lora/sft {cannot}"
    assert json.loads(said.out)["notes"] == [note]
    assert note in " ".join(said.err.split())
    assert json.loads((ws.saves / "tiny/lora/dpo/eval/result.json").read_text())["notes"] == [note]


def test_a_dry_run_says_how_many_processes_train(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "--nproc", "2", "--dry-run") == 0
    assert f"  env FORCE_TORCHRUN=1 NPROC_PER_NODE=2 {ENGINE.python} " in capsys.readouterr().err
    assert run("train", "--dry-run") == 0
    assert "NPROC_PER_NODE" not in capsys.readouterr().err


def test_a_dry_run_on_ray_shows_its_driver(
    ws: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENGINE.versions, "ray", "2.60.0")
    assert run("train", "--launcher", "ray", "--nproc", "2", "--dry-run") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert f"USE_RAY=0 {ENGINE.python} " in said
    assert re.search(r"ray_train\.py local 2 \S+train\.py", said)
