"""A small real server that speaks the part of ModelScope's HTTP API that its own client asks for when it downloads."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class ModelScopeServer:
    """Datasets in memory: id -> path -> content. A path's Sha256 is told as the real hub tells it, unless `untold`
    says what of "Size" and "Sha256" is not."""

    def __init__(self) -> None:
        self.datasets: dict[str, dict[str, bytes]] = {}
        self.untold: set[str] = set()
        self.pages = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = {key: values[0] for key, values in parse_qs(parts.query).items()}
                match = re.fullmatch(r"/api/v1/datasets/([^/]+/[^/]+)(/repo/tree|/repo|/revisions|)", parts.path)
                files = server.datasets.get(match[1]) if match else None
                if files is None or match is None or query.get("Revision", "master") != "master":
                    self.tell(404, {"Code": 10010205001, "Message": "not found", "Success": False})
                elif match[2] == "/repo/tree":
                    server.pages += 1
                    self.tell(200, {"Code": 200, "Success": True, "Data": {"Files": server.page(files, query)}})
                elif match[2] == "/revisions":
                    revisions = {"Branches": [{"Revision": "master"}], "Tags": []}
                    self.tell(200, {"Code": 200, "Success": True, "Data": {"RevisionMap": revisions}})
                elif match[2] == "/repo" and query.get("FilePath") in files:
                    self.send(200, files[query["FilePath"]], "application/octet-stream")
                elif match[2] == "":
                    self.tell(200, {"Code": 200, "Success": True, "Data": {"Name": match[1].split("/")[1]}})
                else:
                    self.tell(404, {"Code": 10010205002, "Message": "no such file", "Success": False})

            def tell(self, status: int, body: object) -> None:
                self.send(status, json.dumps(body).encode(), "application/json")

            def send(self, status: int, content: bytes, kind: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def page(self, files: dict[str, bytes], query: dict[str, str]) -> list[dict[str, object]]:
        folders = {path.rsplit("/", 1)[0] for path in files if "/" in path}
        entries: list[dict[str, object]] = [{"Path": path, "Name": path, "Type": "tree", "Size": 0} for path in folders]
        for path, content in files.items():
            digest = hashlib.sha256(content).hexdigest()
            entry = {"Path": path, "Name": path.split("/")[-1], "Type": "blob", "Size": len(content), "Sha256": digest}
            entries.append({key: value for key, value in entry.items() if key not in self.untold})
        number, size = int(query.get("PageNumber", 1)), int(query.get("PageSize", 100))
        return entries[(number - 1) * size : number * size]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
