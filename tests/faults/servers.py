"""A server on this machine that fails as it is told to, in the ways of the hub and of a plain one."""

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c0ffee" * 6 + "c0ff"


class Server:
    """Serves one file; `faults` come first, one a request of their method: "GET 503", "HEAD silent", "GET cut 100"."""

    def __init__(self, content: bytes):
        self.content, self.faults, self.asked = content, [], []
        self.etag = hashlib.sha256(content).hexdigest()
        self.headers: dict[str, str] = {}  # of answers that are no file
        self.silence = threading.Event()

    def fault(self, method: str) -> str:
        self.asked.append(method)
        found = next((fault for fault in self.faults if fault.startswith(method)), "")
        if found and not found.endswith(" always"):
            self.faults.remove(found)
        return found.removeprefix(method).strip().removesuffix(" always")

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        what, _, number = self.fault(request.command).partition(" ")
        if what == "silent":
            self.silence.wait(60)
            request.close_connection = True
            return
        if what.isdigit():
            request.send_response(int(what))
            headers = self.headers | {"Content-Length": "0"}
            content = b""
        else:
            content = self.content
            if what == "changed":
                content = bytes([content[0] ^ 1]) + content[1:]
            if what == "slow":
                time.sleep(float(number))
            request.send_response(200)
            headers = {"ETag": f'"{self.etag}"', "X-Repo-Commit": COMMIT, "Content-Length": str(len(content))}
            if what == "long":
                headers["Content-Length"] = str(len(content) + 7)
            if what == "short":
                headers["Content-Length"] = str(len(content) - 7)
            if what == "cut":
                content = content[: int(number)]
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        parts = 10 if what == "drops" else 1
        for part in range(parts) if request.command == "GET" else ():
            time.sleep(float(number) if what == "drops" else 0)
            request.wfile.write(content[part * len(content) // parts : (part + 1) * len(content) // parts])
        if what in ("cut", "long", "short"):
            request.close_connection = True


@contextmanager
def serving(content: bytes) -> Iterator[tuple[Server, str]]:
    """The server and its address, for the block."""
    server = Server(content)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            server.answer(self)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        http.handle_error = lambda *args: None  # of a client that went away
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server, f"http://127.0.0.1:{http.server_port}"
        finally:
            server.silence.set()
            http.shutdown()
            thread.join()
