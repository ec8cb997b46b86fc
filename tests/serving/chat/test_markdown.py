"""Markdown on a terminal: cut into blocks as it streams, and nothing of it lost."""

from __future__ import annotations

import io
import re

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from rlguide.serving.chat.markdown import Block, Blocks, _parser, whole_response

# Lines that begin, go on with or end blocks of every kind. Not `[a]: address`, which shows nothing by itself.
LINES = (
    *("", "  ", "text", "*bold* text", "**", "# head", "===", "---", "- item", "  more", "* other", "1. one", "2) two"),
    *(
        "> quote",
        "```",
        "```python",
        "    code",
        "\tcode",
        "| a | b |",
        "|---|---|",
        "a | b",
        "<div>",
        "List<int>",
        "你好，世界",
    ),
    *("   - deep", "> - both", "~~~", "***", "+", "10. ten", "&amp; `x`", "![image](y)", "[link](http://x/y)", "\\*"),
)
documents = st.lists(st.sampled_from(LINES), max_size=12).map("\n".join)


def drawn(text: str, width: int = 40, **values: object) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system="truecolor")
    console.print(Block(text, **values), end="")  # type: ignore[arg-type]
    return console.file.getvalue()  # type: ignore[attr-defined]


def plain(text: str, width: int = 40, **values: object) -> list[str]:
    return re.sub(r"\x1b\[[0-9;]*m", "", drawn(text, width, **values)).split("\n")[:-1]


@given(documents, st.lists(st.integers(1, 7), min_size=1, max_size=20))
def test_pieces_of_any_size_give_the_blocks_of_the_whole(text: str, sizes: list[int]) -> None:
    blocks, ended, at = Blocks(), [], 0
    for size in sizes * (1 + len(text) // sum(sizes)):
        ended += blocks.feed(text[at : at + size])
        at += size
    whole = Blocks()
    expected = whole.feed(text)
    assert "".join(ended) + blocks.rest == text
    assert (ended, blocks.rest) == (expected, whole.rest)
    complete = text[: text.rfind("\n") + 1]
    tokens = [token for token in _parser(True).parse(complete) if token.level == 0 and token.nesting >= 0 and token.map]
    assert len(ended) == max(0, len(tokens) - 1)


@given(documents, st.integers(5, 100))
def test_every_word_is_drawn_and_no_line_is_too_wide(text: str, width: int) -> None:
    lines = plain(text, width)
    assert all(cell_len(line) <= width and line == line.rstrip() for line in lines), lines
    together = re.sub(r"[\s▌│─━]", "", "".join(lines))
    for word in re.findall(r"text|head|item|more|other|quote|code|你好，世界|List<int>|deep|link", text):
        assert word in together or width < 20, (word, lines)


@given(st.text(max_size=80), st.integers(1, 60))
def test_no_text_breaks_the_drawing(text: str, width: int) -> None:
    drawn(text, width)


def test_html_breaks_of_lines_and_addresses_stay() -> None:
    assert plain("a <b>c</b> List<int>\n第一行\n第二行 [so](http://x.y/z)") == [
        "a <b>c</b> List<int>",
        "第一行",
        "第二行 so (http://x.y/z)",
    ]
    assert "\x1b]8" not in drawn("[so](http://x.y/z) ![im](http://x.y/z)")


@given(documents)
def test_a_whole_response_looks_as_it_does_when_it_streams(text: str) -> None:
    blocks = Blocks()
    ended = [*(block for block in blocks.feed(text) if block.strip()), *blocks.end()]
    assert "".join(ended).split() == text.split()
    console = Console(file=io.StringIO(), width=40)
    console.print(whole_response(text), end="")
    expected = [line for at, block in enumerate(ended) for line in plain(block, is_first=at == 0)]
    assert console.file.getvalue().split("\n")[:-1] == expected  # type: ignore[attr-defined]


def test_there_is_one_empty_line_before_and_after_a_table() -> None:
    console = Console(file=io.StringIO(), width=40)
    console.print(whole_response("# Title\n\n| a |\n|---|\n| b |\n\nend"), end="")
    lines = console.file.getvalue().split("\n")  # type: ignore[attr-defined]
    assert [line.strip() for line in lines] == ["Title", "", "a", "─", "b", "", "end", ""]


def test_code_is_drawn_as_it_is() -> None:
    assert plain("```python\nif x:\n    y = 你\n```") == ["```python", "if x:", "    y = 你", "```"]


def test_only_the_end_of_what_is_too_high() -> None:
    text = "\n".join(f"- item {number}" for number in range(50))
    assert plain(text, last=3) == [" • item 47", " • item 48", " • item 49"]


def test_markdown_that_rich_cannot_draw_is_drawn_as_text() -> None:
    deep = "> " * 40 + "deep"
    assert "deep" in "".join(plain(deep, width=12)) and "deep" in "".join(plain(deep, width=300))
