"""What the hub answers when it refuses, and which files are wanted. The server here only ever refuses."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from rlguide.data.hubs import client, modelscope
from rlguide.data.hubs.base import HubFile, Snapshot
from rlguide.data.hubs.client import match_files
from rlguide.data.hubs.session import open_session
from rlguide.errors import HubError

COMMAND = str(Path(sys.executable).parent / "rlguide")
# Path of the revision -> status and the code by which the hub tells the cases apart.
REFUSALS = {
    "gated": (403, "GatedRepo"),
    "secret": (401, "RepoNotFound"),
    "norevision": (404, "RevisionNotFound"),
    "forbidden": (403, ""),
    "busy": (429, ""),
    "down": (503, ""),
}


class Refuse(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, code = REFUSALS[self.path.rsplit("/", 1)[-1].split("?")[0]]
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuse)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://user:password@127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize(
    ("revision", "what", "fix"),
    [
        ("gated", "is gated", "HF_TOKEN"),
        ("secret", "has no dataset Intel/orca_dpo_pairs", "HF_TOKEN"),
        ("norevision", "no such revision", "--revision"),
        ("forbidden", "HTTP 403", "HF_TOKEN"),
        ("busy", "HTTP 429", "wait"),
        ("down", "HTTP 503", "mirror"),
    ],
)
def test_a_refusal_is_two_lines_without_secrets(
    endpoint: str, tmp_path: Path, revision: str, what: str, fix: str
) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": "hf_topsecret"}
    environment["RLGUIDE_RETRY_SECONDS"] = "0.01"
    failed = subprocess.run(
        [COMMAND, "download", "orca_dpo", "--revision", revision],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert failed.returncode == 1
    error, fix = failed.stderr.splitlines()[-2:]
    assert error.startswith("error: ") and what in error
    assert fix.startswith("  fix: ") and fix in fix
    assert "Traceback" not in failed.stderr
    assert "topsecret" not in failed.stderr and "password" not in failed.stderr
    assert not (tmp_path / "data" / "dataset_info.json").exists()


@pytest.mark.parametrize("name", ["HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"])
def test_a_setting_that_the_client_cannot_read_is_two_lines(tmp_path: Path, name: str) -> None:
    failed = subprocess.run(
        [COMMAND, "download", "orca_dpo"],
        cwd=tmp_path,
        env=os.environ | {name: "1.5"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert failed.returncode == 2
    error, fix = failed.stderr.splitlines()[-2:]
    assert "'1.5'" in error and name in fix and "Traceback" not in failed.stderr


class Recorder(requests.adapters.HTTPAdapter):
    """Answers every request itself, the first ones with redirects; `asked` is what each would have carried."""

    def __init__(self, *redirects: str) -> None:
        super().__init__()
        self.redirects = list(redirects)
        self.asked: list[tuple[str, str | None, str | None]] = []

    def send(self, request: requests.PreparedRequest, *_: object, **__: object) -> requests.Response:  # type: ignore[override]
        headers = request.headers
        self.asked.append((str(request.url), headers.get("Cookie"), headers.get("Authorization")))
        response = requests.Response()
        response.request, response.url, response.raw = request, str(request.url), io.BytesIO()
        response.status_code = 302 if self.redirects else 200
        if self.redirects:
            response.headers["Location"] = self.redirects.pop(0)
        return response


@pytest.mark.parametrize("home", ["https://hub.example.org", "https://hub.example.org:8443/x", "http://127.0.0.1:7000"])
@pytest.mark.parametrize(
    "other",
    [
        "https://files.hub.example.org/f",
        "https://example.org/f",
        "http://hub.example.org/f",
        "https://hub.example.org:444/f",
        "http://127.0.0.1:7001/f",
        "https://hub.example.org.evil.example/f",
        "https://hub.example.org@evil.example/f",
    ],
)
def test_the_token_of_modelscope_goes_home_and_nowhere_else(
    home: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", home)
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "hf_topsecret")
    start = f"{home}/api/v1/datasets/a/b/repo"
    recorder = Recorder(f"{start}?again", other, start)
    with open_session(modelscope.hub()) as session:
        session.mount("https://", recorder)
        session.mount("http://", recorder)
        session.get(start)
    ours = "m_session_id=hf_topsecret"
    assert recorder.asked == [
        (start, ours, "Bearer hf_topsecret"),
        (f"{start}?again", ours, "Bearer hf_topsecret"),
        (other, None, None),
        (start, ours, None),  # `requests` does not give it back
    ]


@pytest.mark.parametrize(("hub", "variable"), [("hf", "HF_HOME"), ("modelscope", "XDG_CACHE_HOME")])
def test_a_disk_that_fails_is_two_lines(hub: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/cache/x")

    monkeypatch.setattr(client.CLIENTS[hub], "fetch_file", full)
    with pytest.raises(HubError, match="cannot store a/b in /cache/x: No space left on device") as error:
        client.fetch_file(Snapshot("a/b", "main", "0" * 40, ("x",), hub), HubFile("x"))
    assert variable in error.value.fix


def snapshot(*paths: str) -> Snapshot:
    return Snapshot("a/b", "main", "0" * 40, paths)


def test_the_first_pattern_that_matches_is_used() -> None:
    there = snapshot("README.md", "data/train-1.parquet", "data/deep/x.parquet", "x.jsonl", "other/x.jsonl")
    assert match_files(there, ("data/train-*.parquet", "*.jsonl")) == ["data/train-1.parquet"]
    assert match_files(there, ("data/test-*.parquet", "*.jsonl")) == ["x.jsonl"]
    assert match_files(there, ("data/*.parquet",)) == ["data/train-1.parquet"]
    assert match_files(there, ("**/*.parquet",)) == ["data/deep/x.parquet", "data/train-1.parquet"]
    with pytest.raises(HubError, match="has no file"):
        match_files(there, ("*.csv",))


def test_a_missing_part_is_found() -> None:
    parts = [f"data/train-{number:05d}-of-00003.parquet" for number in range(3)]
    assert match_files(snapshot(*parts), ("data/train-*",)) == parts
    with pytest.raises(HubError, match="train-00001-of-00003"):
        match_files(snapshot(parts[0], parts[2]), ("data/train-*",))
