"""Every command that a message of rlguide may print exists, with each of its options, whether a test pastes it or not.

Commands are found in the string literals of the code, f-strings with a neutral word for what is filled in, and in the
values of the YAML files. They are parsed as the command line would, and not run.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.core import TyperGroup

import rlguide
from rlguide.cli import COMMANDS, build_app

USAGE_ERROR: Any = typer.BadParameter.__mro__[1]  # of click, or of what newer versions of typer have in its place
ROOT = Path(rlguide.__file__).parent
FILLED = "1"  # a name, a path, a number
# In backticks; or bare, at the beginning of a line or behind a mark, up to the end of the sentence.
QUOTED = re.compile(r"`(rlguide [^`]+)`")
BARE = re.compile(
    rf"(?:^|: |\$ |  )(rlguide (?:{'|'.join(COMMANDS)})(?: (?![ (#]|then\b|or\b|and\b)(?:[^\s`;,]|,(?=\S))+)*)",
    re.MULTILINE,
)


def literals(path: Path) -> Iterator[str]:
    """The texts in a file of Python or YAML."""
    if path.suffix == ".yaml":
        waiting: list[Any] = [yaml.safe_load(path.read_text(encoding="utf-8"))]
        while waiting:
            item = waiting.pop()
            if isinstance(item, str):
                yield item
            elif isinstance(item, dict):
                waiting += item.values()
            elif isinstance(item, list):
                waiting += item
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else FILLED for part in node.values]
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.value


def commands(text: str) -> list[str]:
    """The commands in a text."""
    return [*QUOTED.findall(text), *BARE.findall(QUOTED.sub("", text))]


def found() -> list[tuple[str, str]]:
    """Each command with the file that holds it."""
    files = sorted([*ROOT.rglob("*.py"), *ROOT.rglob("*.yaml")])
    pairs = (
        (str(path.relative_to(ROOT)), command)
        for path in files
        for text in literals(path)
        for command in commands(text)
    )
    return list(dict.fromkeys(pairs))


@pytest.fixture(scope="module")
def app() -> Any:
    return typer.main.get_command(build_app())


def parse(app: Any, command: str) -> None:
    """Parse a command. Raises a usage error for one that is not there, or an option that it does not have.

    A command that is named alone, to speak of it, need not have its arguments.
    """
    words, node, context = shlex.split(command)[1:], app, typer.Context(app, info_name="rlguide")
    while isinstance(node, TyperGroup):
        if not words:
            return
        if words[0].startswith("-") and node.invoke_without_command:
            node.make_context(node.name, words, parent=context)
            return
        name = words.pop(0)
        if (below := node.get_command(context, name)) is None:
            raise USAGE_ERROR(f"no command {name!r}")
        node = below
    if words and not {"-h", "--help"} & set(words):
        node.make_context(node.name, words, parent=context)


@pytest.mark.parametrize(("file", "command"), found())
def test_what_is_printed_exists(app: Any, file: str, command: str) -> None:
    parse(app, command)


# What needs no quotes: names that rlguide chose or checked itself, and words of the code.
PLAIN = {
    "','.join(labels)",
    "pairs[0]",
    "','.join(pairs)",
    "dataset.name",
    "plan.name",
    "self.plan.name",
    "key",
    "self.seed",
    *("BASE", "EXAMPLES", "SFT", "DATASET", "TEMPLATE", "words", "source", "settings"),
}


def unquoted(path: Path) -> list[str]:
    """What is filled into the commands of a file as it is: a space or a quote in it would make another command."""
    text = path.read_text(encoding="utf-8")
    quoted = set(re.findall(r"\b(\w+)(?:, \w+)* = .*quote\(", text))
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.JoinedStr):
            values = [ast.unparse(part.value) for part in node.values if isinstance(part, ast.FormattedValue)]
            marks = iter(range(len(values)))
            parts = [part.value if isinstance(part, ast.Constant) else f"<{next(marks)}>" for part in node.values]
            inside = "".join(commands("".join(map(str, parts))))
            used = [values[int(number)] for number in re.findall(r"<(\d+)>", inside)]
            found += [value for value in used if "quote(" not in value and value not in quoted | PLAIN]
    return found


def test_what_is_filled_in_is_quoted() -> None:
    # engine_cmd, install and installed name engines: "main" or "ppo"
    bare = {str(path.relative_to(ROOT)): unquoted(path) for path in sorted(ROOT.rglob("*.py"))}
    files = {file: set(values) for file, values in bare.items() if values}
    assert files.keys() <= {"cli/engine_cmd.py", "doctor/engine.py", "engine/installed.py", "demo/journey.py"}, files
    assert set().union(*files.values()) == {"name"}


def test_many_are_found() -> None:
    assert len(found()) > 120
    files = {file for file, _ in found()}
    assert {"runs/choose.py", "engine/failures.yaml", "policy/run_state.py", "cli/train_cmd.py"} <= files


@pytest.mark.parametrize(
    "command",
    [
        "rlguide trian",
        "rlguide train --sft-chkpt x",
        "rlguide engine instal",
        "rlguide eval --resume",
        "rlguide doctor x y",
    ],
)
def test_what_does_not_exist_is_told(app: Any, command: str) -> None:
    with pytest.raises(USAGE_ERROR):
        parse(app, command)


def test_texts_and_their_commands() -> None:
    assert commands("do `rlguide a --b`, or: rlguide eval x; then") == ["rlguide a --b", "rlguide eval x"]
    assert commands("next: rlguide eval x    then: rlguide chat x") == ["rlguide eval x", "rlguide chat x"]
    assert commands("rlguide knows nothing of it") == []
