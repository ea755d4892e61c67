"""A small real package index over HTTP: the simple API as HTML or JSON, logins, and every way to break."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

__all__ = ["Index", "Request", "serve_index"]


@dataclass(frozen=True)
class Request:
    """One request that the index saw."""

    path: str
    headers: Mapping[str, str]

    @property
    def login(self) -> str | None:
        """``user:password`` of basic authentication."""
        value = self.headers.get("authorization", "")
        return base64.b64decode(value[6:]).decode() if value.startswith("Basic ") else None


@dataclass
class Index:
    """A running index. Change its fields while it runs: the next answer obeys them.

    `folder` holds the files; `json` speaks PEP 691; `login` is asked for everywhere; `sizes` and `hashes` say what
    pages tell. `answers` maps a file name or page name to a function that gets the handler and answers in its place.
    """

    folder: Path
    url: str = ""
    json: bool = True
    login: str | None = None
    sizes: bool = True
    hashes: bool = True
    files_url: str | None = None
    yanked: set[str] = field(default_factory=set)
    requires_python: dict[str, str] = field(default_factory=dict)
    lies: dict[str, str] = field(default_factory=dict)
    answers: dict[str, Callable[[Any], bool]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    @property
    def simple(self) -> str:
        """The address for pip's index-url."""
        return f"{self.url}/simple"

    def with_login(self, login: str) -> str:
        """The same with ``user:password``."""
        return self.simple.replace("://", f"://{login}@")

    def asked(self, part: str) -> list[Request]:
        """The requests whose path contains `part`."""
        return [request for request in self.requests if part in request.path]

    # answers to put into `answers`

    def breaks(self, *cuts: int) -> Callable[[Any], bool]:
        """Close the connection after so many bytes of the body; once per number, then behave."""
        waiting = list(cuts)

        def answer(handler: Any) -> bool:
            if not waiting:
                return False
            handler.send_file(cut=waiting.pop(0))
            return True

        return answer

    def statuses(self, *codes: int, headers: Mapping[str, str] | None = None) -> Callable[[Any], bool]:
        """Answer with these codes in turn, then behave."""
        waiting = list(codes)

        def answer(handler: Any) -> bool:
            if not waiting:
                return False
            handler.reply(waiting.pop(0), b"no", "text/plain", headers or {})
            return True

        return answer

    def always(self, code: int, headers: Mapping[str, str] | None = None) -> Callable[[Any], bool]:
        """Always answer with `code`."""

        def answer(handler: Any) -> bool:
            handler.reply(code, b"no", "text/plain", headers or {})
            return True

        return answer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    index: Index
    ranges = True

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        index = self.index
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.path, headers)
        index.requests.append(request)
        path = unquote(urlsplit(self.path).path)
        name = path.rstrip("/").rpartition("/")[2]
        if index.login is not None and request.login != index.login:
            self.reply(401, b"who are you?", "text/plain", {"WWW-Authenticate": 'Basic realm="index"'})
            return
        chosen = index.answers.get(name)
        if chosen is not None and chosen(self):
            return
        if path.startswith("/simple/"):
            self._page(name)
        elif path.startswith("/files/") and (index.folder / name).is_file():
            self.send_file()
        else:
            self.reply(404, b"not here", "text/plain", {})

    do_HEAD = do_GET

    def reply(self, code: int, body: bytes, kind: str, headers: Mapping[str, str]) -> None:
        self.send_response(code)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_file(self, cut: int | None = None, ranges: bool = True) -> None:
        """The file that the path names, or the range of it that is asked for, or only its first bytes."""
        data = (self.index.folder / unquote(urlsplit(self.path).path).rpartition("/")[2]).read_bytes()
        whole, start = len(data), 0
        match = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if match and ranges:
            start = int(match[1])
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()[:8]}"', "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{whole - 1}/{whole}"
        body = data[start:]
        self.send_response(206 if start else 200)
        kind = "application/octet-stream"
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)

    def _page(self, name: str) -> None:
        index = self.index
        found = [
            path
            for path in sorted(index.folder.iterdir())
            if path.suffix in (".whl", ".gz") and _project(path.name) == name
        ]
        if not found:
            self.reply(404, b"no such project", "text/plain", {})
            return
        if index.json and "vnd.pypi.simple.v1+json" in self.headers.get("Accept", ""):
            document = {
                "meta": {"api-version": "1.1"},
                "name": name,
                "versions": [],
                "files": [self._entry(path) for path in found],
            }
            self.reply(200, json.dumps(document).encode(), "application/vnd.pypi.simple.v1+json", {})
            return
        anchors = "".join(self._anchor(path) for path in found)
        page = f"<!DOCTYPE html><html><body>{anchors}</body></html>".encode()
        self.reply(200, page, "text/html; charset=utf-8", {})

    def _digest(self, path: Path) -> str:
        return self.index.lies.get(path.name) or hashlib.sha256(path.read_bytes()).hexdigest()

    def _entry(self, path: Path) -> dict[str, Any]:
        index = self.index
        entry: dict[str, Any] = {
            "filename": path.name,
            "url": f"{index.files_url or index.url}/files/{path.name}",
            "hashes": {"sha256": self._digest(path)} if index.hashes else {},
            "yanked": path.name in index.yanked,
        }
        if index.sizes:
            entry["size"] = path.stat().st_size
        if path.name in index.requires_python:
            entry["requires-python"] = index.requires_python[path.name]
        return entry

    def _anchor(self, path: Path) -> str:
        index = self.index
        fragment = f"#sha256={self._digest(path)}" if index.hashes else ""
        extra = ' data-yanked=""' if path.name in index.yanked else ""
        if path.name in index.requires_python:
            value = index.requires_python[path.name].replace(">", "&gt;").replace("<", "&lt;")
            extra += f' data-requires-python="{value}"'
        base = f"{index.files_url}/files" if index.files_url else "../../files"
        return f'<a href="{base}/{path.name}{fragment}"{extra}>{path.name}</a><br/>\n'


def _project(file: str) -> str:
    name = file.partition("-")[0] if file.endswith(".whl") else file.rpartition("-")[0]
    return re.sub(r"[-_.]+", "-", name).lower()


@contextmanager
def serve_index(folder: Path, *, certificate: Path | None = None) -> Iterator[Index]:
    """An index of the wheels and sdists in `folder`, on a free port of this machine.

    With `certificate`, a PEM file that holds the key too, it speaks TLS.
    """
    folder.mkdir(parents=True, exist_ok=True)
    index = Index(folder)
    handler = type("Handler", (_Handler,), {"index": index})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.handle_error = lambda *args: None  # type: ignore[method-assign]  # clients hang up on purpose here
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "http" if certificate is None else "https"
    index.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield index
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
