"""Each fault between the real client and the real server, on both hubs: the executable lives through it or says why."""

from __future__ import annotations

import email.utils
import hashlib
import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hub_server import Fault, HubServer, RangeGateway, jsonl, orca_row
from modelscope_server import ModelScopeServer

pytestmark = pytest.mark.hub
Rlguide = Callable[..., subprocess.CompletedProcess[str]]

ID = "someone/pairs"
FILE = "pairs.jsonl"
SECRET = "hf_topsecret"
rows = [orca_row(n) | {"chosen": f"{n} " + hashlib.sha256(str(n).encode()).hexdigest() * 16} for n in range(800)]
CONTENT = jsonl(rows)  # about 1 MB


@pytest.fixture(scope="module")
def servers(hub: HubServer) -> Iterator[dict[str, Any]]:
    """Both hubs with the same dataset."""
    hub.publish(ID, {"README.md": b"---\nlicense: mit\n---\n", FILE: CONTENT})
    modelscope = ModelScopeServer()
    modelscope.datasets[ID] = {"README.md": b"---\nlicense: mit\n---\n", FILE: CONTENT}
    yield {"hf": hub, "modelscope": modelscope}
    modelscope.close()


@pytest.fixture(params=["hf", "modelscope"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


Gateway = Callable[..., RangeGateway]


@pytest.fixture
def gateway(
    kind: str, servers: dict[str, Any], environment: dict[str, str], workspace: Path, tmp_path: Path
) -> Iterator[Gateway]:
    """Put a gateway with these faults before the hub, and let the executable use it."""
    made: list[RangeGateway] = []

    def make(*faults: Fault, **other: Any) -> RangeGateway:
        mine = [replace(fault, path=fault.path or FILE) for fault in faults]
        made.append(RangeGateway(servers[kind], faults=tuple(mine), **other))
        environment.update(
            {
                "HF_ENDPOINT": made[-1].url,
                "MODELSCOPE_ENDPOINT": made[-1].url,
                "RLGUIDE_HUB": kind,
                "RLGUIDE_RETRY_SECONDS": "0.02",
                "HF_HUB_DOWNLOAD_TIMEOUT": "1",
                "HF_HUB_DISABLE_XET": "1",
                "MODELSCOPE_DOWNLOAD_TIMEOUT": "1",
                "XDG_CACHE_HOME": str(tmp_path / "cache"),
            }
        )
        return made[-1]

    yield make
    for one in made:
        one.close()


def body_requests(line: RangeGateway) -> list[int]:
    """Where each request for the body of the data file began."""
    return [asked.start for asked in line.asked if asked.method == "GET" and FILE in asked.path]


def assert_whole(done: subprocess.CompletedProcess[str], workspace: Path) -> None:
    assert done.returncode == 0, done.stderr
    manifest = json.loads((workspace / "data" / "pairs.manifest.json").read_text())
    files = manifest["source"]["files"]
    assert [file["sha256"] for file in files] == [hashlib.sha256(CONTENT).hexdigest()]
    assert sum(file["rows"] for file in manifest["files"]) == len(rows)
    assert_quiet(done.stderr)


def assert_quiet(said: str) -> None:
    assert "Traceback" not in said
    assert SECRET not in said and "signature" not in said and FILE + "?" not in said
    assert "http://127" not in "\n".join(line for line in said.splitlines() if not line.startswith("error:"))


def assert_refused(done: subprocess.CompletedProcess[str], workspace: Path) -> tuple[str, str]:
    assert done.returncode == 1, done.stderr
    error, fix = done.stderr.splitlines()[-2:]
    assert error.startswith("error: ") and fix.startswith("  fix: ")
    assert_quiet(done.stderr)
    assert not (workspace / "data" / "dataset_info.json").exists()
    return error, fix


def retries(said: str) -> list[str]:
    return [line for line in said.splitlines() if "trying again in" in line]


SURVIVED = {
    "503": ([Fault("", status=503, times=3)], "HTTP 503", 3),
    "500 of the listing": ([Fault("tree", status=500), Fault("revision", status=502)], "HTTP 50", 1),
    "504 of the header": ([Fault("", "HEAD", status=504), Fault("", status=504)], "HTTP 504", 1),
    "429 with seconds": ([Fault("", status=429, headers={"Retry-After": "1"})], "trying again in 1.0 s, as the hub", 1),
    "429 with RateLimit": ([Fault("", status=429, headers={"RateLimit": '"api";r=0;t=1'})], "as the hub asks", 1),
    "cut": ([Fault("", cut=300_000)], r"broke off \(connection cut\)", 1),
    "cut at once": ([Fault("", cut=0, times=4)], r"broke off \(connection cut\)", 4),
    "cut again and again": ([Fault("", cut=140_000, times=6)], r"broke off \(connection cut\)", 6),
    "stalled": ([Fault("", cut=300_000, stall=3.0)], r"broke off \(nothing came for too long\)", 1),
    "never began": ([Fault("", stall=3.0)], "nothing came for too long", 1),
    "too short": ([Fault("", short=70_000)], "wrong size|too short", 1),
    "flipped byte": ([Fault("", flip=True)], "is not what the hub says it is: fetching it once more", 0),
    "cut, then 503, then cut": ([Fault("", cut=200_000), Fault("", status=503), Fault("", cut=200_000)], "HTTP 503", 3),
}


@pytest.mark.parametrize("case", list(SURVIVED))
def test_a_fault_is_waited_out(case: str, kind: str, gateway: Gateway, rlguide: Rlguide, workspace: Path) -> None:
    faults, said, least = SURVIVED[case]
    line = gateway(*(replace(fault) for fault in faults))
    done = rlguide("download", ID)
    assert_whole(done, workspace)
    assert re.search(said, done.stderr), done.stderr
    assert len(retries(done.stderr)) >= least
    if "cut" in case and case != "cut at once":
        starts = body_requests(line)
        assert starts[-1] >= 131_072, "it began at the first byte again"
        assert starts == sorted(starts)
        assert line.carried < len(CONTENT) * 1.5


def test_what_a_server_without_ranges_sends_again_is_skipped(
    gateway: Gateway, rlguide: Rlguide, workspace: Path
) -> None:
    gateway(Fault("", cut=600_000), Fault("", cut=700_000), ranges=False)
    assert_whole(rlguide("download", ID), workspace)


@pytest.mark.parametrize("kind", ["hf"], indirect=True)  # slow, and the session is the same for both
def test_retry_after_may_be_a_date(gateway: Gateway, rlguide: Rlguide, workspace: Path) -> None:
    date = email.utils.formatdate(time.time() + 4, usegmt=True)
    gateway(Fault("", status=429, headers={"Retry-After": date}))
    started = time.monotonic()
    done = rlguide("download", ID)
    assert_whole(done, workspace)
    assert "as the hub asks" in done.stderr
    assert time.monotonic() - started > 2  # a date has whole seconds, and the start takes some of them


GIVEN_UP = {
    "503 for ever": (Fault("", status=503, times=99), "failed 5 times (HTTP 503)"),
    "429 for ever": (Fault("", status=429, times=99), "failed 5 times (HTTP 429)"),
    "429 for an hour": (
        Fault("", status=429, headers={"Retry-After": "3600"}, times=99),
        "asks to wait 3,600 s (HTTP 429)",
    ),
    "cut for ever": (Fault("", cut=0, times=99), "failed 5 times (connection cut)"),
    "too short for ever": (Fault("", short=70_000, times=99), "did not come whole in 5 tries"),
    "flipped for ever": (Fault("", flip=True, times=99), "is not what the hub says it is (wrong size or checksum)"),
    "501": (Fault("", status=501, times=99), "HTTP 501"),
}


@pytest.mark.parametrize("case", list(GIVEN_UP))
def test_what_lasts_ends_in_two_lines(
    case: str, gateway: Gateway, rlguide: Rlguide, workspace: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    fault, said = GIVEN_UP[case]
    line = gateway(replace(fault))
    error, _ = assert_refused(rlguide("download", ID, HF_TOKEN=SECRET, MODELSCOPE_API_TOKEN=SECRET), workspace)
    assert said in error
    assert len(body_requests(line)) <= 6
    # Nothing damaged stays behind: with the fault gone the same command succeeds.
    if "HTTP" not in said:
        line.faults.clear()
        assert_whole(rlguide("download", ID), workspace)


def test_the_bytes_of_a_command_that_gave_up_are_kept(gateway: Gateway, rlguide: Rlguide, workspace: Path) -> None:
    line = gateway(Fault("", cut=300_000), Fault("", status=503, times=99))
    assert_refused(rlguide("download", ID), workspace)
    line.faults.clear()
    line.asked.clear()
    assert_whole(rlguide("download", ID), workspace)
    assert [start >= 131_072 for start in body_requests(line)] == [True]


def test_a_hub_that_is_not_there_is_not_waited_for_long(gateway: Gateway, rlguide: Rlguide, workspace: Path) -> None:
    gateway().close()
    done = rlguide("download", ID)
    error, _ = assert_refused(done, workspace)
    assert "cannot reach the hub at http://127.0.0.1:" in error and "connection refused" in error
    assert len(retries(done.stderr)) == 1


def test_a_private_dataset_needs_its_token(kind: str, gateway: Gateway, rlguide: Rlguide, workspace: Path) -> None:
    line = gateway(token=SECRET)
    name = {"hf": "HF_TOKEN", "modelscope": "MODELSCOPE_API_TOKEN"}[kind]
    _, fix = assert_refused(rlguide("download", ID), workspace)
    assert name in fix
    _, fix = assert_refused(rlguide("download", ID, **{name: "hf_wrongone"}), workspace)
    assert name in fix
    done = rlguide("download", ID, **{name: SECRET})
    assert_whole(done, workspace)
    for path in workspace.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()
    assert {asked.authorization for asked in line.asked} == {None, "Bearer hf_wrongone", f"Bearer {SECRET}"}


@pytest.mark.parametrize("kind", ["hf"], indirect=True)  # ModelScope's client stores a pickle, which is never read
def test_a_token_the_client_stored_is_used(
    gateway: Gateway, rlguide: Rlguide, workspace: Path, environment: dict[str, str]
) -> None:
    gateway(token=SECRET)
    stored = Path(environment["HF_HOME"]) / "token"
    stored.parent.mkdir(parents=True)
    stored.write_text(SECRET)
    assert_whole(rlguide("download", ID), workspace)


def test_a_token_stays_with_its_hub_and_a_signature_off_the_screen(
    kind: str, gateway: Gateway, rlguide: Rlguide, workspace: Path
) -> None:
    """The files come from another host by a signed address, as from the real hubs, and that one fails, too."""
    name = {"hf": "HF_TOKEN", "modelscope": "MODELSCOPE_API_TOKEN"}[kind]
    faults = [Fault("signature=", cut=300_000), Fault("signature=", status=503), Fault("signature=", cut=300_000)]
    line = gateway(*faults, token=SECRET, signed="5161")
    done = rlguide("download", ID, "--file", FILE, **{name: SECRET})
    assert_whole(done, workspace)
    assert "5161" not in done.stderr and "localhost" not in done.stderr
    on_cdn = [asked for asked in line.asked if asked.host.startswith("localhost")]
    assert on_cdn and all(asked.authorization is None for asked in on_cdn)
    line.faults.append(Fault("signature=", status=500, times=99))
    failed = rlguide("--debug", "download", ID, "--force", "--file", FILE, **{name: SECRET})
    assert failed.returncode == 1
    assert "5161" not in failed.stderr and SECRET not in failed.stderr
