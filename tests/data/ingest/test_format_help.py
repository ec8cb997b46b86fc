from __future__ import annotations

import subprocess
import sys

from rlguide.data.example import KIND_NAMES
from rlguide.data.formats.base import SHAPES
from rlguide.data.ingest.format_help import WIDTH, format_help


def test_the_help_of_register_has_every_format_and_what_its_columns_hold() -> None:
    command = [sys.executable, "-c", "from rlguide.cli import main; main(['register', '--help'])"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    words = " ".join(shown.split())
    for name, sentence in SHAPES.items():
        assert f" {name} {sentence}" in words
    lines = [line for kind in KIND_NAMES for line in format_help(kind).splitlines()]
    assert max(map(len, lines)) <= WIDTH
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == list(SHAPES)
