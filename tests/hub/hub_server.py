"""A real hub on loopback: `olah` serving git repositories that have the true layout of the catalog's datasets."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from filelock import FileLock

HERE = Path(__file__).parent
CACHE = Path.home() / ".cache" / "rlguide-tests"
NEWEST_CLIENT = "2.4.0"  # of huggingface_hub; the engine's own is the one in this environment
GIT_ENVIRONMENT = {
    "GIT_AUTHOR_NAME": "hub",
    "GIT_AUTHOR_EMAIL": "hub@example.org",
    "GIT_COMMITTER_NAME": "hub",
    "GIT_COMMITTER_EMAIL": "hub@example.org",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
}


def olah_command() -> Path:
    """The `olah-cli` to use: $RLGUIDE_TEST_OLAH, or one installed once in ~/.cache (olah needs newer
    huggingface_hub and pydantic than the engine, so it never shares an environment with rlguide)."""
    given = os.environ.get("RLGUIDE_TEST_OLAH")
    if given:
        return Path(given)
    environment = CACHE / "olah-venv"

    def install() -> None:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
        pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "-qq"]
        subprocess.run([*pip, "-r", str(HERE / "olah-requirements.txt")], check=True)

    installed_once(environment, install)
    return environment / "bin" / "olah-cli"


def newest_client() -> Path:
    """A folder with the newest `huggingface_hub`, to go first on PYTHONPATH; installed once in ~/.cache."""
    folder = CACHE / f"huggingface_hub-{NEWEST_CLIENT}"

    def install() -> None:
        pip = [sys.executable, "-m", "pip", "install", "-qq", "--upgrade", "--target", str(folder)]
        subprocess.run([*pip, f"huggingface_hub=={NEWEST_CLIENT}"], check=True)

    installed_once(folder, install)
    return folder


def installed_once(folder: Path, install: Callable[[], None]) -> None:
    """Call `install`, which fills the folder, unless it was filled before; one process at a time."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / f"{folder.name}.lock"):
        if not (folder / "complete").exists():
            install()
            (folder / "complete").touch()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class HubServer:
    """One olah process over `root/mirrors`; repositories may be added or changed while it runs."""

    root: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    commits: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def repository(self, hub_id: str) -> Path:
        return self.root / "mirrors" / "datasets" / hub_id

    def publish(self, hub_id: str, files: dict[str, bytes]) -> str:
        """Commit `files` (path -> content) to the dataset repository and return the commit's sha."""
        folder = self.repository(hub_id)
        if not (folder / ".git").exists():
            folder.mkdir(parents=True)
            git(folder, "init", "-q", "-b", "main")
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "--allow-empty", "-m", "data")
        self.commits[hub_id] = git(folder, "rev-parse", "HEAD").strip()
        return self.commits[hub_id]

    def start(self) -> None:
        self.port = self.port or free_port()
        for folder in ("mirrors/datasets", "repos", "logs"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        config = self.root / "olah.toml"
        config.write_text(
            f"""[basic]
host = "127.0.0.1"
port = {self.port}
repos-path = "{self.root}/repos"
mirrors-path = ["{self.root}/mirrors"]
mirror-scheme = "http"
mirror-netloc = "127.0.0.1:{self.port}"
mirror-lfs-netloc = "127.0.0.1:{self.port}"
[accessibility]
offline = true
""",
            encoding="utf-8",
        )
        with (self.root / "olah.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(olah_command()), "--config", str(config), "--log-path", str(self.root / "logs")],
                stdout=log,
                stderr=log,
                cwd=self.root,
            )
        for _ in range(300):
            if self.process.poll() is not None:
                raise RuntimeError((self.root / "olah.log").read_text()[-3000:])
            try:
                urllib.request.urlopen(self.url, timeout=1)
                return
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("olah did not answer within 30 s")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=folder, env=os.environ | GIT_ENVIRONMENT, check=True, capture_output=True, text=True
    ).stdout


def turn(role: str, content: str) -> dict[str, str]:
    return {"content": content, "role": role}  # this key order is the card's


def ultrafeedback_row(number: int, test: bool = False) -> dict[str, Any]:
    prompt = f"{'Test' if test else 'Train'} question {number}: what is {number} + 1?"
    chosen = [turn("user", prompt), turn("assistant", f"It is {number + 1}.")]
    rejected = [turn("user", prompt), turn("assistant", f"Perhaps {number + 3}?")]
    return {
        "prompt": prompt,
        "prompt_id": f"{number:064x}",
        "chosen": chosen,
        "rejected": rejected,
        "messages": chosen,
        "score_chosen": 8.5,
        "score_rejected": 4.0,
    }


def orca_row(number: int) -> dict[str, Any]:
    return {
        "system": "" if number % 3 else "You are a helpful assistant, who always gives an explanation.",
        "question": f"Question {number}?\nOptions: A, B",
        "chosen": f"The answer is A, since {number}.",
        "rejected": f"B{number}",
    }


def sharegpt_row(number: int, language: str) -> dict[str, Any]:
    ask, good, bad = ("请问", "好的,", "不知道") if language == "zh" else ("Please", "Sure, ", "No idea")
    conversations = [{"from": "human", "value": f"{ask} {number}?"}]
    if number % 4 == 0:  # the real sets hold multi-turn rows too
        conversations += [
            {"from": "gpt", "value": f"{good}{number}"},
            {"from": "human", "value": f"{ask} again {number}?"},
        ]
    return {
        "conversations": conversations,
        "chosen": {"from": "gpt", "value": f"{good}{number}!"},
        "rejected": {"from": "gpt", "value": f"{bad} {number}"},
    }


def parquet(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=100)
    return bytes(sink.getvalue().to_pybytes())


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def array(rows: list[dict[str, Any]]) -> bytes:
    return json.dumps(rows, ensure_ascii=False, indent=2).encode()


def publish_all(hub: HubServer) -> None:
    """The four datasets of the catalog: true file names and schemas, few rows, and the splits nobody needs."""
    train = [ultrafeedback_row(n) for n in range(300)]
    test = [ultrafeedback_row(n, test=True) for n in range(40)]
    hub.publish(
        "HuggingFaceH4/ultrafeedback_binarized",
        {
            "README.md": b"---\nlicense: mit\nlanguage:\n- en\n---\n",
            "data/train_prefs-00000-of-00001.parquet": parquet(train),
            "data/test_prefs-00000-of-00001.parquet": parquet(test),
            **{
                f"data/{split}-00000-of-00001.parquet": parquet(train[:5])
                for split in ("train_sft", "test_sft", "train_gen", "test_gen")
            },
        },
    )
    hub.publish(
        "Intel/orca_dpo_pairs",
        {"README.md": b"---\nlicense: apache-2.0\n---\n", "orca_rlhf.jsonl": jsonl([orca_row(n) for n in range(400)])},
    )
    hub.publish(
        "llamafactory/DPO-En-Zh-20k",
        {
            "README.md": b"---\nlicense: apache-2.0\n---\n",
            "dpo_en.json": array([sharegpt_row(n, "en") for n in range(200)]),
            "dpo_zh.json": array([sharegpt_row(n, "zh") for n in range(200)]),
        },
    )
    hub.publish(
        "m-a-p/COIG-P",
        {
            "README.md": b"---\nlanguage:\n- zh\n---\n",
            "data/train-00000-of-00002.parquet": parquet([sharegpt_row(n, "zh") for n in range(0, 2000)]),
            "data/train-00001-of-00002.parquet": parquet([sharegpt_row(n, "zh") for n in range(2000, 4000)]),
        },
    )


def rlguide_command() -> str:
    return str(Path(sys.executable).parent / "rlguide")


@dataclass
class Fault:
    """What the gateway does once (or `times`) to an answer whose path holds `path`.

    status, headers: it answers this instead of asking the hub. cut: the connection ends after so many bytes of the
    body, whose full length was announced. short: body and length lack so many bytes. flip: one byte is inverted.
    stall: seconds without a byte, after `cut` bytes of the body (or before the first). until: the same, as long as this
    is not set. later: Retry-After is a date so many seconds after the hub's clock.
    """

    path: str
    method: str = "GET"
    times: int = 1
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    short: int = 0
    flip: bool = False
    stall: float = 0.0
    until: threading.Event | None = None
    later: int | None = None

    def pause(self) -> None:
        time.sleep(self.stall)
        if self.until is not None:
            assert self.until.wait(60)


@dataclass(frozen=True)
class Asked:
    """A request that came in."""

    method: str
    path: str
    host: str
    start: int
    authorization: str | None
    cookie: str | None


class RangeGateway:
    """What stands before the real hub and olah lacks: it serves byte ranges. It carries at most `rate` bytes a
    second and counts them, and plays `faults`, the first that fits each time. Everything else is passed on as it is.

    token: who does not bring it gets 401. ranges: False for a server that knows none. signed: files come from another
    host, by an address with this signature; elsewhere: from this address. clock: seconds that the hub's clock is ahead.
    xet: the files are said to be in Xet storage.
    """

    def __init__(
        self,
        hub: Any,
        rate: float = 1e9,
        faults: tuple[Fault, ...] = (),
        token: str | None = None,
        ranges: bool = True,
        signed: str | None = None,
        elsewhere: str | None = None,
        clock: float = 0.0,
        xet: bool = False,
    ) -> None:
        self.rate = rate
        self.carried = 0
        self.faults = list(faults)
        self.asked: list[Asked] = []
        gateway = self

        def now() -> float:
            return time.time() + clock

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def do_POST(self) -> None:
                self.answer(body=True)

            def answer(self, body: bool) -> None:
                sent = self.rfile.read(int(self.headers.get("Content-Length", 0))) or None
                asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
                start = int(asked[1]) if asked else 0
                host, permit = self.headers.get("Host", ""), self.headers.get("Authorization")
                gateway.asked.append(Asked(self.command, self.path, host, start, permit, self.headers.get("Cookie")))
                fault = gateway.next_fault(self.command, self.path)
                on_cdn = signed is not None and f"signature={signed}" in self.path
                if token is not None and permit != f"Bearer {token}" and not on_cdn:
                    self.refuse(401, {"X-Error-Code": "RepoNotFound"})
                elif fault is not None and fault.status is not None:
                    retry = {} if fault.later is None else {"Retry-After": self.date_time_string(now() + fault.later)}
                    self.refuse(fault.status, fault.headers | retry)
                else:
                    self.pass_on(sent, body, start, fault, on_cdn)

            def date_time_string(self, timestamp: float | None = None) -> str:
                return super().date_time_string(int(now() if timestamp is None else timestamp))

            def refuse(self, status: int, headers: dict[str, str]) -> None:
                self.send_response(status)
                for key, value in {**headers, "Content-Length": "0"}.items():
                    self.send_header(key, value)
                self.end_headers()

            def pass_on(self, sent: bytes | None, body: bool, start: int, fault: Fault | None, on_cdn: bool) -> None:
                passed = {key: value for key, value in self.headers.items() if key.lower() not in ("host", "range")}
                request = urllib.request.Request(hub.url + self.path, sent, passed, method=self.command)
                try:
                    upstream = urllib.request.urlopen(request)
                except urllib.error.HTTPError as error:
                    upstream = error
                with upstream:
                    content, headers, status = upstream.read(), upstream.headers, upstream.status
                if xet and "/paths-info/" in self.path:
                    content = content.replace(b'"type":"file"', b'"type":"file","xetHash":"' + b"0" * 64 + b'"')
                whole = len(content) if body else int(headers.get("Content-Length") or 0)
                is_file = status == 200 and ("/resolve/" in self.path or "FilePath=" in self.path)
                if signed is not None and is_file and not on_cdn:
                    mark = "&" if "?" in self.path else "?"
                    base = elsewhere or f"http://localhost:{gateway._server.server_port}"
                    there = f"{base}{self.path}{mark}signature={signed}"
                    linked = {"X-Linked-Etag": headers.get("ETag", ""), "X-Linked-Size": str(whole)}
                    commit = {"X-Repo-Commit": headers.get("X-Repo-Commit", "")}
                    self.refuse(302, {"Location": there, **linked, **commit})
                    return
                start = start if is_file and body and ranges else 0
                if start and start >= whole:
                    self.refuse(416, {"Content-Range": f"bytes */{whole}"})
                    return
                self.send_response(206 if start else status)
                for key, value in headers.items():
                    if key.lower() not in ("transfer-encoding", "content-length", "date", "server"):
                        self.send_header(key, value)
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
                if fault is not None and fault.flip:
                    middle = len(content) // 2
                    content = content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]
                if fault is not None and fault.short:
                    content = content[: -fault.short]
                    whole = len(content)
                self.send_header("Content-Length", str(whole - start))
                self.end_headers()
                if body:
                    self.send(content[start:], fault)

            def send(self, content: bytes, fault: Fault | None) -> None:
                end = len(content) if fault is None or fault.cut is None else fault.cut
                if fault is not None and fault.cut is None:
                    fault.pause()
                for at in range(0, min(end, len(content)), 1 << 16):
                    part = content[at : min(at + (1 << 16), end)]
                    self.wfile.write(part)
                    gateway.carried += len(part)
                    time.sleep(len(part) / gateway.rate)
                if end < len(content):
                    self.wfile.flush()
                    if fault is not None:
                        fault.pause()
                    self.close_connection = True

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except ConnectionError:
                    self.close_connection = True  # the client was killed: that is what the gateway is for

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def next_fault(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and fault.method == method and fault.path in path:
                fault.times -= 1
                return fault
        return None

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
