"""What happens in a process of the engine, as JSON lines in a file that training text cannot reach.

The engine prints rows of the training data into its output, so what looks like a metric or an error there may be a
prompt. These events come from a callback in the engine's process: numbers, step counts, and exceptions.
"""

import json
import math
import os
import platform
import time
import traceback

SECONDS = 0.2  # at most so often a step or a batch is written


class Events:
    """A file of JSON lines that several processes may append to: each line is one write."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, event: str, **values: object) -> None:
        """Append one event with the time in seconds since the epoch. NaN and infinities are written as text."""
        line = json.dumps({"event": event, "time": round(time.time(), 3), **values}, default=str, ensure_ascii=False)
        os.write(self._file, (line + "\n").encode("utf-8", "replace"))


def plain(value: object) -> object:
    """A number as JSON can hold it, else text ("nan")."""
    number = float(value)
    return number if math.isfinite(number) else str(number)


def chain(error: "BaseException | None") -> list:
    """The exception and those that caused it, the last one first: [{"type", "message"}]."""
    links = []
    while error is not None and len(links) < 10:
        kind = type(error)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        links.append({"type": name, "message": str(error)[:4000]})
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return links


def during(error: BaseException) -> str:
    """Where in a training an exception was raised: "start", "training" or "evaluation"."""
    names = {frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)}
    if names & {"evaluation_loop", "prediction_loop"}:
        return "evaluation"
    return "training" if names & {"_inner_training_loop", "ppo_train"} else "start"


def peak_bytes() -> int:
    """The most that the allocator of this process's GPU ever held; 0 without one."""
    import torch

    return torch.cuda.max_memory_reserved() if torch.cuda.is_available() and torch.cuda.is_initialized() else 0


class TokenCount:
    """The tokens that a model is trained on, without padding; those of the reference and of evaluations are not.

    It counts what goes into the forward pass of the outermost model, whatever wraps that, on the device itself: only
    `read` waits for it. Of several processes it knows its own, and takes the others for alike.
    """

    def __init__(self, model, processes: int) -> None:
        self._count, self._processes, self._known = None, processes, 0
        self._hook = model.register_forward_pre_hook(self._see, with_kwargs=True)

    def _see(self, model, inputs, named):
        import torch

        ids, mask = named.get("input_ids"), named.get("attention_mask")
        if ids is None or not (model.training and torch.is_grad_enabled()):
            return
        here = mask.detach().ne(0).sum() if mask is not None and mask.shape == ids.shape else ids.numel()
        self._count = here if self._count is None else self._count + here

    def read(self) -> int:
        """How many there were since the beginning."""
        if self._count is not None:
            self._known, self._count = self._known + int(self._count) * self._processes, None
        return self._known

    def stop(self) -> None:
        """Count no more."""
        self._hook.remove()


def surroundings() -> dict:
    """What this process runs on: the versions of Python and of the CUDA that torch was built for, names of GPUs."""
    import torch

    has_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())] if has_gpu else []
    return {"python": platform.python_version(), "cuda": torch.version.cuda, "devices": devices}


def make_callback(events: Events):
    """A TrainerCallback that writes what happens to `events`, in the main process only."""
    from transformers import TrainerCallback

    class Watcher(TrainerCallback):
        def __init__(self) -> None:
            self._written = 0.0
            self._batches = 0
            self._tokens = None

        def on_train_begin(self, args, state, control, model=None, **others):
            if model is not None and not args.torch_compile:  # which would trace the count into its graph
                self._tokens = TokenCount(model, args.world_size)
            if state.is_world_process_zero:
                steps = {"step": state.global_step, "total_steps": state.max_steps}
                rows = getattr(state, "train_batch_size", None)  # as its loader has it, whatever the config says
                batch = rows and rows * args.gradient_accumulation_steps * args.world_size
                events.write("surroundings", **surroundings())
                events.write("begin", **steps, processes=args.world_size, batch=batch, pid=os.getpid())

        def on_step_end(self, args, state, control, **others):
            now = time.monotonic()
            # transformers' own callback has decided already what comes after this step
            last = state.global_step >= state.max_steps or control.should_evaluate or control.should_save
            if state.is_world_process_zero and (last or now - self._written >= SECONDS):
                self._written = now
                events.write("step", step=state.global_step)
            self._tell_what_comes(state, control)

        def on_epoch_end(self, args, state, control, **others):
            self._tell_what_comes(state, control)

        def _tell_what_comes(self, state, control):
            """An evaluation or a save may take minutes, in which nothing else is told."""
            if state.is_world_process_zero:
                if control.should_evaluate:
                    events.write("eval_batch", done=0, total=None)
                elif control.should_save:
                    events.write("saving", step=state.global_step)

        def on_evaluate(self, args, state, control, **others):
            if state.is_world_process_zero and control.should_save:
                events.write("saving", step=state.global_step)

        def on_prediction_step(self, args, state, control, eval_dataloader=None, **others):
            self._batches += 1
            now = time.monotonic()
            if state.is_world_process_zero and now - self._written >= SECONDS:
                self._written = now
                total = len(eval_dataloader) if hasattr(eval_dataloader, "__len__") else None
                events.write("eval_batch", done=self._batches, total=total)

        def on_log(self, args, state, control, logs=None, **others):
            self._batches = 0
            if state.is_world_process_zero:
                tokens = self._tokens.read() if self._tokens is not None else 0
                numbers = {key: plain(value) for key, value in (logs or {}).items() if isinstance(value, (int, float))}
                events.write("log", step=state.global_step, values=numbers, peak=peak_bytes(), tokens=tokens)

        def on_save(self, args, state, control, **others):
            if state.is_world_process_zero:
                events.write("save", step=state.global_step)

        def on_train_end(self, args, state, control, **others):
            if self._tokens is not None:
                self._tokens.stop()
            if state.is_world_process_zero:
                events.write("end", step=state.global_step)

    return Watcher()
