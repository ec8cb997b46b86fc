"""Write what is generated from the code into both READMEs: the command reference and the table of recipes.

python scripts/render_docs.py            write
python scripts/render_docs.py --check    write nothing; exit code 1 and the stale files if anything is stale
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from rlguide.catalog.recipes import TIME_OF, cells, ready_recipes
from rlguide.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ("<!-- reference: written by scripts/render_docs.py -->", "<!-- end of reference -->")
RECIPES = ("<!-- recipes: written by scripts/render_docs.py -->", "<!-- end of recipes -->")
CONFIGS = "https://github.com/rlguide/rlguide/tree/main/configs"
HEADS = {
    "README.md": ("Recipe", "Model", "Method", "GPUs", "Planned memory of a GPU", f"Planned time, {TIME_OF}"),
    "README_zh.md": ("配方", "模型", "方法", "GPU", "每张 GPU 的预计显存", "1 万对（2 x 512 token）的预计时间"),
}


def reference() -> str:
    """The help of every command, 88 columns wide."""
    environment = {**os.environ, "COLUMNS": "88", "TERMINAL_WIDTH": "88"}
    for name in ("RLGUIDE_WORKSPACE", "RLGUIDE_ENGINE"):
        environment.pop(name, None)
    parts = []
    for words in ([], *[[name] for name in COMMANDS]):
        code = "import sys; from rlguide.cli import main; sys.exit(main())"
        done = subprocess.run(
            [sys.executable, "-c", code, *words, "--help"], env=environment, capture_output=True, text=True, check=True
        )
        text = done.stdout.replace("Usage: -c ", "Usage: rlguide ").rstrip()
        parts.append(f"### {' '.join(['rlguide', *words])}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def table(heads: tuple[str, ...]) -> str:
    """The ready recipes as a table, each with a link to its config."""
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for recipe in ready_recipes().values():
        name, *others = cells(recipe)
        lines.append(f"| {' | '.join([f'[{name}]({CONFIGS}/{name}.yaml)', *others])} |")
    return "\n".join(lines)


def between(text: str, markers: tuple[str, str], written: str) -> str:
    """The text with what is written between its markers. Raises ValueError without the markers."""
    head, rest = text.split(markers[0], 1)
    _, tail = rest.split(markers[1], 1)
    return f"{head}{markers[0]}\n\n{written}\n{markers[1]}{tail}"


def main() -> int:
    """Write or check; 1 if something is stale."""
    text = reference()
    wanted = {
        name: between(between((ROOT / name).read_text("utf-8"), REFERENCE, text), RECIPES, table(heads) + "\n")
        for name, heads in HEADS.items()
    }
    stale = [name for name, text in wanted.items() if (ROOT / name).read_text("utf-8") != text]
    for name in stale:
        print(name)
        if "--check" not in sys.argv:
            (ROOT / name).write_text(wanted[name], encoding="utf-8")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
