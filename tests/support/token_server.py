"""A small token server (Distribution's "Token Authentication Specification"), for registries that ask for tokens."""

from __future__ import annotations

import base64
import json
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    import trustme

__all__ = ["Asked", "TokenServer", "serve_tokens"]

# Distribution lets tokens live that much longer than they say (`Leeway` in registry/auth/token/token.go).
_LEEWAY = 60.0


@dataclass(frozen=True)
class Asked:
    """One request for a token. `user` is empty for anonymous clients; `status` is what was answered.

    `granted` maps a repository's name to the actions that the token allows.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    parameters: Mapping[str, str]
    scopes: tuple[str, ...]
    user: str
    status: int
    granted: Mapping[str, frozenset[str]]


@dataclass
class TokenServer:
    """A running token server. Change its fields while it runs: the next answer obeys them.

    `users` maps names to passwords, `identities` refresh tokens to names. Tokens live for `lifetime` seconds, and the
    answer says `announced` (None: the truth; 0: nothing at all). `fields` are the names under which the token is given.
    `allowed` decides which of the asked actions somebody gets in a repository: by default all to users, and pull to
    anybody where `anonymous_pull`. `statuses` are answered in turn before anything else.
    """

    users: dict[str, str]
    realm: str = ""
    service: str = "registry of the tests, quoted"
    issuer: str = "tests"
    identities: dict[str, str] = field(default_factory=dict)
    lifetime: float = 60.0
    announced: int | None = None
    fields: tuple[str, ...] = ("token",)
    anonymous_pull: bool = False
    post: bool = True
    allowed: Callable[[str, str, frozenset[str]], frozenset[str]] | None = None
    statuses: list[int] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    issued: list[str] = field(default_factory=list)
    _signer: _Signer | None = field(default=None, repr=False)

    def grant(self, user: str, repository: str, actions: frozenset[str]) -> frozenset[str]:
        """What `user` (empty: anybody) may do of `actions`."""
        if self.allowed is not None:
            return self.allowed(user, repository, actions)
        if user:
            return actions
        return actions & {"pull"} if self.anonymous_pull else frozenset()

    def sign(self, user: str, granted: Mapping[str, frozenset[str]]) -> str:
        """A token that the registry accepts, for `lifetime` seconds from now."""
        assert self._signer is not None
        now = time.time()
        claims = {
            "iss": self.issuer,
            "sub": user,
            "aud": self.service,
            "iat": int(now) - 1,
            "nbf": int(now) - 1,
            "exp": int(now + self.lifetime - _LEEWAY),
            "jti": secrets.token_hex(8),
            "access": [
                {"type": "repository", "name": name, "actions": sorted(actions)}
                for name, actions in sorted(granted.items())
                if actions
            ],
        }
        token = self._signer.sign(claims)
        self.issued.append(token)
        return token


class _Signer:
    """Signs JSON web tokens (RFC 7519) with a key whose certificate comes along (``x5c``)."""

    def __init__(self, ca: trustme.CA) -> None:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
        from cryptography.x509 import load_pem_x509_certificate

        made = ca.issue_cert("tokens.example")
        self._key = load_pem_private_key(made.private_key_pem.bytes(), None)
        self._certificate = load_pem_x509_certificate(made.cert_chain_pems[0].bytes())

    def sign(self, claims: Mapping[str, Any]) -> str:
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.serialization import Encoding

        certificate = base64.b64encode(self._certificate.public_bytes(Encoding.DER)).decode()
        head = {"typ": "JWT", "alg": "ES256", "x5c": [certificate]}
        text = f"{_base64(json.dumps(head).encode())}.{_base64(json.dumps(claims).encode())}"
        assert isinstance(self._key, EllipticCurvePrivateKey)
        r, s = decode_dss_signature(self._key.sign(text.encode(), ECDSA(SHA256())))
        return f"{text}.{_base64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    tokens: TokenServer

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        """Tokens for basic authentication, or for nobody in particular (spec/auth/token)."""
        parameters = parse_qs(urlsplit(self.path).query)
        user: str | None = ""
        if (header := self.headers.get("Authorization")) is not None:
            user = self._basic(header)
        self._answer(user, parameters)

    def do_POST(self) -> None:
        """OAuth2 (spec/auth/oauth): a refresh token, or a password."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.tokens.post:
            self._reply(405, {"details": "GET"}, None, {})
            return
        parameters = parse_qs(body.decode())
        first = {name: values[0] for name, values in parameters.items()}
        user: str | None = None
        if first.get("grant_type") == "refresh_token":
            user = self.tokens.identities.get(first.get("refresh_token", ""))
        elif first.get("grant_type") == "password":
            user = self._check(first.get("username", ""), first.get("password", ""))
        self._answer(user, parameters)

    def _basic(self, header: str) -> str | None:
        kind, _, value = header.partition(" ")
        user, _, password = base64.b64decode(value).decode().partition(":")
        return self._check(user, password) if kind == "Basic" else None

    def _check(self, user: str, password: str) -> str | None:
        return user if user and self.tokens.users.get(user) == password else None

    def _answer(self, user: str | None, parameters: Mapping[str, list[str]]) -> None:
        if self.tokens.statuses:
            self._reply(self.tokens.statuses.pop(0), {"details": "later"}, user, parameters)
        elif user is None or parameters.get("service") != [self.tokens.service]:
            self._reply(401, {"details": "who are you?"}, user, parameters)
        else:
            granted = {name: self.tokens.grant(user, name, actions) for name, actions in _scopes(parameters).items()}
            document: dict[str, Any] = dict.fromkeys(self.tokens.fields, self.tokens.sign(user, granted))
            seconds = int(self.tokens.lifetime) if self.tokens.announced is None else self.tokens.announced
            if seconds:
                document["expires_in"] = seconds
            self._reply(200, document, user, parameters, granted)

    def _reply(
        self,
        status: int,
        document: object,
        user: str | None,
        parameters: Mapping[str, list[str]],
        granted: Mapping[str, frozenset[str]] | None = None,
    ) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        first = {name: values[0] for name, values in parameters.items()}
        scopes = tuple(one for value in parameters.get("scope", []) for one in value.split())
        path = urlsplit(self.path).path
        self.tokens.asked.append(
            Asked(self.command, path, headers, first, scopes, user or "", status, dict(granted or {}))
        )
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _scopes(parameters: Mapping[str, list[str]]) -> dict[str, frozenset[str]]:
    """``repository:NAME:pull,push``, several of them apart by spaces or as parameters of their own."""
    found: dict[str, frozenset[str]] = {}
    for scope in (one for value in parameters.get("scope", []) for one in value.split()):
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        if kind == "repository":
            found[name] = found.get(name, frozenset()) | frozenset(actions.split(","))
    return found


@contextmanager
def serve_tokens(ca: trustme.CA, users: Mapping[str, str], *, tls: bool = False) -> Iterator[TokenServer]:
    """A token server on a free port of this machine; a registry that trusts `ca` accepts its tokens."""
    tokens = TokenServer(dict(users), _signer=_Signer(ca))
    handler = type("Handler", (_Handler,), {"tokens": tokens})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.handle_error = lambda *args: None  # type: ignore[method-assign]  # clients hang up on purpose here
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("127.0.0.1", "localhost").configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    tokens.realm = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}/token"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield tokens
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
