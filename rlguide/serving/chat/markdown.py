"""A response as Markdown on a terminal: which of its blocks are finished, and how one looks.

Three things differ from Rich's own Markdown, which is made for documents: HTML is text (Rich leaves it out, and with
it `List<String>`), a line that ends in the response ends on the screen (Rich joins them, with a space also in Chinese),
and an address is written out: a link that shows one thing and opens another is nothing that a model should draw.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import ClassVar

from markdown_it import MarkdownIt
from rich import markdown as rich_markdown
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.segment import Segment
from rich.syntax import Syntax
from rich.text import Text


@cache
def _parser(only_blocks: bool = False) -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    return parser.disable("inline") if only_blocks else parser


class Blocks:
    """Takes a text piece by piece and gives each top-level block once it has ended.

    A block has ended when the next one has begun with a whole line: half a line can still become part of the block
    before it (`*` becomes `*so* it goes on`). `rest` is what has not ended.
    """

    def __init__(self) -> None:
        self.rest = ""

    def feed(self, piece: str) -> list[str]:
        """Take a piece; gives the blocks that ended with it, as they were written."""
        self.rest += piece
        if "\n" not in piece:
            return []
        lines = self.rest.split("\n")
        tokens = _parser(only_blocks=True).parse("\n".join(lines[:-1]) + "\n")
        starts = [token.map[0] for token in tokens if token.level == 0 and token.nesting >= 0 and token.map]
        if len(starts) < 2:
            return []
        bounds = [0, *starts[1:]]
        self.rest = "\n".join(lines[bounds[-1] :])
        return ["\n".join(lines[a:b]) + "\n" for a, b in pairwise(bounds)]

    def end(self) -> list[str]:
        """The blocks that are left once no more comes: more than one, if the last line has no end."""
        left = [*self.feed("\n"), self.rest]
        self.rest = ""
        return [text for text in left if text.strip()]


_DEEPEST = 16  # levels


class _Heading(rich_markdown.Heading):
    LEVEL_ALIGN = dict.fromkeys(("h1", "h2", "h3", "h4", "h5", "h6"), "left")


class _Code(rich_markdown.CodeBlock):
    """Code between its fences, so that it can be told from text without colours and copied without a margin."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = str(self.text).rstrip()
        language = "" if self.lexer_name == "text" else self.lexer_name
        yield Text(f"```{language}", style="dim")
        # the terminal's own 16 colours: they can be read on dark and on light
        yield Syntax(code, self.lexer_name, theme="ansi_dark", background_color="default", word_wrap=True)
        yield Text("```", style="dim")


class _Markdown(rich_markdown.Markdown):
    elements: ClassVar = {
        **rich_markdown.Markdown.elements,
        "heading_open": _Heading,
        "fence": _Code,
        "code_block": _Code,
    }

    def __init__(self, text: str) -> None:
        super().__init__("", hyperlinks=False)
        self.parsed = _parser().parse(text)
        for token in self.parsed:
            for child in token.children or ():
                if child.type == "softbreak":
                    child.type = "hardbreak"


class Block:
    """Markdown as a renderable; without trailing spaces, so that a copy has none and a narrower window wraps none.

    Args:
        is_first: whether it begins the response; others have an empty line before them.
        last: only so many of its last lines, for what is drawn again and again.
    """

    def __init__(self, text: str, is_first: bool = True, last: int | None = None) -> None:
        self.text, self.is_first, self.last = text.strip("\n"), is_first, last

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As Rich asks for it."""
        lines = [_trimmed(line) for line in self._lines(console, options)]
        filled = [at for at, line in enumerate(lines) if line]
        lines = lines[filled[0] : filled[-1] + 1] if filled else []  # Rich begins lists and tables with an empty line
        if lines and not self.is_first:
            lines.insert(0, [])
        for line in lines[-self.last :] if self.last else lines:
            yield from line
            yield Segment.line()

    def _lines(self, console: Console, options: ConsoleOptions) -> list[list[Segment]]:
        options = options.update(height=None)
        drawn = _Markdown(self.text)
        # The parser leaves out what is nested deeper than 20 levels, Rich what is deeper than the screen is wide.
        if max((token.level for token in drawn.parsed), default=0) <= min(_DEEPEST, options.max_width // 4):
            try:
                return console.render_lines(drawn, options, pad=False)
            except Exception:  # Rich fails on some Markdown that no person writes; the text counts
                pass
        return console.render_lines(Text(self.text), options, pad=False)


def whole_response(text: str) -> Group:
    """A response that is complete, block by block as it looks when it streams."""
    blocks = Blocks()
    ended = [block for block in blocks.feed(text) if block.strip()]
    return Group(*(Block(block, at == 0) for at, block in enumerate([*ended, *blocks.end()])))


def _trimmed(line: list[Segment]) -> list[Segment]:
    kept = list(line)
    while kept and not kept[-1].text.rstrip(" "):
        kept.pop()
    if kept:
        kept[-1] = Segment(kept[-1].text.rstrip(" "), kept[-1].style)
    return kept
