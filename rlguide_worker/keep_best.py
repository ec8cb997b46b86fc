"""Save the best step of a training, and keep its checkpoint from rotation; the result stays that of the last step.

transformers' own way is `load_best_model_at_end`: it puts the best weights in the place of the last, and needs
intervals of saving and evaluating that fit. Its rotation (4.57, Trainer._sorted_checkpoints) spares the folder that
`state.best_model_checkpoint` names, whoever has set that; so here a callback sets it, and asks for a checkpoint at each
evaluation that is better than all before.
"""

import math
from pathlib import Path


def best_step(history: list, metric: str, is_greater: bool) -> "int | None":
    """The first step at which the metric of the trainer's log was at its best; None where no log has a number for it.

    An evaluation before the first step (`eval_on_start`) is not of anything that was trained.
    """
    found = [
        (value if is_greater else -value, -entry["step"])
        for entry in history
        if isinstance(value := entry.get(metric), (int, float)) and math.isfinite(value) and entry["step"] > 0
    ]
    return -max(found)[1] if found else None


def rule_of(args) -> tuple:
    """(key of the log, whether greater is better), by the config; the held-out loss by default."""
    metric = args.metric_for_best_model
    if not metric:
        return "eval_loss", False
    return metric if metric.startswith("eval_") else f"eval_{metric}", bool(args.greater_is_better)


def make_callback():
    """A TrainerCallback for every process: all must save at the same steps."""
    from transformers import TrainerCallback

    class KeepBest(TrainerCallback):
        def _best(self, args, state):
            step = best_step(state.log_history, *rule_of(args))
            return step, step and str(Path(args.output_dir, f"checkpoint-{step}"))

        def on_train_begin(self, args, state, control, **others):
            if self._is_wanted(args) and state.global_step:  # resumed, maybe in another place
                _, folder = self._best(args, state)
                state.best_model_checkpoint = folder if folder and Path(folder).is_dir() else None

        def on_evaluate(self, args, state, control, **others):
            if self._is_wanted(args):
                step, folder = self._best(args, state)
                if step == state.global_step:
                    state.best_model_checkpoint = folder
                    control.should_save = True

        def on_step_end(self, args, state, control, **others):
            folder = state.best_model_checkpoint
            if self._is_wanted(args) and folder and not Path(folder).is_dir():
                state.best_model_checkpoint = None  # deleted by a person; at its end the Trainer looks into it

        @staticmethod
        def _is_wanted(args):
            # `load_best_model_at_end` does it by itself, and so does `save_strategy: best`
            return str(getattr(args.save_strategy, "value", args.save_strategy)) in ("steps", "epoch") and not (
                args.load_best_model_at_end
            )

    return KeepBest()
