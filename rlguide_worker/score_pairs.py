"""Evaluate a preference config with LLaMA-Factory and keep the score of every pair.

usage: score_pairs.py CONFIG.json OUT.jsonl EVENTS.jsonl

The engine's own evaluation runs; its trainer is watched, and makes no full logits (lean.py). Each pair gives one line
of OUT:
{"loss", "chosen_reward", "rejected_reward", "chosen_logp", "rejected_logp", "ref_chosen_logp", "ref_rejected_logp"}
with log-probabilities summed over the tokens of the response, in the order of the dataset.
"""

import json
import os
import sys

from rlguide_events import Events, chain, make_callback


def main() -> None:
    """Run the evaluation; exit code 0 when every pair is scored."""
    config_path, out_path = sys.argv[1:3]
    events = Events(sys.argv[3])
    with open(config_path, encoding="utf-8") as file:
        config = json.load(file)

    import lean
    from llamafactory.train.dpo.trainer import CustomDPOTrainer
    from llamafactory.train.tuner import run_exp

    lean.install("dpo", events)

    with open(out_path, "w", encoding="utf-8") as out:
        original = CustomDPOTrainer.compute_preference_loss

        def watched(self, chosen, rejected, ref_chosen, ref_rejected):
            losses, chosen_rewards, rejected_rewards = original(self, chosen, rejected, ref_chosen, ref_rejected)
            columns = {
                "loss": losses,
                "chosen_reward": chosen_rewards,
                "rejected_reward": rejected_rewards,
                "chosen_logp": chosen,
                "rejected_logp": rejected,
                "ref_chosen_logp": ref_chosen,
                "ref_rejected_logp": ref_rejected,
            }
            values = [column.float().tolist() for column in columns.values()]
            for row in zip(*values, strict=True):
                out.write(json.dumps(dict(zip(columns, row, strict=True))) + "\n")
            out.flush()
            return losses, chosen_rewards, rejected_rewards

        CustomDPOTrainer.compute_preference_loss = watched
        try:
            run_exp(args=config, callbacks=[make_callback(events)])
        except Exception as error:
            events.write("error", rank=0, chain=chain(error))
            raise
    sys.stdout.flush()
    os._exit(0)  # nothing is left to do; the interpreter's own end can hang on the engine's threads


if __name__ == "__main__":
    main()
