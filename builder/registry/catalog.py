"""The manifests of a repository of a registry, and the tags on them (OCI distribution specification v1.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from builder.content import Descriptor, Digest
from builder.errors import StoreError, VerificationError
from builder.registry.answers import Answer
from builder.registry.calls import SMALL, Call, PassingError
from builder.registry.manifests import ACCEPTED, MAX_MANIFEST, describe
from builder.registry.received import check_received, digest_header
from builder.registry.reference import Repository, is_tag
from builder.registry.referrers import Fallback
from builder.registry.session import Session
from builder.registry.store import Manifest, check_manifest, taken
from builder.registry.tokens import Scopes

__all__ = ["Catalog"]

_MISSING: Final = frozenset({"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"})


class Catalog:
    """The manifests of `repository`; safe for several threads.

    `holds` tells whether a blob is there, `sent` is told of bytes that went out, `wait` pauses before a list of
    referrers is written once more. `fallback` are those lists, for registries that keep none.
    """

    def __init__(
        self,
        session: Session,
        repository: Repository,
        scopes: Scopes,
        *,
        holds: Callable[[Digest], bool],
        sent: Callable[[int], None],
        wait: Callable[[int], None],
    ) -> None:
        self._session = session
        self._repository = repository
        self._path = f"/v2/{repository.name}"
        self._scopes = scopes
        self._holds = holds
        self._sent = sent
        self.fallback = Fallback(self, wait)

    def manifest(self, reference: Digest | str) -> Manifest | None:
        """The manifest or index with this digest or tag, or None."""
        if not isinstance(reference, Digest) and not is_tag(reference):
            return None
        call = self._manifest_call("GET", reference, f"read {self._repository}{_mark(reference)}", limit=MAX_MANIFEST)
        try:
            answer = self._session.once(call)
        except PassingError as error:
            # Distribution 2 answers so when it is asked for a layer as if it were a manifest
            if error.status == 500 and isinstance(reference, Digest) and self._holds(reference):
                return None
            self._session.pause(1, error)
            answer = self._session.ask(call, tries=1)
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise self._session.failure(call, answer)
        return check_received(f"{self._repository}{_mark(reference)}", answer, reference)

    def resolve(self, tag: str) -> Digest | None:
        """What a tag names, or None."""
        if not is_tag(tag):
            return None
        call = self._manifest_call("HEAD", tag, f"look for {self._repository}:{tag}")
        answer = self._session.ask(call)
        if answer.status == 404:
            return None
        if answer.status == 200 and (digest := digest_header(answer)) is not None:
            return digest
        if answer.status not in (200, 405):
            raise self._session.failure(call, answer)
        found = self.manifest(tag)
        return None if found is None else found.descriptor.digest

    def has_manifest(self, digest: Digest) -> bool:
        """Whether the manifest is there."""
        call = self._manifest_call("HEAD", digest, f"look for {digest}")
        answer = self._session.ask(call)
        if answer.status not in (200, 404):
            raise self._session.failure(call, answer)
        return answer.status == 200

    def put_manifest(self, descriptor: Descriptor, data: bytes, *, tag: str | None = None, move: bool = False) -> None:
        """See `Store.put_manifest`: a tag that may not move is looked up before it is set, and after it."""
        document = check_manifest(descriptor, data, tag)
        described = describe(document, data)
        before = self.resolve(tag) if tag is not None and not move else None
        if tag is not None and before is not None and before != described.digest:
            raise taken(tag, before, described.digest)
        subject = document.get("subject")
        if before == described.digest and subject is None:
            return
        answer = self.put(tag or described.digest, described.media_type, data)
        if subject is not None and "oci-subject" not in answer.headers:
            self.fallback.add(Digest(subject["digest"]), described)
        if tag is not None and not move:
            self._require_ours(tag, described.digest)

    def _require_ours(self, tag: str, digest: Digest) -> None:
        """Raise RefusedError when somebody else has set the tag at the same moment, and later."""
        after = self.resolve(tag)
        if after is None:
            raise StoreError(f"{self._repository}: the tag {tag!r} is gone right after it was set", hint="push again")
        if after != digest:
            raise taken(tag, after, digest)

    def put(self, reference: str, media_type: str, data: bytes) -> Answer:
        """Store a manifest under a tag or digest, as it is; the registry's answer."""
        what = f"store {self._repository}{_mark(reference)}"
        call = self._manifest_call("PUT", reference, what, media_type=media_type, body=data)
        tries = 0
        while True:
            answer = self._session.ask(call)
            self._sent(len(data))
            if answer.status in (200, 201, 202):
                break
            if not answer.codes & _MISSING:
                raise self._session.failure(call, answer)
            named = _named_digests(answer)
            failure = StoreError(
                f"{self._repository}: a manifest names {', '.join(named) or 'content'}, which is not there",
                hint="push again: what is missing is sent then",
            )
            # Distribution misses a blob for the moment in which somebody else, who sends it too, has it linked anew
            if not named or not all(self._is_there(one) for one in named):
                raise failure
            tries += 1
            self._session.pause(tries, PassingError(failure))
        digest = digest_header(answer)
        if digest is not None and digest != Digest.of(data):
            raise VerificationError(f"{self._repository}: {Digest.of(data)} was stored as {digest}")
        return answer

    def _is_there(self, digest: Digest) -> bool:
        return self._holds(digest) or self.has_manifest(digest)

    def _manifest_call(
        self,
        method: str,
        reference: str,
        what: str,
        *,
        media_type: str | None = None,
        body: bytes | None = None,
        limit: int = SMALL,
    ) -> Call:
        headers = {"Content-Type": media_type} if media_type else {"Accept": ", ".join(ACCEPTED)}
        return Call(method, f"{self._path}/manifests/{reference}", what, self._scopes, headers, body, limit=limit)


def _mark(reference: str) -> str:
    return f"@{reference}" if isinstance(reference, Digest) else f":{reference}"


def _named_digests(answer: Answer) -> list[Digest]:
    """The digests that the registry names in its refusal."""
    import re

    found = {text for error in answer.errors for text in re.findall(r"sha256:[0-9a-f]{64}", str(error))}
    return [Digest(text) for text in sorted(found)]
