from __future__ import annotations

import shlex
import subprocess

from rlguide.errors import pip_install


def test_the_remedy_is_a_command() -> None:
    done = subprocess.run([*shlex.split(pip_install("packaging>=1")), "--dry-run"], capture_output=True)
    assert done.returncode == 0, done.stderr  # there already: nothing is fetched
