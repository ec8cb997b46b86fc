"""A Ray cluster is named, and what is missing is said before anything starts; each worker gets its place."""

from __future__ import annotations

import importlib.util
import itertools
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.engine.failures import known_cause
from rlguide.engine.find import Engine
from rlguide.engine.job import Command
from rlguide.errors import EngineError, UsageError
from rlguide.launchers import ray
from rlguide.launchers.launch import RAY, Launch, check_here, read_launch, started
from rlguide.policy.run_record import RunRecord
from rlguide.runs.hosts import keep_hosts, relaunched
from rlguide.runs.record import Run

ROOT = Path(__file__).resolve().parents[2]
ENGINE = Engine(Path("/engine/bin/python"), {"llamafactory": "0.9.5", "ray": "2.60.0"})


@pytest.fixture(scope="module")
def worker() -> ModuleType:
    sys.path.insert(0, str(ROOT / "rlguide_worker"))
    spec = importlib.util.spec_from_file_location("ray_train", ROOT / "rlguide_worker/ray_train.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.pop(0)
    return module


def test_the_script_that_trains_is_run_by_the_driver(tmp_path: Path) -> None:
    command = Command(("python", "/w/train.py", "saves/工作 space/config.yaml", "events", "--plain"), tmp_path)
    launch = ray.on_ray(Launch(nproc=3), "ray://head:10001")
    found = started(launch, command, tmp_path)
    assert found.arguments == (
        *("python", "/w/ray_train.py", "ray://head:10001", "3"),
        *("/w/train.py", "saves/工作 space/config.yaml", "events", "--plain"),
    )
    assert found.cwd == tmp_path
    assert started(read_launch(launch.as_dict()), command, tmp_path) == found  # as a resumed run does it
    assert launch.variables["NPROC_PER_NODE"] == "3"


def test_without_a_number_one_worker_on_each_gpu_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "list_gpus", lambda: [])
    assert ray.on_ray(Launch(), None).nproc == 1
    monkeypatch.setattr(ray, "list_gpus", lambda: [object()] * 4)
    assert ray.on_ray(Launch(), None).nproc == 4
    with pytest.raises(UsageError, match="5 workers need a GPU each, and 4 can be seen"):
        check_here(ray.on_ray(Launch(nproc=5), None), ENGINE)


@pytest.mark.parametrize("address", ["head", "head:port", "http://head:1", "tcp://head:1", "a b:1", "head:1;rm", ""])
def test_no_address(address: str) -> None:
    with pytest.raises(UsageError, match="is not the address"):
        ray.on_ray(Launch(nproc=2), address)


def test_a_secret_in_an_address_is_neither_taken_nor_shown() -> None:
    with pytest.raises(UsageError) as caught:
        ray.on_ray(Launch(nproc=2), "ray://me:s3cret@head:10001")
    assert "s3cret" not in str(caught.value) + str(caught.value.fix)
    assert "RAY_AUTH_TOKEN" in str(caught.value.fix)


@given(st.one_of(st.none(), st.text(max_size=20), st.integers(), st.lists(st.text())))
def test_an_address_in_a_record_is_data(said: object) -> None:
    found = ray.address_of(Launch(RAY, settings={"address": said}))
    assert found == "local" or found == said


def test_how_many_workers_must_be_said_for_a_cluster() -> None:
    with pytest.raises(UsageError, match="how many workers"):
        ray.on_ray(Launch(), "auto")
    with pytest.raises(UsageError, match="--gpus"):
        ray.on_ray(Launch(nproc=2, gpus="0"), "auto")


def test_ray_is_missing() -> None:
    launch = ray.on_ray(Launch(nproc=1), "auto")
    with pytest.raises(EngineError) as caught:
        check_here(launch, Engine(Path("/my engine/bin/python"), {"llamafactory": "0.9.5"}))
    assert caught.value.fix == "'/my engine/bin/python' -m pip install 'ray[client]>=2.40'"
    check_here(launch, ENGINE)
    assert f'ray = ["{ray.INSTALL}"]' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_nobody_listens_at_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        launch = ray.on_ray(Launch(nproc=1), address)
        check_here(launch, ENGINE)
    with pytest.raises(UsageError, match=f"no Ray cluster can be reached at {address}"):
        check_here(launch, ENGINE)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=12))
def test_every_worker_gets_the_place_that_torchrun_would_give(
    worker: ModuleType, where: list[tuple[int, bool]]
) -> None:
    has_gpus = where[0][1]
    looks = [{"node": f"n{node}", "gpus": [str(index)] if has_gpus else []} for index, (node, _) in enumerate(where)]
    order, places = worker.ranks(looks)
    assert sorted(order) == list(range(len(looks)))
    assert [place["RANK"] for place in places] == [str(rank) for rank in range(len(looks))]
    nodes = [looks[index]["node"] for index in order]
    assert len([1 for left, right in itertools.pairwise(nodes) if left != right]) == len(set(nodes)) - 1
    for index, place in zip(order, places, strict=True):
        assert int(place["LOCAL_WORLD_SIZE"]) == nodes.count(looks[index]["node"])
        if has_gpus:  # the GPU that Ray set aside for it, of those that its node's workers see
            assert place["CUDA_VISIBLE_DEVICES"].split(",")[int(place["LOCAL_RANK"])] == looks[index]["gpus"][0]
        else:
            assert "CUDA_VISIBLE_DEVICES" not in place
    assert len(
        {(looks[index]["node"], place["LOCAL_RANK"]) for index, place in zip(order, places, strict=True)}
    ) == len(looks)


def test_what_workers_elsewhere_get_holds_no_secret(worker: ModuleType) -> None:
    given = {"HF_TOKEN": "t", "WANDB_API_KEY": "k", "RAY_AUTH_TOKEN": "r", "NCCL_DEBUG": "INFO", "OMP_NUM_THREADS": "1"}
    assert worker.passed(given) == {"NCCL_DEBUG": "INFO", "OMP_NUM_THREADS": "1"}


def test_a_record_of_somebody_else_names_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is resumed on a cluster was launched there by this user; the fix names it, and so does another address."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def begun(launch: Launch) -> Run:
        return Run(tmp_path, "saves/工作 dpo", RunRecord(id="1", processes=2, launch=launch.as_dict()))

    there = ray.on_ray(Launch(nproc=2), "theirs:6379")
    with pytest.raises(UsageError, match="trains on theirs:6379, and you have not launched it there") as caught:
        relaunched(begun(there), Launch())
    words = shlex.split(caught.value.fix.partition("`")[2].rstrip("`"))
    assert words == [
        *("rlguide", "train", "--resume", "saves/工作 dpo"),
        "--ray-address",
        "theirs:6379",
        "--nproc",
        "2",
    ]
    assert relaunched(begun(there), there) == there
    keep_hosts(begun(there))
    assert relaunched(begun(there), Launch()) == there
    moved = ray.on_ray(Launch(nproc=2), "moved:6379")
    assert relaunched(begun(there), moved) == moved
    with pytest.raises(UsageError, match="you have not launched it"):
        relaunched(begun(moved), Launch())
    with pytest.raises(UsageError, match="began on 2 processes, and 1 x 3 are 3"):
        relaunched(begun(there), ray.on_ray(Launch(nproc=3), "theirs:6379"))
    here = ray.on_ray(Launch(nproc=2), None)
    assert relaunched(begun(here), Launch()) == here


@pytest.mark.parametrize(
    ("address", "config", "gpus", "visible", "on_cpu"),
    [
        ("local", "use_cpu: true", 2, None, True),
        ("local", "bf16: true", 0, None, True),
        ("local", "bf16: true", 2, None, False),
        ("head:1", "use_cpu: true", 0, None, True),
        ("head:1", "use_cpu: true", 2, "", True),
        ("head:1", "use_cpu: true", 2, None, None),  # refused: made on a head node without GPUs
        ("head:1", "bf16: true", 2, None, False),
        ("head:1", "bf16: true", 0, None, False),  # `check_resources` refuses it
    ],
)
def test_no_cluster_with_gpus_trains_on_cpus_unasked(
    worker: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    address: str, config: str, gpus: int, visible: str | None, on_cpu: bool | None,
) -> None:  # fmt: skip
    cluster = SimpleNamespace(cluster_resources=lambda: {"CPU": 8.0, **({"GPU": float(gpus)} if gpus else {})})
    monkeypatch.setitem(sys.modules, "ray", cluster)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    path = tmp_path / "config.yaml"
    path.write_text(config, encoding="utf-8")
    if on_cpu is not None:
        assert worker.is_on_cpu(address, str(path)) is on_cpu
        return
    with pytest.raises(worker.CannotLaunch) as caught:
        worker.is_on_cpu(address, str(path))
    cause = known_cause(((caught.value.kind, str(caught.value)),))
    assert cause is not None and "`export CUDA_VISIBLE_DEVICES=''`" in cause.fix  # the case above


def test_what_a_killed_driver_left_is_deleted(
    worker: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its locked folder is that of a driver that runs; a link and a folder without a lock are not touched."""
    above = Path("/tmp") / f"t{os.getpid()}"
    above.mkdir()
    (above / "kept").mkdir()
    (above / f"{worker.SCRATCH}link").symlink_to(tmp_path)
    (tmp_path / worker.LOCK).touch()
    monkeypatch.setattr(worker.tempfile, "tempdir", str(above))
    code = "import ray_train, sys; print(ray_train.new_scratch(), flush=True); sys.stdin.read()"
    start = [sys.executable, "-c", code]
    env = {**os.environ, "TMPDIR": str(above), "PYTHONPATH": str(ROOT / "rlguide_worker")}
    try:
        with subprocess.Popen(start, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as driver:
            assert driver.stdout is not None
            scratch = Path(driver.stdout.readline().strip())
            assert scratch.parent == above
            assert Path(worker.new_scratch()) != scratch and scratch.is_dir()
            driver.kill()
        worker.new_scratch()
        assert not scratch.exists()
        assert (above / "kept").is_dir() and (tmp_path / worker.LOCK).exists()
    finally:
        subprocess.run(["rm", "-r", str(above)], check=True)
    monkeypatch.setattr(worker.tempfile, "tempdir", str(tmp_path / ("long" * 20)))
    found = worker.new_scratch()
    assert len(found) <= worker.LONGEST  # there is no room for the sockets in a deep one
    Path(found, worker.LOCK).unlink()
    Path(found).rmdir()


def test_only_this_user_may_enter_the_folder_of_a_cluster_here(
    worker: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray makes its own folder, with the sockets in it, one that everybody may write into."""
    said: dict[str, object] = {}
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=said.update))
    monkeypatch.setattr(worker.os, "environ", dict(os.environ))
    monkeypatch.setattr(worker.tempfile, "tempdir", "/tmp")
    scratch = Path(worker.new_scratch())
    try:
        worker.connect("local", 2, str(scratch))
        assert Path(str(said["_temp_dir"])).parent == scratch
        assert scratch.stat().st_mode & 0o077 == 0
    finally:
        (scratch / worker.LOCK).unlink()
        scratch.rmdir()
