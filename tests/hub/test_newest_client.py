"""The same with the newest `huggingface_hub`, which has another HTTP library and keeps no part of a broken transfer."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.hub.hub_server import NEWEST_CLIENT, newest_client
from tests.hub.test_download_from_hub import (  # noqa: F401
    own_hub,
    test_a_transfer_that_was_cut_off_goes_on_where_it_stopped,
    test_no_hub_is_two_lines_that_name_the_mirror_setting,
    test_offline_after_a_download,
)
from tests.hub.test_faults import (  # noqa: F401
    gateway,
    servers,
    test_a_file_too_large_for_plain_http_is_two_lines,
    test_a_private_dataset_needs_its_token,
    test_a_refusal_of_what_is_fetched_again_is_two_lines,
    test_a_token_stays_with_its_hub_and_a_signature_off_the_screen,
    test_a_token_the_client_stored_is_used,
    test_the_bytes_of_a_command_that_gave_up_are_kept,
    test_xet_or_plain_http,
)

pytestmark = pytest.mark.hub


@pytest.fixture
def kind() -> str:
    return "hf"


@pytest.fixture(autouse=True)
def client(environment: dict[str, str]) -> None:
    """Let rlguide, which the environment is for, find the newest client first."""
    paths = [str(newest_client()), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    code = "import huggingface_hub; print(huggingface_hub.__version__)"
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == NEWEST_CLIENT
