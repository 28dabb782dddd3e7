"""A hub on this machine: the few calls that its client makes to upload a model and to download it again.

Source: https://huggingface.co/docs/hub/api, and of large files
https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WRITER, READER = "hf_writes", "hf_reads"  # tokens


class Hub:
    """Repositories by name: {"private", "files": {path: bytes}, "large": paths}; `asked`, every request."""

    def __init__(self):
        self.repositories: dict[str, dict[str, Any]] = {}
        self.objects: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.bodies: list[bytes] = []
        self.url = ""

    def sha(self, name: str) -> str:
        files = self.repositories[name]["files"]
        return hashlib.sha1(b"".join(path.encode() + files[path] for path in sorted(files))).hexdigest()

    def etag(self, name: str, path: str) -> str:
        data = self.repositories[name]["files"][path]
        if path in self.repositories[name]["large"]:
            return hashlib.sha256(data).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

    def post(self, path: str, body: bytes, token: str) -> tuple[int, Any]:
        """Status and answer."""
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if token not in (WRITER, READER):
            return 401, {"error": "Invalid credentials"}
        if token == READER:
            return 403, {"error": "Forbidden: you must use a write token"}
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if found := re.fullmatch(r"/api/models/(.+)/preupload/main", path):
            files = [each["path"] for each in json.loads(body)["files"]]
            modes = {each: "lfs" if each.endswith(".safetensors") else "regular" for each in files}
            return 200, {"files": [{"path": p, "uploadMode": m, "shouldIgnore": False} for p, m in modes.items()]}
        if path.endswith("/info/lfs/objects/batch"):
            given = json.loads(body)["objects"]
            actions = [{"upload": {"href": f"{self.url}/objects/{each['oid']}"}} for each in given]
            return 200, {"transfer": "basic", "objects": [e | {"actions": a} for e, a in zip(given, actions)]}
        if found := re.fullmatch(r"/api/models/(.+)/commit/main", path):
            self._commit(found[1], body)
            return 200, {"commitUrl": f"{self.url}/{found[1]}/commit/x", "commitOid": self.sha(found[1])}
        return 404, {"error": "not found"}

    def _create(self, given: dict[str, Any]) -> tuple[int, Any]:
        name = f"{given['organization']}/{given['name']}"
        if given["organization"] == "others":
            return 403, {"error": "you have no rights there"}
        status = 409 if name in self.repositories else 200
        private = given.get("visibility") == "private" or bool(given.get("private"))
        self.repositories.setdefault(name, {"private": private, "files": {}, "large": set()})
        return status, {"url": f"{self.url}/{name}"}

    def _commit(self, name: str, body: bytes) -> None:
        repository = self.repositories[name]
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                repository["files"][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                repository["files"][value["path"]] = self.objects[value["oid"]]
                repository["large"].add(value["path"])


class Handler(BaseHTTPRequestHandler):
    """A connection."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_POST(self):
        body = self._body()
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        status, value = self.hub.post(self.path.partition("?")[0], body, token)
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def do_PUT(self):
        data = self._body()
        oid = self.path.rpartition("/")[2]
        assert hashlib.sha256(data).hexdigest() == oid
        self.hub.objects[oid] = data
        self._send(200, b"", {})

    def do_GET(self):
        self._body()
        path = self.path.partition("?")[0]
        hub = self.hub
        info = re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/.+)?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        name = (info or file)[1] if info or file else ""
        if name not in hub.repositories:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        elif info:
            found = hub.repositories[name]
            siblings = [{"rfilename": each} for each in found["files"]]
            value = {"id": name, "sha": hub.sha(name), "private": found["private"], "siblings": siblings, "tags": []}
            self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})
        elif file[3] not in hub.repositories[name]["files"]:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": hub.sha(name)})
        else:
            headers = {"ETag": f'"{hub.etag(name, file[3])}"', "X-Repo-Commit": hub.sha(name)}
            self._send(200, hub.repositories[name]["files"][file[3]], headers)

    do_HEAD = do_GET  # noqa: N815

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.asked.append((self.command, self.path))
        self.hub.bodies.append(body)
        return body

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args):
        pass


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub that has nothing yet, for the block."""
    hub = Hub()
    kind = type("HandlerOfHub", (Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as http:
        http.daemon_threads = True
        hub.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            http.shutdown()
            thread.join()
