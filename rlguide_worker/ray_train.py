"""Train on workers of a Ray cluster: of one that runs, or of one on this host that ends with the training.

usage: ray_train.py ADDRESS WORKERS SCRIPT CONFIG.yaml EVENTS.jsonl [options of SCRIPT]

ADDRESS is what `ray.init` takes, or "local". SCRIPT is train.py: each worker runs it as a process of torchrun would,
from the current folder, with one GPU (on CPUs: one CPU) that Ray has set aside for it, as LLaMA-Factory's own Ray mode
does (llamafactory/train/tuner.py, 0.9.5, `_ray_training_function`). That mode is not called itself: it asks for 10 CPUs
for each worker, on CPUs for as many workers as the cluster has CPUs, takes each worker for the first of its node, so
that all tokenize the data, and puts the whole environment, tokens too, where Ray's state API and dashboard show it.

A cluster that is started here listens on loopback only and asks for a token that only its own processes know; the store
through which the workers find each other listens on the address of the first worker's node only. Workers end with this
process, however it ends: Ray kills the actors of a driver that is gone, and the kernel those whose node's daemon is.
The temporary files of one that was killed are deleted by the next. Exit code: that of the training.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import sys
import tempfile
import traceback
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rlguide_events import Events, chain

LOCAL = "local"
# What must be the same on all nodes.
SAME = ("llamafactory", "torch", "transformers", "trl", "peft", "accelerate", "datasets")
# Variables that workers elsewhere get: none that may hold a secret.
PASSED = ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "HF_ENDPOINT", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE",
          "TOKENIZERS_PARALLELISM", "DISABLE_VERSION_CHECK", "USE_MODELSCOPE_HUB", "NCCL_*", "TORCH_NCCL_*", "OMP_*",
          "PYTORCH_CUDA_ALLOC_CONF", "WANDB_MODE", "WANDB_PROJECT", "PYTHONUNBUFFERED", "PYTHONIOENCODING")  # fmt: skip
SECONDS = 120  # that Ray may take to set resources aside which are free
SCRATCH, LOCK = "rlguide-ray-", "lock"
LONGEST = 38  # characters of the scratch folder: in it 68 are added to a socket's path, which has 107 at most (unix(7))
OBJECTS = 100 << 20  # bytes of shared memory of a cluster that is started here: only exit codes pass through it


class CannotLaunch(Exception):
    """The workers cannot be started; the message says why. `kind` is by what engine/failures.yaml knows it."""

    kind = "Ray"


class LeavesGpus(CannotLaunch):
    """They would train on CPUs of a cluster that has GPUs."""

    kind = "RayGpus"


class Trainer:
    """A worker: an actor that becomes one process of the training. Ray copies this class to where it runs."""

    def look(self, folder: str, files: list) -> dict:
        """Where this is, and what is seen from here of what the training needs."""
        import ray

        unseen = [path for path in files if not Path(folder, path).exists()]
        context = ray.get_runtime_context()
        return {
            **{"node": context.get_node_id(), "address": ray.util.get_node_ip_address().strip("[]")},
            **{"gpus": context.get_accelerator_ids().get("GPU", []), "versions": versions(), "unseen": unseen},
        }

    def listen(self, address: str) -> int:
        """Open the port at which the workers meet; on this address only, which torch's own store cannot be told."""
        import socket

        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = socket.create_server((address, 0), family=family)
        return self._socket.getsockname()[1]

    def train(self, folder: str, log: str, arguments: list, variables: dict) -> int:
        """Run the script as process `RANK` of `WORLD_SIZE`, its output in `log`; returns its exit code."""
        os.chdir(folder)
        if log:  # as processes of torchrun do; what Ray's own log passes on comes late, each line with a name in front
            output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            os.dup2(output, 1)
            os.dup2(output, 2)
        os.environ.update(variables)
        sys.argv = arguments
        sys.path.insert(0, str(Path(arguments[0]).parent))
        import bound_store
        import ray
        import torch

        bound_store.talk_over(ray.util.get_node_ip_address().strip("[]"))
        if variables["RANK"] == "0":
            self._store = torch.distributed.TCPStore(
                variables["MASTER_ADDR"], int(variables["MASTER_PORT"]), is_master=True, wait_for_workers=False,
                master_listen_fd=self._socket.detach(), use_libuv=True,
            )  # fmt: skip
        try:
            import train

            train.main()
        except SystemExit as error:
            return error.code if isinstance(error.code, int) else int(error.code is not None)
        except Exception:  # train.main has told it
            traceback.print_exc()
            return 1
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        return 0


def main() -> None:
    """Connect, set resources aside, train, and let all go. The exit code is that of the training."""
    address, workers, arguments = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    events = Events(arguments[2])
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_DEDUP_LOGS="0", RAY_COLOR_PREFIX="0")
    scratch = new_scratch() if address == LOCAL else ""
    try:
        sys.exit(run(address, workers, arguments, scratch))
    except Exception as error:
        told = [{"type": error.kind, "message": str(error)}] if isinstance(error, CannotLaunch) else chain(error)
        events.write("error", rank=0, chain=told, during="start", memory={})
        raise
    finally:
        if "ray" in sys.modules:
            sys.modules["ray"].shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


def new_scratch() -> str:
    """A folder for a cluster that is started here, which is locked until this process ends; deletes abandoned ones."""
    above = tempfile.gettempdir()
    above = above if len(above) + len(SCRATCH) + 9 <= LONGEST else "/tmp"
    for path in Path(above).glob(f"{SCRATCH}*"):
        if is_abandoned(path):
            shutil.rmtree(path, ignore_errors=True)
    scratch = tempfile.mkdtemp(prefix=SCRATCH, dir=above)
    lock = Path(scratch, f"new-{LOCK}")
    fcntl.flock(os.open(lock, os.O_WRONLY | os.O_CREAT, 0o600), fcntl.LOCK_EX)  # open until this process ends
    lock.rename(lock.with_name(LOCK))  # under its name it is held
    return scratch


def is_abandoned(scratch: Path) -> bool:
    """Whether a scratch folder is this user's, and nothing holds its lock any more."""
    try:
        with open(scratch / LOCK, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return scratch.lstat().st_uid == os.getuid() and not scratch.is_symlink()
    except OSError:  # held; or another driver is just about to make it, or to delete it
        return False


def run(address: str, workers: int, arguments: list, scratch: str) -> int:
    """Train on so many workers; returns the exit code."""
    connect(address, workers, scratch)
    config, events = arguments[1], arguments[2]
    is_cpu = is_on_cpu(address, config)
    device = "CPU" if is_cpu else "GPU"
    check_resources(address, workers, device)
    import ray
    from ray.util.placement_group import placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    group = placement_group([{"CPU": 1} if is_cpu else {"CPU": 1, "GPU": 1}] * workers, strategy="PACK")
    if not ray.wait([group.ready()], timeout=SECONDS)[0]:
        raise CannotLaunch(f"the Ray cluster {address} set no {workers} x {device} aside in {SECONDS} s")
    actor = ray.remote(num_cpus=1, num_gpus=0 if is_cpu else 1, max_restarts=0)(Trainer)
    actors = [actor.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group, index)).remote()
              for index in range(workers)]  # fmt: skip
    try:
        looks = ray.get([each.look.remote(str(Path.cwd()), [arguments[0], config, events]) for each in actors])
        check_nodes(looks)
        order, places = ranks(looks)
        first, where = actors[order[0]], looks[order[0]]["address"]
        shared = {
            **({} if address == LOCAL else passed(os.environ)),
            **{"MASTER_ADDR": where, "MASTER_PORT": str(ray.get(first.listen.remote(where)))},
            # The store is the one that `Trainer.train` opens.
            **{"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0", "USE_RAY": "0"},
        }
        log = output_file()
        waiting = [actors[index].train.remote(str(Path.cwd()), log, arguments, {**shared, **place})
                   for index, place in zip(order, places, strict=True)]  # fmt: skip
        return outcome(waiting)
    finally:
        for each in actors:
            ray.kill(each)


def die_with_parent() -> None:
    """Let the kernel kill this process when Ray's daemon that started it is gone: it would train on (prctl(2))."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def ranks(looks: list) -> tuple:
    """The workers in the order of their ranks, those of a node one behind the other; and what says to each its place.

    A node's workers see all GPUs that Ray has given them there, and use one each, as under torchrun.
    """
    nodes = {}
    for index, look in enumerate(looks):
        nodes.setdefault(look["node"], []).append(index)
    order, places = [], []
    for indices in nodes.values():
        gpus = [gpu for index in indices for gpu in looks[index]["gpus"]]
        for place, index in enumerate(indices):
            variables = {
                "RANK": len(order),
                "WORLD_SIZE": len(looks),
                "LOCAL_RANK": place,
                "LOCAL_WORLD_SIZE": len(indices),
            }
            places.append({name: str(value) for name, value in variables.items()})
            if gpus:
                places[-1]["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))
            order.append(index)
    return order, places


def output_file() -> str:
    """The file that the output of this process goes to; "" if it is no file."""
    try:
        path = Path("/proc/self/fd/1").readlink()
    except OSError:
        return ""
    return str(path) if path.is_file() else ""


def outcome(waiting: list) -> int:
    """Wait for all workers; the exit code of the first that fails, without waiting for those that wait for it."""
    import ray

    while waiting:
        done, waiting = ray.wait(waiting, num_returns=1)
        if code := ray.get(done[0]):
            # The others fail of it, or wait for it: what they have to say comes soon or never.
            ray.wait(waiting, num_returns=len(waiting), timeout=2) if waiting else None
            return code
    return 0


def connect(address: str, workers: int, scratch: str) -> None:
    """Connect to a cluster, or start one on this host."""
    host = address.rpartition("://")[2].rpartition(":")[0].strip("[]")
    if address == LOCAL or host in ("127.0.0.1", "::1", "localhost"):
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # with which Ray leaves an address on loopback as it is
    if address == LOCAL:
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    import ray

    # Ray has its workers import from the folder that is the current one now, before all else (2.60). The workspace may
    # be somebody else's: none of its modules is run.
    with contextlib.chdir(Path(__file__).parent):
        if address == LOCAL:
            # The number of CPUs is no limit here: workers share them, as processes of torchrun do. Ray lets every user
            # of the host write into its folder, so that lies in one which only this user may enter.
            ray.init(address="local", num_cpus=workers, include_dashboard=False, object_store_memory=OBJECTS,
                     _node_ip_address="127.0.0.1", _temp_dir=f"{scratch}/r")  # fmt: skip
            return
        try:
            ray.init(address=address)
        except Exception as error:  # of gRPC, Ray and its version check alike
            said = " ".join(str(error).split())[:200]
            raise CannotLaunch(f"the Ray cluster {address} cannot be used: {said}") from error


def check_resources(address: str, workers: int, device: str) -> None:
    """Refuse to wait for what the cluster has not, or what others use."""
    import ray

    total, free = (int(found.get(device, 0)) for found in (ray.cluster_resources(), ray.available_resources()))
    if min(total, free) < workers:
        where = "this host" if address == LOCAL else f"the Ray cluster {address}"
        used = f", and {total - free} of them are in use" if total >= workers else ""
        raise CannotLaunch(f"{workers} workers need {workers} x {device}: {where} has {total}{used}")


def check_nodes(looks: list) -> None:
    """Refuse nodes that do not see the workspace, or have other versions than this one."""
    here = versions()
    for look in looks:
        if look["unseen"]:
            raise CannotLaunch(f"the node {look['address']} does not see {look['unseen'][0]} in {Path.cwd()}")
        for name, found in look["versions"].items():
            if found != here[name]:
                raise CannotLaunch(f"the node {look['address']} has {name} {found}, and this one has {here[name]}")


def versions() -> dict:
    """What is installed here of what must be the same on all nodes."""
    found = {}
    for name in SAME:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def passed(environment) -> dict:
    """The variables that workers elsewhere get."""
    return {name: value for name, value in environment.items() if any(fnmatchcase(name, item) for item in PASSED)}


def is_on_cpu(address: str, config: str) -> bool:
    """Whether the workers train on CPUs: the config says so, or this host has no GPU and it asks for none.

    Raises:
        LeavesGpus: it was made on a host without GPUs, and a cluster that runs has some, which would be left unused.
    """
    import ray
    import yaml

    with open(config, encoding="utf-8") as file:
        says_cpu = bool(yaml.safe_load(file).get("use_cpu"))
    gpus = int(ray.cluster_resources().get("GPU", 0))
    if address == LOCAL:
        return says_cpu or not gpus
    if says_cpu and gpus and os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1"):
        raise LeavesGpus(f"the Ray cluster {address} has {gpus} GPUs, and {config} says use_cpu")
    return says_cpu


if __name__ == "__main__":
    main()
