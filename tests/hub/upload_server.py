"""A hub that can be written to: the part of the Hugging Face API that its client needs to create and fill a repository.

The paths and bodies are those that huggingface_hub sends; large files go through git LFS's batch API (its docs/api/
batch.md, transfer "basic"). olah, which the other tests use, can only be read.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_aTokenOfTheTestsOnly"


class UploadHub:
    """A context manager: a hub on loopback.

    Attributes:
        repositories: files by path, by the name of the repository. private: whether they are.
        sent: bytes of large files that came. refusals: statuses by a pattern of the path, each given once.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.objects: dict[str, bytes] = {}
        self.sent = 0
        self.refusals: dict[str, int] = {}
        self.commits: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": self}))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> UploadHub:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


class Handler(BaseHTTPRequestHandler):
    hub: UploadHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if not self.may_go_on():
            return
        if self.path == "/api/whoami-v2":
            self.answer(200, {"name": "me", "type": "user", "orgs": [{"name": "org"}]})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)", self.path):
            files = self.hub.repositories.get(found[1])
            if files is None:
                self.answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            else:
                kept = {"id": found[1], "private": self.hub.private.get(found[1], False)}
                self.answer(200, {**kept, "siblings": [{"rfilename": path} for path in files]})
        elif found := re.match(r"/([^/]+/[^/]+)/resolve/main/(.+)$", self.path):
            content = self.hub.repositories.get(found[1], {}).get(found[2])
            self.answer(404 if content is None else 200, content or b"")
        else:
            self.answer(404, {"error": "not found"})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.may_go_on():
            return
        if self.path == "/api/repos/create":
            asked = json.loads(raw)
            name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
            status = 409 if name in self.hub.repositories else 200
            self.hub.repositories.setdefault(name, {".gitattributes": b""})
            self.hub.private.setdefault(name, bool(asked.get("private")))
            self.answer(status, {"url": f"{self.hub.url}/{name}", "name": name, "id": name})
        elif self.path == "/api/validate-yaml":  # the client asks before it sends a card
            self.answer(200, {"errors": [], "warnings": []})
        elif re.match(r"/api/models/.+/preupload/main", self.path):
            files = json.loads(raw)["files"]
            modes = [
                {"path": file["path"], "uploadMode": self.mode(file["path"]), "shouldIgnore": False} for file in files
            ]
            self.answer(200, {"files": modes})
        elif self.path.endswith(".git/info/lfs/objects/batch"):
            self.answer(200, {"transfer": "basic", "objects": [self.lfs(item) for item in json.loads(raw)["objects"]]})
        elif found := re.match(r"/api/models/(.+)/commit/main", self.path):
            self.commit(found[1], raw)
        else:
            self.answer(404, {"error": "not found"})

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.may_go_on(is_signed=True):
            return
        self.hub.sent += len(content)
        oid = self.path.rpartition("/")[2]
        if hashlib.sha256(content).hexdigest() == oid:
            self.hub.objects[oid] = content
        self.answer(200, b"")

    def commit(self, name: str, raw: bytes) -> None:
        files: dict[str, bytes] = {}
        for line in raw.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    self.answer(400, {"error": "an object is missing"})
                    return
                files[value["path"]] = self.hub.objects[value["oid"]]
        self.hub.repositories[name] |= files
        self.hub.commits.append(name)
        self.answer(200, {"commitOid": "1" * 40, "commitUrl": f"{self.hub.url}/{name}/commit/{'1' * 40}"})

    def lfs(self, item: dict[str, Any]) -> dict[str, Any]:
        if item["oid"] in self.hub.objects:
            return item
        return {**item, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{item['oid']}"}}}

    @staticmethod
    def mode(path: str) -> str:
        return "lfs" if path.endswith(".safetensors") else "regular"

    def may_go_on(self, is_signed: bool = False) -> bool:
        """Whether no refusal is due, and the token is right; the address of an upload needs none."""
        for pattern, status in self.hub.refusals.items():
            if re.search(pattern, self.path):
                del self.hub.refusals[pattern]
                self.answer(status, {"error": "refused"})
                return False
        if not is_signed and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer(401, {"error": "Invalid credentials"})
            return False
        return True

    def answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        pass
