"""What the doctor says of the hub, and that each fix does what it should when it is pasted into a shell."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from rlguide.doctor.finding import Finding

CODE = (
    "import dataclasses, json; from rlguide.doctor import network; from rlguide.doctor.finding import Later\n"
    "found = [*network.check_hub_settings(), network.check_hub(Later(network.hub_answer))]\n"
    "print(json.dumps([dataclasses.asdict(one) for one in found]))"
)


def examine(before: str = "", **given: str) -> list[Finding]:
    """The findings in an environment, after this was typed in a shell there."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
    command = ["bash", "-c", f'{before}\nexec "$0" -c "$1"', sys.executable, CODE]
    done = subprocess.run(command, env=environment | given, capture_output=True, text=True, check=True)
    return [Finding(**found) for found in json.loads(done.stdout)]


@pytest.mark.parametrize("value", ["0", "false", "", "no"])
def test_what_does_not_mean_offline(value: str) -> None:
    found = examine(HF_HUB_OFFLINE=value, HF_ENDPOINT="http://127.0.0.1:9")
    assert "does not respond" in found[-1].what and "refused" in found[-1].what


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "no model or dataset is downloaded"),
        ({"TRANSFORMERS_OFFLINE": "YES"}, "no model or dataset is downloaded"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "does not respond"),
        ({"HF_ENDPOINT": "hf-mirror.com", "HF_HUB_OFFLINE": "1"}, "not an address"),
        ({"HF_TOKEN": " hf_secret\n", "HF_HUB_OFFLINE": "1"}, "space or line break"),
        ({"HF_HUB_DOWNLOAD_TIMEOUT": "1.5", "HF_HUB_OFFLINE": "1"}, "whole number"),
    ],
    ids=str,
)
def test_each_fix_can_be_pasted(given: dict[str, str], what: str) -> None:
    def those(found: list[Finding]) -> list[Finding]:
        return [one for one in found if what in one.what]

    [found] = those(examine(**given))
    assert found.fix and "secret" not in found.what
    # The hub's own address may not answer here, either.
    assert not [one for one in those(examine(found.fix, **given)) if given.get("HF_ENDPOINT", "") in one.what]
