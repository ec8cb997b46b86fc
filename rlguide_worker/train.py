"""Train a config with LLaMA-Factory, as `llamafactory-cli train` does, and tell what happens in a file of its own.

usage: train.py CONFIG.yaml EVENTS.jsonl [--plain] [--checkpointing]

Without --plain it takes less memory and time to the same result (lean.py); with --checkpointing it leaves gradient
checkpointing on all the same, because memory ran out without it. Else the engine's own training runs
unchanged but for four things:

- A callback writes events to EVENTS (see rlguide_events.py), another what the data looks like (see data_figures.py).
- Others save the step that is best on held-out data and keep its checkpoint (see keep_best.py), and end the training
  when rlguide asks for it (see stop_asked.py). One more adds PPO's KL divergence to its logs (see ppo_kl.py).
- `accelerate.skip_first_batches` keeps the epoch. In accelerate 1.11 the loader that it makes starts again with the
  order of epoch 0 (data_loader.py, DataLoaderShard.__iter__ calls set_epoch(self.iteration)), so that a run resumed in
  a later epoch trains on some rows twice and on others never.
- torch.load finds tensors of "cpu:1". Several processes on a CPU call their device so, torch 2.11 does not know it, and
  resuming fails.

On several GPUs it starts torchrun by the rules of llamafactory/launcher.py (0.9.5), but with an argument list, so that
spaces in paths do no harm; and what it serves listens on the named address only (see bound_store.py).
"""

import functools
import gc
import os
import sys
from pathlib import Path

import data_figures
import few_imports
import keep_best
import ppo_kl
import sharding
import stop_asked
from rlguide_events import Events, chain, during, make_callback


def main() -> None:
    """Train, in this process or in several under torchrun. The exit code is that of the training."""
    config, events = sys.argv[1], Events(sys.argv[2])
    try:
        keys = read(config)
        leave_out(keys)
        if "LOCAL_RANK" not in os.environ and is_distributed():
            sys.exit(run_distributed(events))
        train(config, keys, events, set(sys.argv[3:]))
    except Exception as error:
        told = {"chain": chain(error), "during": during(error), "memory": memory_taken()}
        events.write("error", rank=int(os.environ.get("RANK", "0")), **told)
        raise


def memory_taken() -> dict:
    """What this process holds and held of memory, in bytes; nothing if torch cannot say it (any more)."""
    try:
        from free_memory import taken

        return taken()
    except Exception:  # what failed may be torch, or the GPU
        return {}


def is_distributed() -> bool:
    """Whether torchrun is to start processes. Where that is said, the engine need not be imported (4 s)."""
    if is_enabled("FORCE_TORCHRUN"):
        return True
    from llamafactory.extras.misc import get_device_count, use_ray

    return get_device_count() > 1 and not use_ray()


def is_enabled(name: str, default: str = "0") -> bool:
    """Whether an environment variable says yes, as the engine reads it (extras/misc.py, is_env_enabled)."""
    return os.environ.get(name, default).lower() in ("true", "y", "1")


def devices_here() -> int:
    """How many devices the engine counts on this host."""
    from llamafactory.extras.misc import get_device_count

    return get_device_count()


def run_distributed(events: Events) -> int:
    """Start this script once for each device under torchrun; returns the exit code, 128 + N for signal N."""
    import bound_store
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import get_args_parser, run

    bound_store.install()
    ask = os.environ.get
    address = ask("MASTER_ADDR", "127.0.0.1")
    port = ask("MASTER_PORT") or str(bound_store.free_port())
    nodes = ask("NNODES", "1")
    options = ["--nproc-per-node", ask("NPROC_PER_NODE") or str(devices_here())]
    if ask("RDZV_ID"):
        if ask("MIN_NNODES") and ask("MAX_NNODES"):
            nodes = f"{ask('MIN_NNODES')}:{ask('MAX_NNODES')}"
        options += ["--rdzv-id", ask("RDZV_ID"), "--rdzv-backend", "c10d", "--rdzv-endpoint", f"{address}:{port}"]
        options += ["--max-restarts", ask("MAX_RESTARTS", "0")]
        own, is_first = ask("RLGUIDE_NODE_ADDRESS"), ask("RLGUIDE_NODE_ADDRESS") == address
        if addresses := ask("RLGUIDE_NODE_ADDRESSES"):  # of a Slurm job: of its nodes, in their order
            node = int(ask("SLURM_NODEID", "0"))
            own, is_first = addresses.split(",")[node], node == 0
        if own:  # names are not asked for who is who
            bound_store.talk_over(own)
            options += ["--local-addr", own, "--rdzv-conf", f"is_host={int(is_first)}"]
    else:
        if nodes == "1" and not ask("MASTER_ADDR"):  # all of it is on this host
            bound_store.talk_over(address)
        options += ["--node-rank", ask("NODE_RANK", "0"), "--master-addr", address, "--master-port", port]
    if is_enabled("OPTIM_TORCH", "1"):  # as the engine's launcher sets them
        os.environ["PYTORCH_CUDA_ALLOC_CONF"] = "expandable_segments:True"
        os.environ["TORCH_NCCL_AVOID_RECORD_STREAMS"] = "1"
    try:
        run(get_args_parser().parse_args([*options, "--nnodes", nodes, __file__, *sys.argv[1:]]))
    except ChildFailedError as error:
        codes = [failure.exitcode for failure in error.failures.values()]
        events.write("children", exit_codes=codes)
        print(error, file=sys.stderr)
        return exit_code(codes)
    return 0


def exit_code(codes: list) -> int:
    """Of all processes, 128 + N for signal N; torchrun ends those that are left by signal 15, which says nothing."""
    others = [code for code in codes if code != -15] or codes
    return next((128 - code for code in others if code < 0), next((code for code in others if code), 1))


def read(config: str) -> dict:
    """The keys of a config."""
    import yaml

    with open(config, encoding="utf-8") as file:
        return yaml.safe_load(file)


def leave_out(keys: dict) -> None:
    """Spare the start what this training does not need; before transformers is imported, which notes what there is."""
    gc.disable()  # until all is imported: see few_imports
    few_imports.leave_out(*few_imports.ALWAYS, *few_imports.UNUSED)
    if not keys.get("predict_with_generate"):
        few_imports.leave_out(*few_imports.FIGURES)
    if not keys.get("plot_loss"):
        few_imports.leave_out(*few_imports.PLOTS)


def train(config: str, keys: dict, events: Events, options: set) -> None:
    """Run the training in this process; `keys` of the config, `options` as on the command line."""
    import torch
    import transformers.trainer
    from llamafactory.train.tuner import run_exp

    few_imports.bring_back()  # trackers or a model's code may ask for them
    few_imports.spare_bitsandbytes()
    torch.serialization.register_package(11, lambda _: None, on_cpu)
    sharding.prepare(keys)
    transformers.trainer.skip_first_batches = keeping_epoch(transformers.trainer.skip_first_batches)
    if "--plain" not in options:
        import lean

        why_not = lean.install(
            str(keys.get("stage")), events, ("checkpointing",) if "--checkpointing" in options else ()
        )
        if why_not:
            events.write("lean", used=[], why_not=dict.fromkeys(lean.PARTS, why_not))
    is_ppo = keys.get("stage") == "ppo"
    stopper = stop_asked.make_callback(Path(sys.argv[2]).parent, is_ppo)
    callbacks = [make_callback(events), data_figures.make_callback(events, keys), stopper]
    if is_ppo:
        ppo_kl.install()
        callbacks.insert(0, ppo_kl.make_callback())
    sys.argv = ["train", config]
    run_exp(callbacks=[*callbacks, keep_best.make_callback()])
    stopper.exit_if_asked()


def on_cpu(storage, location):
    """Where a tensor saved on "cpu:N" goes: it is in main memory already."""
    return storage if location.startswith("cpu:") else None


def keeping_epoch(skip):
    """`skip_first_batches`, whose loader continues in the epoch that the given one is in."""

    @functools.wraps(skip)
    def skip_first_batches(dataloader, num_batches=0):
        rest = skip(dataloader, num_batches)
        if hasattr(dataloader, "iteration"):
            rest.iteration = dataloader.iteration
        return rest

    return skip_first_batches


if __name__ == "__main__":
    main()
