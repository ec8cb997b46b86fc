"""What rlguide writes into `dataset_info.json`: one file of pairs, seen by several of LLaMA-Factory's stages.

The names on the left of `columns` are LLaMA-Factory's (data/parser.py, 0.9.5); what is not named there is not read.
`ranking` must be true for the stages dpo and rm and false for sft, kto and ppo, which is why one file needs several
entries.
"""

from __future__ import annotations

from typing import Any, Literal

Entry = dict[str, Any]
Use = Literal["pairs", "labels", "sft", "ppo"]
_CONVERSATION = {"prompt": "prompt", "history": "history", "system": "system"}
_ANSWERS: dict[Use, dict[str, str]] = {
    "pairs": {"chosen": "chosen", "rejected": "rejected"},
    "labels": {"response": "answer", "kto_tag": "label"},
    "sft": {"response": "chosen"},
    "ppo": {"response": "chosen"},  # the answer is not trained on; the engine's preprocessing wants one
}


def our_entry(file_name: str, use: Use = "pairs") -> Entry:
    """The entry of a file that rlguide wrote (see `columns`), for one use of it."""
    return {
        "file_name": file_name,
        "ranking": use == "pairs",
        "formatting": "alpaca",
        "columns": {**_CONVERSATION, **_ANSWERS[use]},
    }


def is_ours(entry: Entry, use: Use = "pairs") -> bool:
    """Whether an entry is as rlguide writes it for this use."""
    return entry == our_entry(str(entry.get("file_name")), use)


def is_view(entry: Entry) -> bool:
    """Whether an entry is one of ours that shows a file of pairs to another stage (sft, ppo)."""
    return is_ours(entry, "sft") or is_ours(entry, "ppo")
