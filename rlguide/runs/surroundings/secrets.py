"""Nothing that is written down of a run's surroundings holds a secret."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from rlguide.recipes.checks import holds_secret, names_secret

LEFT_OUT = "(left out: a secret)"
_SHORTEST = 8  # characters of a value that is looked for in other texts; a shorter one would be found by chance
_PASSWORD = re.compile(r"://[^/@\s:]*:([^/@\s]+)@")  # in the address of a proxy


def without_secrets(value: Any, environment: Mapping[str, str] = os.environ) -> Any:
    """The value, a tree of what JSON has, with each text left out that holds a secret.

    A secret is told by the name of its key or option, as a user name or token in a URL, or because the environment has
    it under a name of a secret or as the password of a proxy.
    """
    return _cleaned(value, _known(environment))


def _known(environment: Mapping[str, str]) -> set[str]:
    named = {value for name, value in environment.items() if names_secret(name)}
    passwords = {match[1] for value in environment.values() if (match := _PASSWORD.search(value))}
    return {value for value in named | passwords if len(value) >= _SHORTEST}


def _cleaned(value: Any, known: set[str]) -> Any:
    if isinstance(value, str):
        return LEFT_OUT if holds_secret(value) or any(secret in value for secret in known) else value
    if isinstance(value, (list, tuple)):
        return [_word(item, known) for item in value]
    if isinstance(value, Mapping):
        return {
            str(key): LEFT_OUT if item and names_secret(str(key)) and isinstance(item, str) else _cleaned(item, known)
            for key, item in value.items()
        }
    return value


def _word(word: Any, known: set[str]) -> Any:
    """A word of a command, or an item of a list: of KEY=VALUE and --key=VALUE the key stays."""
    if isinstance(word, str):
        key, equals, _ = word.partition("=")
        if equals and names_secret(key.lstrip("-").replace("-", "_")):
            return f"{key}={LEFT_OUT}"
    return _cleaned(word, known)
