"""Evaluate a config of pairs with LLaMA-Factory and keep the score of every pair.

usage: score_pairs.py CONFIG.json OUT.jsonl EVENTS.jsonl

The engine's own evaluation runs, on the model as it was in training; its trainer is watched, and makes no full logits
(lean.py). Each pair gives one line of OUT, in the order of the dataset. For a policy (stage dpo), with
log-probabilities summed over the tokens of the response:
{"loss", "chosen_reward", "rejected_reward", "chosen_logp", "rejected_logp", "ref_chosen_logp", "ref_rejected_logp"}
For a reward model (stage rm), with the tokens of each response that it reads:
{"loss", "chosen_reward", "rejected_reward", "chosen_tokens", "rejected_tokens"}
"""

import json
import os
import sys

import few_imports
from rlguide_events import Events, chain, make_callback

IGNORED = -100  # the label of what is no response (llamafactory/extras/constants.py, IGNORE_INDEX)


def main() -> None:
    """Run the evaluation; exit code 0 when every pair is scored."""
    few_imports.leave_out_most()
    config_path, out_path = sys.argv[1:3]
    events = Events(sys.argv[3])
    with open(config_path, encoding="utf-8") as file:
        config = json.load(file)

    import lean
    from llamafactory.train.tuner import run_exp

    few_imports.spare_bitsandbytes()
    lean.install(config["stage"], events)
    keep_last_adapter_apart()

    with open(out_path, "w", encoding="utf-8") as out:

        def keep(**columns):
            for row in zip(*(column.tolist() for column in columns.values()), strict=True):
                out.write(json.dumps(dict(zip(columns, row, strict=True))) + "\n")
            out.flush()

        (watch_reward_model if config["stage"] == "rm" else watch_policy)(keep)
        try:
            run_exp(args=config, callbacks=[make_callback(events)])
        except Exception as error:
            events.write("error", rank=0, chain=chain(error))
            raise
    sys.stdout.flush()
    os._exit(0)  # nothing is left to do; the interpreter's own end can hang on the engine's threads


def keep_last_adapter_apart() -> None:
    """Load the model as in its training: the last adapter beside the weights, in float32.

    Where nothing is trained the engine merges it (model/adapter.py, `_setup_lora_tuning`). A weight of bfloat16 has 8
    bits, so much of what an adapter changes would be rounded away, and another model be scored than the one trained.
    The reference is loaded after it, and merged, as it was in training.
    """
    from llamafactory.model import loader

    engines = loader.init_adapter

    def init_adapter(config, model, model_args, finetuning_args, is_trainable):
        loader.init_adapter = engines
        has_adapter = model_args.adapter_name_or_path is not None
        return engines(config, model, model_args, finetuning_args, is_trainable or has_adapter)

    loader.init_adapter = init_adapter


def watch_policy(keep) -> None:
    """Keep what the trainer of DPO finds, tensors (B,)."""
    from llamafactory.train.dpo.trainer import CustomDPOTrainer as Trainer

    engines = Trainer.compute_preference_loss

    def watched(self, chosen, rejected, ref_chosen, ref_rejected):
        losses, chosen_rewards, rejected_rewards = engines(self, chosen, rejected, ref_chosen, ref_rejected)
        keep(
            loss=losses,
            chosen_reward=chosen_rewards,
            rejected_reward=rejected_rewards,
            chosen_logp=chosen,
            rejected_logp=rejected,
            ref_chosen_logp=ref_chosen,
            ref_rejected_logp=ref_rejected,
        )
        return losses, chosen_rewards, rejected_rewards

    Trainer.compute_preference_loss = watched
    evaluate = Trainer.evaluate

    def prepared(self, *arguments, **others):
        # The Trainer prepares its model, for autocast, only where none was; the reference was. So the policy would be
        # computed in another precision than its reference (transformers 4.57, Trainer.evaluation_loop).
        self.accelerator._models.clear()
        return evaluate(self, *arguments, **others)

    Trainer.evaluate = prepared


def watch_reward_model(keep) -> None:
    """Keep what the trainer of reward models finds; of B pairs it gives a mean loss and scores (B,), () for one."""
    from llamafactory.train.rm.trainer import PairwiseTrainer as Trainer
    from torch.nn.functional import logsigmoid

    engines = Trainer.compute_loss

    def watched(self, model, inputs, return_outputs=False, **others):
        loss, outputs = engines(self, model, inputs, return_outputs=True, **others)
        chosen, rejected = (scores.float().reshape(-1) for scores in outputs[1:])
        tokens = (inputs["labels"] != IGNORED).sum(dim=-1)
        keep(
            loss=-logsigmoid(chosen - rejected),  # as the engine's, before its mean
            chosen_reward=chosen,
            rejected_reward=rejected,
            chosen_tokens=tokens[: len(chosen)],
            rejected_tokens=tokens[len(chosen) :],
        )
        return (loss, outputs) if return_outputs else loss

    Trainer.compute_loss = watched


if __name__ == "__main__":
    main()
