"""`rlguide explain`: what the guide says of a method or a key."""

from __future__ import annotations

from typing import Annotated

import typer

from rlguide.cli import _complete


def command(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="METHOD|KEY...",
            help="Methods, or keys of a config.",
            autocompletion=_complete.of(_complete.methods, _complete.keys),
        ),
    ],
) -> None:
    """Say what a method or a key does: default, range, when to change it, and where that comes from.

    \b
    rlguide explain dpo
    rlguide explain pref_beta learning_rate
    """
    from rlguide.console import show
    from rlguide.recipes.explain import explain_word

    for number, word in enumerate(words):
        show("\n".join(([""] if number else []) + explain_word(word)))
