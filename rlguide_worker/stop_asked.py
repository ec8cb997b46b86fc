"""End a training after the step that is being done, because rlguide found something in its figures (`--stop-on`).

rlguide writes `STOP`, {"save": true or false}, beside the events. The main process looks for it after each step, and
all processes of a training end after the same one. With "save" that step is saved as a checkpoint. The exit code is 3.
"""

import json
from pathlib import Path

STOP = ".stop.json"
EXIT_CODE = 3
_NOT_ASKED, _ASKED, _ASKED_TO_SAVE = 0, 1, 2


def asked_for(folder: Path) -> int:
    """What is asked for in the folder of a run."""
    try:
        request = json.loads((folder / STOP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return _NOT_ASKED
    return _ASKED_TO_SAVE if isinstance(request, dict) and request.get("save") else _ASKED


def agreed(here: int, args) -> int:
    """What the main process saw, in every process."""
    if args.world_size == 1:
        return here
    import torch

    told = torch.tensor(here, device=args.device)
    torch.distributed.broadcast(told, 0)
    return int(told)


def make_callback(folder: Path, is_ppo: bool):
    """A TrainerCallback that ends the training when it is asked for in the folder of the run.

    `is_ppo`: PPO's loop saves no checkpoint when it is told to; there the engine saves its weights at the end, and
    `exit_if_asked` follows.
    """
    from transformers import TrainerCallback

    class Stopper(TrainerCallback):
        def __init__(self) -> None:
            self._asked = _NOT_ASKED

        def on_step_end(self, args, state, control, **others):
            self._asked = agreed(asked_for(folder) if state.is_world_process_zero else _NOT_ASKED, args)
            if self._asked:
                control.should_evaluate, control.should_save = False, self._asked == _ASKED_TO_SAVE
                control.should_training_stop = is_ppo or not control.should_save

        def on_save(self, args, state, control, **others):
            if self._asked:  # only now: a checkpoint that says that training stops is not resumed from
                control.should_training_stop = True

        def on_train_end(self, args, state, control, **others):
            if not is_ppo:  # what follows writes the files by which a finished run is known
                self.exit_if_asked()

        def exit_if_asked(self) -> None:
            if self._asked:
                raise SystemExit(EXIT_CODE)

    return Stopper()
