"""The trials of a sweep as the jobs of one array of a real Slurm; the sweep is killed while they wait."""

from __future__ import annotations

import json
import shlex

import pytest

from tests.e2e.conftest import SFT, Bench
from tests.e2e.runs import wait_until
from tests.e2e.slurm_cluster import cluster, why_none
from tests.e2e.test_sweep import FOLDER, NAME, keys

pytest.importorskip("optuna")
pytestmark = [pytest.mark.engine, pytest.mark.skipif(bool(why_none()), reason=why_none())]


def test_an_array_trains_the_trials_while_the_sweep_is_gone(bench: Bench) -> None:
    with cluster() as slurm:
        words = ("sweep", "--sft-ckpt", SFT, "--dataset", "polite", "--grid", "learning_rate=1e-5,1e-3", "--name", NAME)
        slurm_words = ("--slurm", "partition=main,time=10", "--parallel", "1")
        slurm.ask("scontrol", "update", "PartitionName=main", "State=DOWN")
        process = bench.start(*words, *slurm_words, *keys(max_steps=4, eval_steps=2), env=slurm.variables)
        runs = [bench.root / FOLDER / f"trial-{number:03d}" for number in range(2)]

        def jobs() -> list[str]:
            texts = [path.joinpath("run.json") for path in runs if path.joinpath("run.json").is_file()]
            launches = [json.loads(path.read_text(encoding="utf-8")).get("launch") or {} for path in texts]
            return [launch.get("handle", {}).get("job", "") for launch in launches]

        wait_until(lambda: len([job for job in jobs() if job]) == 2, seconds=120)
        process.kill()
        process.communicate()
        first, second = jobs()
        array = first.partition("_")[0]
        assert (first, second) == (f"{array}_0", f"{array}_1")  # one array, a job for each trial
        slurm.ask("scontrol", "update", "PartitionName=main", "State=UP")
        refused = bench.run("sweep", "--resume", NAME, code=2, env=slurm.variables).stderr
        pasted = shlex.split(refused.rpartition("`rlguide ")[2].rstrip("`\n"))
        done = bench.run(*pasted, "--json", env=slurm.variables)
        found = json.loads(done.stdout)
        assert [(trial["state"], trial["step"]) for trial in found["trials"]] == [("finished", 4), ("finished", 4)]
        assert jobs() == [first, second]  # none was submitted twice
        assert all("Restarts=0 " in slurm.jobs(job) for job in (first, second))
        values = {trial["run"]: trial["value"] for trial in found["trials"]}
        assert found["winner"]["run"] == min(values, key=lambda name: values[name]) == f"{FOLDER}/trial-001"
        # The head of a cluster may have no GPU: nothing is evaluated there.
        assert found["winner"]["pairs"] == 0 and not (runs[1] / "eval").exists()
