"""No table cuts anything, at any width of a terminal, whatever the names are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from rlguide import console
from rlguide.catalog.methods import methods
from rlguide.catalog.recipes import ready_recipes
from rlguide.workspace import Workspace
from tests.cli.terminal import first_column, on_a_terminal, plain
from tests.policy.checkpoint_files import write_lora
from tests.runs.manage.run_files import held_out, write_run

LONG = "qwen3-4b-base/lora/a_name_that_is_far_longer_than_a_terminal_of_sixty_columns_is_wide"
CHINESE = "通义千问/lora/直接偏好优化训练第二轮使用更低的学习率和更大的批量以及新的数据"
WIDTHS = (60, 80, 200)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs, checkpoints and datasets with such names."""
    root = tmp_path_factory.mktemp("wide")
    ws = Workspace(root)
    for name in (LONG, CHINESE):
        held = [{"step": 1, "loss": 0.7}, held_out(12, 0.5, 0.8)]
        write_lora(write_run(ws, name, held, datasets={"很长的数据集名称" * 5: 40}) / "checkpoint-4")
    ws.data.mkdir()
    columns = {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}
    names = [LONG.replace("/", "_"), CHINESE.replace("/", "_")]
    (ws.data / "pairs.json").write_text(json.dumps([{"prompt": "a", "chosen": "b", "rejected": "c"}]))
    info = {name: {"file_name": "pairs.json", "ranking": True, "columns": columns} for name in names}
    ws.dataset_info.write_text(json.dumps(info, ensure_ascii=False), encoding="utf-8")
    return root


SAVED = [f"saves/{name}" for name in (LONG, CHINESE)]
TABLES = {
    "runs": ("run", SAVED),
    "checkpoints": ("checkpoint", [*SAVED, *(f"{name}/checkpoint-4" for name in SAVED)]),
    "list": ("NAME", [LONG.replace("/", "_"), CHINESE.replace("/", "_"), "ultrafeedback"]),
    "methods": ("METHOD", list(methods())),
    "recipes": ("NAME", list(ready_recipes())),
}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("command", TABLES)
def test_a_name_is_whole_and_no_line_is_too_wide(folder: Path, command: str, width: int) -> None:
    code, text = on_a_terminal(folder, command, columns=width)
    lines = plain(text)
    head, names = TABLES[command]
    assert code == 0 and max(map(cell_len, lines)) <= width
    assert "…" not in text
    column = first_column(lines, head)
    assert all(name in column for name in names), column


def test_two_runs_with_such_names_are_compared(folder: Path) -> None:
    for width in WIDTHS:
        code, text = on_a_terminal(folder, "runs", "compare", *SAVED, columns=width)
        lines = plain(text)
        assert code == 0 and "…" not in text and max(map(cell_len, lines)) <= width
        assert "heldoutaccuracy" in first_column(lines, "figure").replace("-", "")


def test_what_is_left_out_is_said_and_no_more_than_must_be(folder: Path) -> None:
    said = " ".join(on_a_terminal(folder, "runs", columns=60)[1].split())
    assert "not shown, as the terminal is too narrow: method, data, findings, took, date" in said
    assert "not shown" not in on_a_terminal(folder, "methods", columns=60)[1]


@given(
    st.lists(st.integers(1, 30), min_size=2, max_size=6),
    st.integers(10, 120),
    st.integers(0, 5),
)
def test_the_columns_that_fit_are_shown(widths: list[int], width: int, lesser: int) -> None:
    names = [f"{at}".ljust(size, "x") for at, size in enumerate(widths)]
    least = names[1:][:lesser]
    kept = console._fitting(names, [], least, width)

    def size(shown: set[int]) -> int:
        return sum(len(names[at]) + 3 for at in shown) - 1

    left_out = set(range(len(names))) - set(kept)
    assert {names[at] for at in left_out} <= set(least)
    assert size(set(kept)) <= width or left_out == {names.index(name) for name in least}
    assert all(size({*kept, at}) > width for at in left_out)


def test_a_pipe_gets_every_column(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    console.show_table(("a", "b"), [("名" * 100, "x" * 300)], lesser=("b",))
    assert capsys.readouterr().out.splitlines()[1] == f"{'名' * 100}  {'x' * 300}"
