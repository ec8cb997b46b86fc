"""`train --replay`: the training of a run's record again, whatever made it, and what differs from then."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlguide.catalog.methods import methods
from rlguide.engine.find import Engine
from rlguide.engine.hardware import Gpu
from rlguide.errors import CheckpointError, DataError, RlguideError, UsageError
from rlguide.planner.ladder import CHECKPOINTING
from rlguide.policy.run_record import RunRecord, read_record, write_record
from rlguide.policy.value_head import WEIGHT
from rlguide.recipes import checks
from rlguide.recipes.options import TrainingOptions
from rlguide.recipes.prepare import Prepared, prepare
from rlguide.runs.record import Run, create_run, new_record
from rlguide.runs.replay.differences import differences
from rlguide.runs.replay.replay import Replay, ReplayRequest, prepare_replay, tell
from rlguide.runs.retry import ways_of
from rlguide.workspace import Workspace
from tests.policy.checkpoint_files import write_lora, write_model, write_safetensors
from tests.recipes.conftest import ENGINE, SFT
from tests.recipes.conftest import ws as ws

PPO = {"llamafactory": "0.9.3", "trl": "0.9.6"}
BASE = "models/tiny-base"


def begun(ws: Workspace, **options: Any) -> Run:
    """A run as it is left on disk when it begins, finished since."""
    prepared = prepare(ws, ENGINE, TrainingOptions(**options))
    run = create_run(ws, prepared, prepared.engine.versions)
    run.update(status="finished")
    return run


def again(ws: Workspace, run: Run, output_dir: str | None = None, **changed: Any) -> Prepared:
    return prepare_replay(ws, ENGINE, ReplayRequest(run.name, changed, output_dir)).prepared


def without_folder(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in ("output_dir", "overwrite_output_dir")}


OPTIONS: dict[str, dict[str, Any]] = {
    "sft": {"base": BASE},
    "ppo": {"reward_model": "saves/rm"},
    "dpo": {"loss": "hinge", "settings": {"seed": 7}},
}


@pytest.mark.parametrize("method", methods())
def test_a_run_of_any_method_is_trained_again_as_it_was(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    options = OPTIONS.get(method, {})
    if method == "ppo":
        monkeypatch.setattr("rlguide.recipes.prepare.engine_for", lambda *_: Engine(Path("/nowhere/python"), PPO))
        known = checks.load_schema(ENGINE)
        known = replace(known, templates=(*known.templates, "qwen3"))  # which stands for qwen3_nothink there
        monkeypatch.setattr(checks, "load_schema", lambda engine: known)
        folder = write_lora(ws.saves / "rm")
        write_record(folder, RunRecord(method="rm", base=BASE, stack=(SFT, "saves/rm"), config={}))
        write_safetensors(folder / "value_head.safetensors", {WEIGHT: (1, 16)})
    run = begun(ws, method=method, **options)
    prepared = again(ws, run)
    assert without_folder(prepared.config) == without_folder(run.config)
    assert prepared.output_dir == f"{run.name}-2"
    assert prepared.method.name == method
    now = new_record(ws, prepared, prepared.engine.versions)
    assert (now.stack, now.reference) == ((*(run.record.stack or ())[:-1], f"{run.name}-2"), run.record.reference)
    assert now.template == run.record.template
    assert differences(run.record, now) == []
    assert now.replays == {"run": run.name, "id": run.record.id, "changed": {}, "ways": []}


def test_another_round_is_trained_again(ws: Workspace) -> None:
    first = begun(ws)
    write_lora(first.path)
    run = begun(ws, from_run=first.name, output_dir="saves/tiny/lora/round-2")
    prepared = again(ws, run)
    assert prepared.reference.adapters == (SFT, first.name)
    assert prepared.output_dir == "saves/tiny/lora/round-2-2"  # there is no "round" to count on from


def test_a_replay_of_a_replay_counts_on(ws: Workspace) -> None:
    run = begun(ws)
    second = create_run(ws, again(ws, run), {})
    assert again(ws, second).output_dir == f"{run.name}-3"


def test_what_is_changed_is_changed_and_recorded(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    run = begun(ws)
    found = prepare_replay(ws, ENGINE, ReplayRequest(run.name, {"learning_rate": 1e-7, "seed": 42}, "saves/other"))
    assert found.prepared.config["learning_rate"] == 1e-7
    assert found.prepared.output_dir == "saves/other"
    assert (found.prepared.replays or {})["changed"] == {"learning_rate": 1e-7}  # the seed was 42 before
    tell(ws, found)
    said = capsys.readouterr().err
    assert "learning_rate: 5.0e-6 then, 1.0e-7 now" in said
    assert "seed" not in said.replace("seeds", "")
    assert "nothing that is on record" in said


def test_what_a_run_resumed_or_lessened_with_is_not_what_it_begins_with(ws: Workspace) -> None:
    run = begun(ws, settings={"logging_dir": "saves/tiny/lora/dpo/logs"})
    attempts = ({"way": CHECKPOINTING, "change": "x", "settings": {"per_device_train_batch_size": 1}},)
    config = {**run.config, "resume_from_checkpoint": f"{run.name}/checkpoint-2", "per_device_train_batch_size": 1}
    run.update(config={**config, "overwrite_output_dir": True}, attempts=attempts, plain=True)
    found: Replay = prepare_replay(ws, ENGINE, ReplayRequest(run.name))
    config = found.prepared.config
    assert not {"resume_from_checkpoint", "overwrite_output_dir"} & config.keys()
    assert config["per_device_train_batch_size"] == 1  # what it came to its end with
    assert config["logging_dir"] == f"{run.name}-2/logs"
    assert found.is_plain
    assert ways_of(create_run(ws, found.prepared, {})) == (CHECKPOINTING,)


def test_a_record_may_not_decide_what_is_sent_away(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    run = begun(ws, settings={"logging_dir": "/elsewhere"})
    run.update(config={**run.config, "report_to": ["wandb"], "trust_remote_code": True})
    with pytest.raises(UsageError, match="code that comes with its base"):
        again(ws, run)
    prepared = again(ws, run, trust_remote_code=True)
    assert not {"report_to", "logging_dir"} & prepared.config.keys()
    said = " ".join(capsys.readouterr().err.split())
    assert "to have it: --set 'report_to=[\"wandb\"]'" in said and "--set logging_dir=/elsewhere" in said
    run.update(config={**run.config, "trust_remote_code": False, "deepspeed": '{"wandb": {"team": "x"}}'})
    with pytest.raises(UsageError, match="only you can: deepspeed"):
        again(ws, run)


@pytest.mark.parametrize("method", ["kto", "sft"])
def test_what_shows_the_pairs_for_a_method_is_made_again(ws: Workspace, method: str) -> None:
    """It goes when the pairs are registered or downloaded again."""
    run = begun(ws, method=method, **OPTIONS.get(method, {}))
    entries = json.loads(ws.dataset_info.read_text(encoding="utf-8"))
    ws.dataset_info.write_text(json.dumps({key: entries[key] for key in ("polite", "polite_test")}), encoding="utf-8")
    with pytest.raises(UsageError, match=f"polite_{method} went with the earlier rows of polite") as refused:
        prepare_replay(ws, ENGINE, ReplayRequest(run.name, dry_run=True))
    assert f"`rlguide view polite --use {method}`" in refused.value.fix
    assert without_folder(again(ws, run).config) == without_folder(run.config)
    prepare_replay(ws, ENGINE, ReplayRequest(run.name, dry_run=True))


def rewrite(ws: Workspace) -> None:
    path = ws.data / "polite.json"
    rows = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(rows[:30]), encoding="utf-8")


def read_otherwise(ws: Workspace) -> None:
    info = json.loads(ws.dataset_info.read_text(encoding="utf-8"))
    info["polite"]["columns"] = {"prompt": "instruction", "chosen": "rejected", "rejected": "chosen"}
    ws.dataset_info.write_text(json.dumps(info), encoding="utf-8")


def other_base(ws: Workspace) -> None:
    write_model(ws.root / BASE, max_position_embeddings=4096, tie_word_embeddings=False)
    path = ws.root / BASE / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\1\2\3\4")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (rewrite, "the data of polite is not the same (40 rows then, 30 now)"),
        (read_otherwise, "polite is read in another way"),
        (other_base, f"the model {BASE} has other weights"),
    ],
)
def test_data_and_models_that_changed_are_told(ws: Workspace, change: Callable[[Workspace], None], words: str) -> None:
    run = begun(ws)
    change(ws)
    prepared = again(ws, run)
    assert any(line.startswith(words) for line in differences(run.record, new_record(ws, prepared, ENGINE.versions)))


def test_versions_and_the_machine_are_told(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NCCL_P2P_DISABLE", "1")
    run = begun(ws)
    monkeypatch.delenv("NCCL_P2P_DISABLE")
    monkeypatch.setattr("rlguide.runs.surroundings.gather.platform.node", lambda: "elsewhere")
    prepared = again(ws, run)
    a100 = Gpu(0, "NVIDIA A100", 80 << 30, 80 << 30, (8, 0))
    prepared = replace(prepared, gpus=[a100, a100], config={**prepared.config, "use_cpu": False})
    now = new_record(ws, prepared, {**ENGINE.versions, "trl": "0.20.0"})
    lines = differences(run.record, now)
    assert "trl: 0.19.1 then, 0.20.0 now" in lines
    assert "GPUs: none (CPU) then, 2 x NVIDIA A100 now" in lines
    assert "NCCL_P2P_DISABLE: 1 then, not set now" in lines
    assert any(line.startswith("host: ") and line.endswith("elsewhere now") for line in lines)
    assert len(lines) == 4


def test_an_older_record_says_what_it_does_not_hold(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    run = begun(ws)
    path = run.path / "run.json"
    kept = {key: value for key, value in json.loads(path.read_text()).items() if key not in NEWER}
    path.write_text(json.dumps(kept))
    found = prepare_replay(ws, ENGINE, ReplayRequest(run.name))
    assert without_folder(found.prepared.config) == without_folder(run.config)
    tell(ws, found)
    said = " ".join(capsys.readouterr().err.split())
    assert "the host, GPUs and environment, versions of the engine, checksums of the data" in said


NEWER = ("surroundings", "replays", "engine", "checksums", "parts", "readings", "plain", "processes", "effective_batch")


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (lambda ws, run: (run.path / "run.json").write_text("{"), DataError),
        (lambda ws, run: (run.path / "run.json").unlink(), UsageError),
        (lambda ws, run: run.update(config={}), DataError),
        (lambda ws, run: run.update(config={"stage": "later", "output_dir": run.name}), RlguideError),
        (lambda ws, run: (ws.data / "polite.json").unlink(), RlguideError),
        (lambda ws, run: ws.dataset_info.unlink(), RlguideError),
        (lambda ws, run: (ws.root / BASE / "config.json").unlink(), CheckpointError),
        (lambda ws, run: (ws.root / SFT / "adapter_model.safetensors").unlink(), CheckpointError),
    ],
)
def test_what_is_gone_is_said_in_two_lines(
    ws: Workspace, damage: Callable[[Workspace, Run], object], error: type[RlguideError]
) -> None:
    run = begun(ws)
    damage(ws, run)
    with pytest.raises(error) as refused:
        again(ws, run)
    assert refused.value.what and refused.value.fix


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.sampled_from(["torch", "git", "gpus", "sources", "variables", "driver", "host"]), JSON),
    st.dictionaries(st.sampled_from(["engine", "checksums", "parts", "readings", "replays", "processes"]), JSON),
)
def test_anything_that_a_record_says_is_compared(
    tmp_path: Path, surroundings: dict[str, Any], values: dict[str, Any]
) -> None:
    (tmp_path / "run.json").write_text(json.dumps({**values, "surroundings": surroundings}))
    then = read_record(tmp_path)
    assert then is not None
    assert differences(then, then) == []
    assert all(isinstance(line, str) for line in differences(then, RunRecord(surroundings={"gpus": []}, engine={})))
