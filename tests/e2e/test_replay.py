"""A run is done again on the real engine from nothing but its record: the same weights, byte for byte."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.e2e.conftest import SECRETS, WORKSPACE, Bench

pytestmark = pytest.mark.engine

DPO = "saves/tiny/lora/dpo"


def test_a_replay_trains_the_same(trained: Bench, tmp_path: Path) -> None:
    shutil.copytree(trained.root, tmp_path / WORKSPACE)
    bench = Bench(tmp_path / WORKSPACE, trained.engine)
    (bench.root / DPO / "config.yaml").unlink()  # the record is enough
    done = bench.run("train", "--replay", DPO, env=SECRETS)
    assert "differs    nothing that is on record" in done.stderr
    then, now = ((bench.root / run / "adapter_model.safetensors").read_bytes() for run in (DPO, f"{DPO}-2"))
    assert then == now
    record = json.loads((bench.root / f"{DPO}-2/run.json").read_text(encoding="utf-8"))
    assert record["replays"]["run"] == DPO and record["status"] == "finished"


def test_the_shared_run_holds_no_secret_and_all_that_is_needed(trained: Bench) -> None:
    secrets = [*list(SECRETS.values())[:2], "proxyPassw0rd"]
    files = [path for path in (trained.root / DPO).rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        content = path.read_bytes()
        assert not [secret for secret in secrets if secret.encode() in content], path
    surroundings = json.loads((trained.root / DPO / "run.json").read_text(encoding="utf-8"))["surroundings"]
    assert surroundings["command"][:3] == ["rlguide", "train", "--sft-ckpt"]
    assert surroundings["torch"]["python"].startswith("3.") and surroundings["torch"]["devices"] == []
    assert surroundings["sources"]["polite"]["source"]["file"].endswith("my pairs.json")
