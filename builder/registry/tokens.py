"""What is sent as Authorization: learnt from the registry's challenge, kept as long as it is good."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from builder.errors import StoreError
from builder.network import redacted
from builder.registry.answers import Answer
from builder.registry.auth import (
    Challenge,
    Token,
    TokenRequest,
    basic_authorization,
    choose_challenge,
    parse_challenges,
    read_token,
    token_request,
    widen,
)
from builder.registry.endpoint import Endpoint

if TYPE_CHECKING:
    from builder.registry.credentials import Credential

__all__ = ["Authorizer", "DeniedError"]

Scopes = tuple[str, ...]


class DeniedError(StoreError):
    """The registry or its token server doesn't let us in; somewhere else it may."""


class Authorizer:
    """Credentials and tokens for one registry; safe for several threads.

    `fetch` asks a token server: it follows no redirect, and its answer's status may be anything.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        credential: Callable[[], Credential | None],
        fetch: Callable[[TokenRequest], Answer],
        clock: Callable[[], float],
    ) -> None:
        self._endpoint = endpoint
        self._find = credential
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.RLock()
        self._found: list[Credential | None] = []
        self._challenge: Challenge | None = None
        self._tokens: dict[Scopes, Token] = {}
        self._demanded: dict[Scopes, Scopes] = {}
        self._old: set[str] = set()

    @property
    def credential(self) -> Credential | None:
        """The user's credential for this registry, looked for once."""
        with self._lock:
            if not self._found:
                self._found.append(self._find())
            return self._found[0]

    def redact(self, text: str) -> str:
        """`text` without any secret that we know."""
        for secret in self.secrets:
            text = text.replace(secret, "****")
        return text

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not appear in a message."""
        with self._lock:
            found = {token.value for token in self._tokens.values()} | self._old
            if self._found and (credential := self._found[0]) is not None:
                found |= {credential.password, credential.identity_token, credential.registry_token}
                found.add(basic_authorization(credential.username, credential.password).partition(" ")[2])
        return tuple(sorted((secret for secret in found if len(secret) > 3), key=len, reverse=True))

    def learn(self, headers: Sequence[str]) -> None:
        """Take the challenge of an answer that was asked without any Authorization."""
        with self._lock:
            self._challenge = choose_challenge(parse_challenges(headers)) or self._challenge

    def authorization(self, scopes: Scopes) -> str | None:
        """The header for a request that needs `scopes`; None while the registry hasn't asked for any."""
        with self._lock:
            if self._challenge is None:
                return None
            return self._answer(self._challenge, scopes, None)

    def renew(self, headers: Sequence[str], scopes: Scopes, refused: str | None) -> str | None:
        """Another header, after `refused` was answered with 401 and these challenges; None when there is none."""
        with self._lock:
            challenge = choose_challenge(parse_challenges(headers))
            if challenge is None:
                return None
            self._challenge = challenge
            return self._answer(challenge, scopes, refused)

    def _answer(self, challenge: Challenge, scopes: Scopes, refused: str | None) -> str | None:
        credential = self.credential
        header = self._given(credential)
        if header is None and challenge.scheme == "basic":
            if credential is None or not credential.password:
                return None
            header = basic_authorization(credential.username, credential.password)
        elif header is None:
            return self._bearer(challenge, scopes, refused)
        return None if header == refused else header

    def _given(self, credential: Credential | None) -> str | None:
        """The header for a registry token; raises StoreError for one that no header can carry, without showing it."""
        if credential is None or not credential.registry_token:
            return None
        if not re.fullmatch(r"[\x21-\x7e]+", credential.registry_token):
            raise StoreError(
                f"the token for {self._endpoint.host} from {credential.source} cannot be one: there are blanks, line "
                "breaks or special characters in it",
                hint="was it copied with the end of its line?",
            )
        return f"Bearer {credential.registry_token}"

    def _bearer(self, challenge: Challenge, scopes: Scopes, refused: str | None) -> str:
        token = self._tokens.get(scopes)
        if token is not None and token.expires > self._clock() and f"Bearer {token.value}" != refused:
            return f"Bearer {token.value}"
        demanded = self._demanded.get(scopes, scopes)
        if refused is not None:
            demanded = widen(demanded, challenge.parameters.get("scope", ""))
        self._demanded[scopes] = demanded
        if token is not None:
            self._old.add(token.value)
        token = self._tokens[scopes] = self._ask(challenge, demanded)
        return f"Bearer {token.value}"

    def _ask(self, challenge: Challenge, scopes: Scopes) -> Token:
        realm = challenge.parameters.get("realm", "")
        self._endpoint.check(realm, "its token server is said to be")
        answer = self._fetch(token_request(challenge, scopes, self.credential))
        if answer.status == 200:
            return read_token(realm, answer.data, answer.headers.get("date"), self._clock())
        if answer.status in (400, 401, 403):
            raise DeniedError(
                f"{self._endpoint.host}: its token server {redacted(realm)} answered {answer.sentence(self.redact)}",
                hint=self.advice(),
            )
        raise StoreError(
            f"{self._endpoint.host}: its token server {redacted(realm)} answered {answer.sentence(self.redact)}",
            hint="the registry names this token server: ask whoever runs it",
        )

    def advice(self, may: str = "") -> str:
        """What to do when the registry doesn't let us in; `may` names what the credentials should allow."""
        credential = self.credential
        if credential is not None:
            return f"the credentials come from {credential.source}: are they still good{f', and {may}' if may else ''}?"
        name = self._endpoint.title or self._endpoint.host
        # with the host, because this may be the registry of a base image, and the variables another's
        return (
            f"no credentials were found for {name}: docker login {name}, or set LOCKSHIP_REGISTRY={name} "
            "with LOCKSHIP_REGISTRY_USERNAME and LOCKSHIP_REGISTRY_PASSWORD"
        )
