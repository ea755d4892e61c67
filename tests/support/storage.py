"""Object storage as registries redirect to it: signed addresses on a host of its own, and no other way to be let in."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

__all__ = ["SIGNATURE", "Storage", "serve_storage"]

SIGNATURE = "2f6c9d-signed-by-the-registry"


@dataclass
class Storage:
    """A running storage server; `log` has the method, path and headers (lower case) of every request."""

    find: Callable[[str], Path]
    url: str = ""
    log: list[tuple[str, str, Mapping[str, str]]] = field(default_factory=list)

    def address(self, digest: str) -> str:
        """The signed address of a blob."""
        return f"{self.url}/{digest}?X-Amz-Signature={SIGNATURE}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    storage: Storage

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.storage.log.append((self.command, self.path, headers))
        parts = urlsplit(self.path)
        if parse_qs(parts.query).get("X-Amz-Signature") != [SIGNATURE]:
            self._reply(403, b"not signed")
        elif "authorization" in headers:
            # S3's own words and status
            self._reply(400, b"Only one auth mechanism allowed")
        elif not (file := self.storage.find(parts.path.lstrip("/"))).is_file():
            self._reply(404, b"no such key")
        else:
            data = file.read_bytes()
            wanted = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
            if wanted and int(wanted[1]) < len(data):
                start = int(wanted[1])
                self._reply(206, data[start:], f"bytes {start}-{len(data) - 1}/{len(data)}")
            else:
                self._reply(200, data)

    def _reply(self, status: int, body: bytes, content_range: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serve_storage(find: Callable[[str], Path]) -> Iterator[Storage]:
    """Storage on a free port of this machine, by another name than registries have; `find` tells a digest's file."""
    storage = Storage(find)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"storage": storage}))
    server.daemon_threads = True
    server.handle_error = lambda *args: None  # type: ignore[method-assign]  # clients may hang up
    storage.url = f"http://localhost:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield storage
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
