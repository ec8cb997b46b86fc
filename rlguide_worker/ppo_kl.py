"""Log PPO's KL divergence, which LLaMA-Factory computes and leaves out of its logs.

trl's PPOTrainer.step returns it as `objective/kl`: the mean over responses of the sum over tokens of log pi - log
pi_ref, in nats (trl 0.9.6, PPOTrainer.record_step_stats).
"""

import functools

_latest = {}


def install() -> None:
    """Let each step of PPO leave its KL divergence."""
    from trl import PPOTrainer

    PPOTrainer.step = _remembered(PPOTrainer.step)


def _remembered(step):
    @functools.wraps(step)
    def remembering(*arguments, **named):
        stats = step(*arguments, **named)
        if isinstance(stats, dict) and "objective/kl" in stats:
            _latest["kl"] = float(stats["objective/kl"])
        return stats

    return remembering


def make_callback():
    """A TrainerCallback that adds it to the logs; to be called before the one that passes them on."""
    from transformers import TrainerCallback

    class Adder(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **others):
            if logs is not None and "reward" in logs:
                logs.update(_latest)

    return Adder()
