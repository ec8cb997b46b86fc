"""Regenerate the bundled files of `rlguide demo` with, rlguide/demo/tasks.py."""

from __future__ import annotations

import json
from pathlib import Path

from rlguide.demo.tasks import bundled_files

FOLDER = Path(__file__).resolve().parents[1] / "rlguide" / "demo" / "data"


def main() -> None:
    """Write the files and say how large they are."""
    FOLDER.mkdir(exist_ok=True)
    for name, rows in bundled_files().items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (FOLDER / name).write_text(text, encoding="utf-8", newline="\n")
        print(f"{name}: {len(rows)} rows, {len(text.encode()):,} bytes")


if __name__ == "__main__":
    main()
