"""Each fault between the real client and the real server, on both hubs: the executable lives through it or says why."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.hub.hub_server import Fault, HubServer, RangeGateway, jsonl, orca_row, rlguide_command
from tests.hub.modelscope_server import ModelScopeServer

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
                "HF_HUB_DOWNLOAD_TIMEOUT": "2",
                "HF_HUB_DISABLE_XET": "1",
                "MODELSCOPE_DOWNLOAD_TIMEOUT": "2",
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


def assert_whole(
    done: subprocess.CompletedProcess[str], workspace: Path, content: bytes = CONTENT, name: str = "pairs"
) -> None:
    assert done.returncode == 0, done.stderr
    manifest = json.loads((workspace / "data" / f"{name}.manifest.json").read_text())
    files = manifest["source"]["files"]
    assert [file["sha256"] for file in files] == [hashlib.sha256(content).hexdigest()]
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
    "stalled": ([Fault("", cut=300_000, stall=5.0)], r"broke off \(nothing came for too long\)", 1),
    "never began": ([Fault("", stall=5.0)], "nothing came for too long", 1),
    "silent about the files": (
        [Fault("paths-info", "POST", stall=30.0), Fault("tree", stall=30.0)],
        r"does not respond \(nothing came for too long\)",
        1,
    ),
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
    """The clock of this machine is an hour behind the hub's, or the other way round: nothing changes."""
    for name, clock in (("behind", 3600.0), ("ahead", -3600.0)):
        gateway(Fault("", status=429, later=3), clock=clock)
        done = rlguide("download", ID, "--name", name, "--force")
        assert_whole(done, workspace, name=name)
        assert re.search(r"HTTP 429: trying again in [23]\.0 s, as the hub asks", done.stderr), done.stderr


GIVEN_UP = {
    "503 for ever": (Fault("", status=503, times=99), "failed 5 times (HTTP 503)"),
    "429 for ever": (Fault("", status=429, times=99), "failed 5 times (HTTP 429)"),
    "429 for an hour": (
        Fault("", status=429, headers={"Retry-After": "3600"}, times=99),
        "asks to wait 3,600 s (HTTP 429)",
    ),
    "cut for ever": (Fault("", cut=0, times=99), "failed 5 times (connection cut)"),
    "too short for ever": (Fault("", short=70_000, times=99), "failed 5 times (the file came too short)"),
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
    # Older parts of ModelScope's API read a cookie; Hugging Face is never sent one.
    cookies = {"hf": set(), "modelscope": {"m_session_id=hf_wrongone", f"m_session_id={SECRET}"}}[kind]
    assert {asked.cookie for asked in line.asked} == {None, *cookies}


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
    assert on_cdn and all(asked.authorization is asked.cookie is None for asked in on_cdn)
    line.faults.append(Fault("signature=", status=500, times=99))
    failed = rlguide("--debug", "download", ID, "--force", "--file", FILE, **{name: SECRET})
    assert failed.returncode == 1
    assert "5161" not in failed.stderr and SECRET not in failed.stderr


def test_a_token_stays_with_its_port(
    kind: str, gateway: Gateway, rlguide: Rlguide, workspace: Path, environment: dict[str, str]
) -> None:
    name = {"hf": "HF_TOKEN", "modelscope": "MODELSCOPE_API_TOKEN"}[kind]
    there = gateway(signed="5161")
    gateway(token=SECRET, signed="5161", elsewhere=there.url)
    assert_whole(rlguide("download", ID, "--file", FILE, **{name: SECRET}), workspace)
    assert there.asked and all(asked.authorization is asked.cookie is None for asked in there.asked)


def test_a_slow_hub_is_not_waited_for_in_silence(gateway: Gateway, rlguide: Rlguide, workspace: Path) -> None:
    gateway(Fault("tree", stall=3.0), Fault("paths-info", "POST", stall=3.0), Fault("", cut=300_000, stall=4.0))
    done = rlguide("download", ID, HF_HUB_DOWNLOAD_TIMEOUT="30", MODELSCOPE_DOWNLOAD_TIMEOUT="30")
    assert_whole(done, workspace)
    assert "no response from the hub yet (timeout: 30 s)" in done.stderr
    assert f"fetching {FILE}: " in done.stderr
    assert len(retries(done.stderr)) == 1  # of the cut


@pytest.mark.parametrize("kind", ["hf"], indirect=True)
def test_another_transport_of_the_client_is_not_used(gateway: Gateway, rlguide: Rlguide, workspace: Path) -> None:
    gateway(Fault("", cut=300_000))
    done = rlguide("download", ID, HF_HUB_ENABLE_HF_TRANSFER="1")
    assert_whole(done, workspace)
    assert len(retries(done.stderr)) == 1


@pytest.mark.parametrize("kind", ["hf"], indirect=True)
@pytest.mark.parametrize("fails", [False, True])
def test_xet_or_plain_http(fails: bool, gateway: Gateway, rlguide: Rlguide, workspace: Path) -> None:
    """A file in Xet storage is left to the client, which then asks for its header; if that fails, it is not."""
    faults = [Fault("", "HEAD", status=501, times=99)] if fails else []
    line = gateway(*faults, xet=True)
    done = rlguide("download", ID, HF_HUB_DISABLE_XET="0")
    assert_whole(done, workspace)
    assert [asked.method for asked in line.asked if FILE in asked.path] == ["HEAD", "GET"]
    assert ("the Xet transfer failed: fetching over plain HTTP" in done.stderr) is fails


@pytest.mark.parametrize("kind", ["hf"], indirect=True)
def test_a_file_too_large_for_plain_http_is_two_lines(
    gateway: Gateway, workspace: Path, environment: dict[str, str]
) -> None:
    """The client refuses more than 50 GB; here it believes that the limit is 1 kB."""
    gateway()
    code = (
        "import sys; from huggingface_hub import constants; constants.MAX_HTTP_DOWNLOAD_SIZE = 1000\n"
        "from rlguide.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "download", ID]
    done = subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True, timeout=60)
    error, fix = assert_refused(done, workspace)
    assert f"{FILE} is larger than the 1.0 kB" in error and "hf_xet" in fix


@pytest.mark.parametrize("kind", ["hf"], indirect=True)
def test_a_refusal_of_what_is_fetched_again_is_two_lines(gateway: Gateway, rlguide: Rlguide, workspace: Path) -> None:
    line = gateway(Fault("", status=501, times=99))
    error, _ = assert_refused(rlguide("download", ID, "--force"), workspace)
    assert "HTTP 501" in error
    line.faults.clear()
    assert rlguide("download", ID).returncode == 0
    offline = rlguide("download", ID, "--force", HF_HUB_OFFLINE="1")
    assert offline.returncode == 2 and "leave out --force" in offline.stderr
    assert "Traceback" not in offline.stderr


only_modelscope = pytest.mark.parametrize("kind", ["modelscope"], indirect=True)


@pytest.fixture
def untold(servers: dict[str, Any]) -> Iterator[Callable[..., None]]:
    """Let ModelScope keep these keys of its listing to itself, and serve other content."""
    server = servers["modelscope"]

    def change(*keys: str, content: bytes = CONTENT) -> None:
        server.untold = set(keys)
        server.datasets[ID] = server.datasets[ID] | {FILE: content}

    yield change
    change()


OTHER = jsonl([row | {"chosen": f"new {row['chosen']}"} for row in rows])


@only_modelscope
@pytest.mark.parametrize("keys", [("Size", "Sha256"), ("Sha256",), ("Size",)])
def test_what_is_left_of_an_older_file_is_not_continued_without_a_checksum(
    keys: tuple[str, ...], gateway: Gateway, rlguide: Rlguide, workspace: Path, untold: Callable[..., None]
) -> None:
    untold(*keys)
    line = gateway(Fault("", cut=300_000), Fault("", status=503, times=99))
    assert_refused(rlguide("download", ID), workspace)
    line.faults.clear()
    line.asked.clear()
    content = OTHER[: len(CONTENT)].rsplit(b"\n", 2)[0] + b"\n"
    content += b" " * (len(CONTENT) - len(content) - 1) + b"\n"
    untold(*keys, content=content)  # as long as before
    done = rlguide("download", ID)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((workspace / "data" / "pairs.manifest.json").read_text())
    assert manifest["source"]["files"][0]["sha256"] == hashlib.sha256(content).hexdigest()
    assert body_requests(line) == [0]


@only_modelscope
@pytest.mark.parametrize("keys", [("Size", "Sha256"), ("Size",)])
def test_a_part_that_is_already_whole(
    keys: tuple[str, ...],
    gateway: Gateway,
    rlguide: Rlguide,
    workspace: Path,
    untold: Callable[..., None],
    tmp_path: Path,
) -> None:
    untold(*keys)
    line = gateway(Fault("", cut=300_000), Fault("", status=503, times=99))
    assert_refused(rlguide("download", ID), workspace)
    line.faults.clear()
    (part,) = (tmp_path / "cache").rglob("*.part")
    part.write_bytes(CONTENT)
    assert_whole(rlguide("download", ID), workspace)


@only_modelscope
def test_a_file_that_changes_while_it_is_fetched(
    gateway: Gateway, rlguide: Rlguide, workspace: Path, untold: Callable[..., None], environment: dict[str, str]
) -> None:
    untold("Size", "Sha256")
    changed = threading.Event()
    line = gateway(Fault("", cut=300_000, until=changed))
    environment["MODELSCOPE_DOWNLOAD_TIMEOUT"] = "60"

    def change() -> None:
        while line.carried < 300_000:
            time.sleep(0.01)
        untold("Size", "Sha256", content=OTHER)
        changed.set()

    changer = threading.Thread(target=change)
    changer.start()
    done = rlguide("download", ID)
    changer.join()
    assert_whole(done, workspace, OTHER)
    assert "the file was changed meanwhile" in done.stderr


@only_modelscope
def test_two_downloads_of_one_file_at_once(gateway: Gateway, workspace: Path, environment: dict[str, str]) -> None:
    """The second says that it waits for the first, however long that takes, and fetches nothing."""
    seen = threading.Event()
    line = gateway(Fault("", cut=300_000, until=seen))
    environment["MODELSCOPE_DOWNLOAD_TIMEOUT"] = "60"
    processes = []
    for name in ("one", "two"):
        command = [rlguide_command(), "download", ID, "--name", name, "--file", FILE]
        processes.append(subprocess.Popen(command, cwd=workspace, env=environment, stderr=subprocess.PIPE, text=True))
        while not body_requests(line):
            assert processes[0].poll() is None
            time.sleep(0.01)
    first, second = processes
    assert second.stderr is not None
    for said in second.stderr:
        if "another rlguide is fetching pairs.jsonl: waiting for that to end" in said:
            break
    else:
        raise AssertionError("it did not say that it waits")
    seen.set()
    for process in (first, second):
        _, rest = process.communicate(timeout=100)
        assert process.returncode == 0, rest
    assert len(body_requests(line)) == 2  # of the first, which was cut off


@only_modelscope
def test_parts_of_other_versions_are_removed(
    gateway: Gateway, rlguide: Rlguide, workspace: Path, servers: dict[str, Any], tmp_path: Path
) -> None:
    files = servers["modelscope"].datasets
    files["lab/versions"] = {"en/train.jsonl": CONTENT, "zh/train.jsonl": CONTENT[: len(CONTENT) // 2]}
    line = gateway()
    english, chinese = (
        ["download", "lab/versions", "--subset", one, "--name", one, "--test-size", "0"] for one in ("en", "zh")
    )
    for command in (english, chinese):
        line.faults = [Fault("FilePath", cut=300_000), Fault("FilePath", status=503, times=99)]
        assert rlguide(*command).returncode == 1
    cache = tmp_path / "cache"
    assert len(list(cache.rglob("*.part"))) == 2
    line.faults.clear()
    files["lab/versions"] = files["lab/versions"] | {"en/train.jsonl": OTHER}
    done = rlguide(*english)
    assert done.returncode == 0, done.stderr
    (left,) = cache.rglob("*.part")
    assert CONTENT.startswith(left.read_bytes()), "of the other file, which can still be continued"
    line.asked.clear()
    # A row of the file is cut in two, which is one bad row of 400.
    done = rlguide(*chinese, "--keep-good")
    assert done.returncode == 0, done.stderr
    assert [asked.start >= 131_072 for asked in line.asked if "FilePath" in asked.path] == [True]
    assert list(cache.rglob("*.part")) == []
