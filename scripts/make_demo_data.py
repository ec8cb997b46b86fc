"""Regenerate the bundled files of `rlguide demo` with, rlguide/demo/tasks.py."""

from __future__ import annotations

import json
from pathlib import Path

from rlguide.demo.tasks import Pair, examples, pairs

FOLDER = Path(__file__).resolve().parents[1] / "rlguide" / "demo" / "data"


def main() -> None:
    """Write the files and say how large they are."""
    FOLDER.mkdir(exist_ok=True)
    for name, rows in bundled_files().items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (FOLDER / name).write_text(text, encoding="utf-8", newline="\n")
        print(f"{name}: {len(rows)} rows, {len(text.encode()):,} bytes")


def bundled_files() -> dict[str, list[dict[str, object]]]:
    """The rows of each file in `rlguide/demo/data`, by file name; `main` writes them."""
    sft: list[dict[str, object]] = [
        {"instruction": task.prompt, "output": response} for task, response in examples("sft")
    ]
    train = pairs("pairs")
    held_out = pairs("heldout")
    return {
        "sft.jsonl": sft,
        "pairs.jsonl": [_pair_row(pair) for pair in train],
        "heldout.jsonl": [
            {
                **_pair_row(pair),
                "language": pair.task.language,
                "kind": pair.task.kind,
                "argument": pair.task.argument,
                "topics": list(pair.task.topics),
            }
            for pair in held_out
        ],
    }


def _pair_row(pair: Pair) -> dict[str, object]:
    return {"prompt": pair.task.prompt, "chosen": pair.chosen, "rejected": pair.rejected}


if __name__ == "__main__":
    main()
