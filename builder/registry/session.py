"""HTTP to one registry: credentials to its own origin only, redirects followed by hand, failures that pass retried."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NoReturn, Self
from urllib.parse import urljoin

from builder.errors import StoreError
from builder.http import RETRIED, USER_AGENT, hopeless, open_client, retry_after
from builder.network import Network, host_of, origin
from builder.parallel import Stop
from builder.registry.answers import Answer, plain_text
from builder.registry.auth import TokenRequest
from builder.registry.calls import SMALL, Body, Call, PassingError
from builder.registry.endpoint import Endpoint
from builder.registry.tokens import Authorizer, DeniedError

if TYPE_CHECKING:
    import httpx

    from builder.registry.credentials import Credential

__all__ = ["Session"]

MAX_REDIRECTS: Final = 10
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_CONNECT: Final = 10.0  # seconds for a connection: long enough for some packets to get lost
_LONG: Final = 2.0  # seconds of waiting that people wonder about
_NOTE_EVERY: Final = 10.0  # seconds
_NOT_TLS: Final = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")  # in OpenSSL's words


class Session:
    """A connection pool to one registry; a context manager, safe for several threads.

    `note` is told why nothing moves when that takes long.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        network: Network,
        credential: Callable[[], Credential | None],
        *,
        jitter: Callable[[], float],
        clock: Callable[[], float],
        stop: Stop,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.endpoint = endpoint
        self.stop = stop
        self.retries = network.retries
        # these hosts may do without TLS; where they have it, it counts
        self._network = replace(network, trusted_hosts=(), logins=(), netrc={})
        self._jitter = jitter
        self._clock = clock
        self._note = note
        self._noted = -_NOTE_EVERY
        self._client: httpx.Client | None = None
        self.requests = 0  # that were sent, all of them
        self._lock = threading.RLock()
        self._base: str | None = None if endpoint.may_be_plain else f"https://{endpoint.host}"
        self.authorizer = Authorizer(endpoint, credential, self._fetch_token, clock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            if self._client is not None:
                self._client.close()

    @property
    def client(self) -> httpx.Client:
        """The httpx client, opened when first needed."""
        with self._lock:
            if self._client is None:
                self._client = open_client(self._network)
            return self._client

    # whole exchanges

    def ask(self, call: Call, *, tries: int = 0) -> Answer:
        """The answer to `call`, whatever it is, but for those that may pass: asked again, then StoreError.

        `tries` is how often it was asked before.
        """
        return self._persist(lambda: self.once(call), tries)

    def _persist(self, once: Callable[[], Answer], tries: int = 0) -> Answer:
        while True:
            try:
                return once()
            except PassingError as error:
                tries += 1
                self.pause(tries, error)

    def pause(self, tries: int, error: PassingError) -> None:
        """Wait before trying again after `tries` failures; raises the failure when that was the last try."""
        if tries > self.retries:
            raise error.failure from error
        after = error.after
        seconds = after if after is not None else min(8.0, 0.125 * 2**tries) * max(0.0, 0.5 + self._jitter())
        if tries > 1 or seconds > _LONG:
            self._tell(f"{error.failure.message}; asking again in {seconds:.0f} s")
        self.stop.wait(seconds)

    def _tell(self, text: str) -> None:
        """A note now and then: of several transfers that meet the same trouble one is enough."""
        with self._lock:
            now = self._clock()
            if now - self._noted < _NOTE_EVERY:
                return
            self._noted = now
        self._note(text)

    def once(self, call: Call) -> Answer:
        """The answer to `call`, asked once; raises PassingError for failures that may pass."""
        with self.open(call) as response:
            data = self.read(call, response)
            answer = Answer(response.status_code, response.headers, data, str(response.url))
        self.check_passing(call, answer, retry_after(response))
        return answer

    @contextmanager
    def open(self, call: Call) -> Iterator[httpx.Response]:
        """The streaming answer to `call`, after authorization and redirects; raises PassingError as `once` does."""
        import httpx

        try:
            url = self.address(call.path)
            renewed: str | None = None
            for _ in range(MAX_REDIRECTS):
                with self._send(call, url, renewed) as (response, sent):
                    renew = response.status_code == 401 and renewed is None and self._is_own(url)
                    target = response.headers.get("location") if response.status_code in _REDIRECTS else None
                    if target is None and not renew:
                        yield response
                        return
                    self._drain(response)
                if renew:
                    found = response.headers.get_list("www-authenticate")
                    # an empty header: there is nothing better, and the next answer is final
                    renewed = self.authorizer.renew(found, call.scopes, sent) or ""
                elif target is not None:
                    url, renewed = self._redirected(call, url, target), None
            raise StoreError(f"{self.endpoint.host}: cannot {call.what}: it redirects without end")
        except httpx.TransportError as error:
            self._explain(call, error)
        except httpx.InvalidURL as error:
            raise self._no_address(call) from error

    def check_passing(self, call: Call, answer: Answer, after: float | None) -> None:
        """Raise PassingError for an answer after which the same request may succeed."""
        if answer.status in RETRIED:
            busy = answer.status == 429
            hint = "it has had too many requests: run again later" if busy else "run again later: what came is kept"
            raise PassingError(self.failure(call, answer, hint=hint), after, answer.status)

    def failure(self, call: Call, answer: Answer, *, hint: str | None = None) -> StoreError:
        """The error for an answer that ends it."""
        kind: type[StoreError] = StoreError
        if answer.status in (401, 403) and origin(answer.url) == origin(self.base):
            may = "pull" if not any("push" in scope for scope in call.scopes) else "pull and push"
            kind, hint = DeniedError, self.authorizer.advice(f"may they {may} there")
        return kind(
            self.redact(f"{self.endpoint.host}: cannot {call.what}: it answered {answer.sentence(self.redact)}"),
            hint=hint,
        )

    def redact(self, text: str) -> str:
        """`text` without any secret that we know."""
        return self.authorizer.redact(self._network.redact(text))

    # one exchange

    @contextmanager
    def _send(self, call: Call, url: str, renewed: str | None) -> Iterator[tuple[httpx.Response, str | None]]:
        """One request, no more; with its answer the Authorization that was sent."""
        with self._lock:
            self.requests += 1
        headers = dict(call.headers)
        authorization = None
        if self._is_own(url):
            authorization = renewed if renewed is not None else self.authorizer.authorization(call.scopes)
            if authorization:
                headers["Authorization"] = authorization
        content: bytes | Iterator[bytes | memoryview] | None
        if isinstance(call.body, Body):
            headers["Content-Length"] = str(call.body.size)
            content = call.body.open()
        else:
            content = call.body
        with self._exchange(call.method, url, headers, content, call.patience) as response:
            yield response, authorization

    @contextmanager
    def _exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes | Iterator[bytes | memoryview] | None = None,
        patience: float | None = None,
    ) -> Iterator[httpx.Response]:
        """One request with these headers and no cookies: a push asks about each layer, so it says nothing needless."""
        import httpx

        self.stop.check()
        named = {"User-Agent": USER_AGENT}
        if method == "GET":  # others are answered with words at most
            named["Accept-Encoding"] = "identity"
        usual = self._network.timeout
        soon = min(usual, patience or usual)
        timeout = httpx.Timeout(soon, connect=min(soon, _CONNECT), read=patience or usual)
        # not `build_request`: that adds what the client says to everybody, and the cookies that others gave it
        request = httpx.Request(
            method,
            url,
            headers={**named, **headers},
            content=content,  # type: ignore[arg-type]
            extensions={"timeout": timeout.as_dict()},
        )
        response = self.client.send(request, stream=True)
        try:
            with self.stop.watching(response):
                yield response
        finally:
            response.close()

    def _redirected(self, call: Call, url: str, location: str) -> str:
        try:
            target = urljoin(url, location)
        except ValueError as error:
            raise self._no_address(call) from error
        self.endpoint.check(target, f"cannot {call.what}: it redirects to")
        return target

    def _no_address(self, call: Call) -> StoreError:
        return StoreError(f"{self.endpoint.host}: cannot {call.what}: it gave an address that is none")

    def read(self, call: Call, response: httpx.Response) -> bytes:
        """The body of an answer, no more than `call` allows."""
        parts: list[bytes] = []
        size = 0
        for chunk in response.iter_raw():
            self.stop.check()
            parts.append(chunk)
            if (size := size + len(chunk)) > call.limit:
                if response.status_code >= 400:
                    break  # whatever it says, its beginning will do
                raise StoreError(
                    f"{self.endpoint.host}: cannot {call.what}: the answer has more than {call.limit:,} bytes"
                )
        return b"".join(parts)

    @staticmethod
    def _drain(response: httpx.Response) -> None:
        """Read a small answer to its end, so that its connection can be used again."""
        size = 0
        for chunk in response.iter_raw():
            if (size := size + len(chunk)) > SMALL:
                break

    def _explain(self, call: Call, error: httpx.TransportError) -> NoReturn:
        """Raise what a broken connection means."""
        self.stop.check()
        text = str(error)
        host = self.endpoint.host
        if not self.endpoint.may_be_plain and any(sign in text for sign in _NOT_TLS):
            raise self.endpoint.plain_http_error() from error
        reason = plain_text(self.redact(text)) or type(error).__name__
        hint = "check the network and the proxy, then run again: what came is kept"
        if "CERTIFICATE_VERIFY_FAILED" in text:
            hint = "is its certificate signed by a private CA? SSL_CERT_FILE names the file with that CA's certificate"
        failure = StoreError(f"{host}: cannot {call.what}: {reason}", hint=hint)
        if hopeless(error):
            raise failure from error
        raise PassingError(failure) from error

    # addresses

    @property
    def base(self) -> str:
        """The registry's address, with its scheme: found out with the first request where both are allowed."""
        with self._lock:
            if self._base is None:
                self._base = self._find_base()
            return self._base

    def address(self, path: str) -> str:
        """`path` below the registry, or the whole address that it is, made sure of."""
        if "://" not in path:
            return self.base + path
        with suppress(ValueError):
            if origin(path) == origin(self.base):
                return path
        self.endpoint.check(path, "it sends us to")
        return path

    def _is_own(self, url: str) -> bool:
        return origin(url) == origin(self.base)

    def _find_base(self) -> str:
        """TLS where the server speaks it, else plain HTTP; raises httpx.TransportError when neither answers."""
        import httpx

        secure, plain = f"https://{self.endpoint.host}", f"http://{self.endpoint.host}"
        try:
            self._greet(secure)
        except httpx.TransportError as error:
            if "CERTIFICATE" in str(error) or isinstance(error, httpx.TimeoutException):
                raise
            if self._greet(plain) == 400:
                raise  # so servers answer to plain HTTP that do speak TLS
            return plain
        return secure

    def _greet(self, base: str) -> int:
        """See whether somebody answers at `base`, and what they want to see first; the answer's status."""
        with self._exchange("GET", f"{base}/v2/", {}) as response:
            self._drain(response)
            if response.status_code == 401:
                self.authorizer.learn(response.headers.get_list("www-authenticate"))
            return response.status_code

    def _fetch_token(self, request: TokenRequest) -> Answer:
        """Ask a token server, again while its failures may pass. It may not send us elsewhere."""
        import httpx

        what = f"get a token from {host_of(request.url)}"
        call = Call(request.method, request.url, what, (), request.headers, request.form)

        def once() -> Answer:
            try:
                with self._exchange(call.method, call.path, call.headers, request.form) as response:
                    data = self.read(call, response)
                    answer = Answer(response.status_code, response.headers, data, str(response.url))
            except httpx.TransportError as error:
                self._explain(call, error)
            except httpx.InvalidURL as error:
                raise self._no_address(call) from error
            self.check_passing(call, answer, retry_after(response))
            return answer

        answer = self._persist(once)
        if answer.status in _REDIRECTS:
            raise StoreError(f"{self.endpoint.host}: cannot {what}: it redirects elsewhere: refused")
        return answer
