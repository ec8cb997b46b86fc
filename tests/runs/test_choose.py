"""Which run a bare `chat`, `eval` or `export` takes: the newest that it can use."""

from __future__ import annotations

import fcntl
import json
import shutil
from pathlib import Path

import pytest

from rlguide.errors import UsageError
from rlguide.evaluation.held_out import why_not_evaluable
from rlguide.runs.choose import ModelRequest, choose_partner, resumable_run, run_meant, usable_run
from rlguide.runs.record import Run, find_runs
from rlguide.workspace import Workspace
from tests.policy.checkpoint_files import write_lora, write_model, write_state


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    """A base, an SFT adapter, pairs with a held-out split, and a finished DPO run."""
    write_model(tmp_path / "models/tiny-base")
    write_lora(tmp_path / "saves/sft")
    (tmp_path / "data").mkdir()
    workspace = Workspace(tmp_path)
    make_run(workspace, "good", created="2026-01-01")
    return workspace


def make_run(ws: Workspace, name: str, weights: bool = True, **values: object) -> Path:
    """A run on the SFT adapter that held the dataset pairs_test out."""
    folder = ws.saves / name
    folder.mkdir(parents=True)
    if weights:
        write_lora(folder)
    record = {
        "method": "dpo",
        "status": "finished",
        "created": "2026-02-02",
        "base": "models/tiny-base",
        "template": "qwen3_nothink",
        "stack": ["saves/sft", f"saves/{name}"],
        "reference": {"base": "models/tiny-base", "adapters": ["saves/sft"]},
        "config": {"stage": "dpo", "dataset": "pairs", "eval_dataset": "pairs_test"},
        **values,
    }
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def evaluated(ws: Workspace, name: str | None = None) -> Run:
    return usable_run(ws, name, lambda run: why_not_evaluable(ws, run))


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"weights": False, "config": {"do_train": False}}, "trained nothing"),
        ({"weights": False}, "has no usable weights"),
        ({"status": "failed", "weights": False}, "is failed"),
        ({"status": "interrupted", "weights": False}, "is interrupted"),
    ],
)
def test_each_command_takes_the_newest_run_that_it_can_use(
    ws: Workspace, capsys: pytest.CaptureFixture[str], values: dict[str, object], why: str
) -> None:
    make_run(ws, "newer", **values)  # type: ignore[arg-type]
    for choose in (lambda: run_meant(ws, ModelRequest()), lambda: evaluated(ws)):
        chosen = choose()
        assert chosen is not None
        assert chosen.name == "saves/good"
        said = capsys.readouterr().err
        assert "using saves/good" in said
        assert f"saves/newer {why}" in said.replace("\n", " ")
    with pytest.raises(UsageError, match=r"saves/good has no checkpoint of step 5"):
        choose_partner(ws, ModelRequest(step=5), dict)


def test_a_run_of_no_steps_is_passed_over(ws: Workspace) -> None:
    write_state(make_run(ws, "newer"), [], step=0)
    assert evaluated(ws).name == "saves/good"


def test_an_evaluation_passes_over_a_run_that_held_nothing_out(ws: Workspace) -> None:
    make_run(ws, "newer", config={"stage": "dpo", "dataset": ""})
    assert evaluated(ws).name == "saves/good"
    assert usable_run(ws, None, lambda run: why_not_evaluable(ws, run, has_pairs=True)).name == "saves/newer"
    meant = run_meant(ws, ModelRequest())
    assert meant is not None
    assert meant.name == "saves/newer"


def test_a_checkpoint_of_an_unfinished_run_serves_where_there_is_nothing_else(ws: Workspace) -> None:
    (ws.saves / "good/run.json").unlink()
    write_lora(make_run(ws, "only", weights=False, status="interrupted") / "checkpoint-20")
    partner = choose_partner(ws, ModelRequest(), dict)
    assert partner.policy.adapters == ("saves/sft", "saves/only/checkpoint-20")


def test_a_reward_model_writes_no_responses(ws: Workspace) -> None:
    make_run(ws, "rm", method="rm")
    with pytest.raises(UsageError, match="is a reward model"):
        choose_partner(ws, ModelRequest("saves/rm"), dict)
    meant = run_meant(ws, ModelRequest())
    assert meant is not None and meant.name == "saves/good"
    (ws.saves / "good/run.json").unlink()
    with pytest.raises(UsageError, match="saves/rm is a reward model"):
        run_meant(ws, ModelRequest())


def test_a_reward_model_is_evaluated(ws: Workspace) -> None:
    folder = make_run(ws, "rm", method="rm", config={"stage": "rm", "dataset": "", "eval_dataset": ""})
    assert evaluated(ws).name == "saves/good"  # it held nothing out
    shutil.rmtree(folder)
    make_run(ws, "rm", method="rm", config={"stage": "rm", "dataset": "pairs", "eval_dataset": "pairs_test"})
    assert evaluated(ws).name == "saves/rm"


def test_with_the_checkpoint_of_a_reward_model_nobody_can_chat(ws: Workspace) -> None:
    folder = make_run(ws, "rm", method="rm", status="interrupted", weights=False)
    write_lora(folder / "checkpoint-20")
    with pytest.raises(UsageError, match=r"is interrupted$") as refused:
        evaluated(ws, "saves/rm")
    assert "--resume saves/rm" in refused.value.fix and "rlguide chat saves/rm --sft" in refused.value.fix


def test_a_run_that_is_training_is_not_to_be_resumed(ws: Workspace) -> None:
    folder = make_run(ws, "busy one", weights=False, status="running")
    with (folder / ".training.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="still training") as caught:
            evaluated(ws, "saves/busy one")
        assert caught.value.fix.endswith("`rlguide chat 'saves/busy one' --sft`")
        with pytest.raises(UsageError, match="still training") as caught:
            choose_partner(ws, ModelRequest("saves/busy one"), dict)
        assert "--resume" not in caught.value.fix
        write_lora(folder / "checkpoint-20")
        with pytest.raises(UsageError, match="still training") as caught:
            evaluated(ws, "saves/busy one")
        assert caught.value.fix.endswith("`rlguide chat 'saves/busy one/checkpoint-20'`")


def test_a_bare_resume_takes_the_newest_run_that_can_be_resumed(
    ws: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match=r"no run under .* can be resumed: saves/good is finished") as caught:
        resumable_run(ws, None)
    assert caught.value.fix.endswith("`rlguide train --from saves/good`")
    make_run(ws, "older one", weights=False, status="failed", created="2026-02-01")
    make_run(ws, "old", weights=False, status="interrupted", created="2026-01-31")
    make_run(ws, "done", created="2026-02-03")
    busy = make_run(ws, "busy", weights=False, status="running", created="2026-02-04")
    with (busy / ".training.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert resumable_run(ws, None).name == "saves/older one"
        said = " ".join(capsys.readouterr().err.split())
        assert "resuming saves/older one" in said
        assert "saves/busy is still training; saves/done is finished" in said
        assert "saves/old " not in said
        for name, fix in (("saves/busy", "wait for its end"), ("saves/done", "--from saves/done")):
            with pytest.raises(UsageError, match=name) as caught:
                resumable_run(ws, name)
            assert fix in caught.value.fix
            assert "--resume" not in caught.value.fix


def test_there_is_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no run"):
        resumable_run(Workspace(tmp_path), None)


def test_what_can_be_done_with_a_run_in_each_state(ws: Workspace) -> None:
    make_run(ws, "我的 run", status="failed")
    make_run(ws, "the rm", method="rm")
    make_run(ws, "whole", method="rm", base="saves/whole", stack=[])
    steps = {run.name: run.next_step for run in find_runs(ws)}
    ppo = "rlguide train --method ppo --sft-ckpt saves/sft --template qwen3_nothink --reward-model {}"
    assert steps["saves/whole"] == "evaluate it: `rlguide eval saves/whole`"
    assert steps["saves/我的 run"] == "resume it: `rlguide train --resume 'saves/我的 run'`"
    assert steps["saves/the rm"] == "use it: `" + ppo.format("'saves/the rm'") + " --dataset pairs`"
    assert steps["saves/good"] == "train another round on it: `rlguide train --from saves/good`"


def test_prompts_are_written_as_in_training_whatever_is_named(ws: Workspace) -> None:
    """The run, a checkpoint inside it, and the model that it was merged into all have its system prompt."""
    prompts = {"default_system": "You are a pirate.", "enable_thinking": False}
    folder = make_run(ws, "pirate", config={"stage": "dpo", "trust_remote_code": False, **prompts})
    write_lora(folder / "checkpoint-4")
    merged = write_model(ws.saves / "merged")
    (merged / "rlguide.json").write_text(json.dumps({"prompts": {**prompts, "tool_format": None}}))
    for wanted in (
        ModelRequest("saves/pirate"),
        ModelRequest("saves/pirate/checkpoint-4"),
        ModelRequest("saves/merged", template="qwen3_nothink"),
        ModelRequest(base="saves/merged", template="qwen3_nothink"),
    ):
        args = choose_partner(ws, wanted, dict).args
        assert {key: args.get(key) for key in prompts} == prompts, wanted
    plain = choose_partner(ws, ModelRequest(base="models/tiny-base", template="qwen3_nothink"), dict).args
    assert not set(plain) & set(prompts)


@pytest.mark.parametrize(
    "said", [None, [], "x", {"default_system": 5, "enable_thinking": "yes"}, {"trust_remote_code": True}]
)
def test_what_a_merged_model_says_is_data(ws: Workspace, said: object) -> None:
    merged = write_model(ws.saves / "merged")
    (merged / "rlguide.json").write_text(json.dumps({"prompts": said}))
    args = choose_partner(ws, ModelRequest("saves/merged", template="qwen3_nothink"), dict).args
    assert set(args) == {"model_name_or_path", "finetuning_type", "template"}
