"""What is checked of a manifest that a registry sent, before anybody believes it."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from builder.content import Digest
from builder.errors import LockshipError, StoreError, VerificationError
from builder.registry.answers import Answer, plain_text
from builder.registry.manifests import ACCEPTED, describe, parse_manifest
from builder.registry.store import Manifest

__all__ = ["check_received", "digest_header"]

_TWISTED: Final = "the registry, or something on the way to it, changes what it sends: tell whoever runs it"


def digest_header(answer: Answer) -> Digest | None:
    """What ``Docker-Content-Digest`` says; None when it says nothing, or nothing that we could check."""
    try:
        return Digest(answer.headers.get("docker-content-digest", ""))
    except LockshipError:
        return None


def check_received(what: str, answer: Answer, reference: Digest | str) -> Manifest:
    """The manifest in `answer`, asked for by `reference`; `what` names it for people.

    Raises VerificationError where digest or media type are not what was asked for or said, StoreError for what is no
    manifest at all.
    """
    found = Digest.of(answer.data)
    document = parse_manifest(answer.data)
    if document is None:
        if isinstance(reference, Digest) and found != reference:
            raise VerificationError(f"{what} came as {found}", hint=_TWISTED)
        raise StoreError(
            f"{what} is nothing that can be run: it came as {answer.media_type or 'something without a type'}",
            hint="is that the address of a registry, and of an image in it?",
        )
    expected = reference if isinstance(reference, Digest) else digest_header(answer)
    if expected is not None and found != expected:
        raise VerificationError(f"{what} came as {found}, not {expected}", hint=_TWISTED)
    descriptor = describe(document, answer.data)
    said = document.get("mediaType")
    if answer.media_type in ACCEPTED or said is None:
        if said is not None and said != answer.media_type:
            raise VerificationError(
                f"{what} came as {answer.media_type} and calls itself {plain_text(str(said))}", hint=_TWISTED
            )
        if said is None and answer.media_type in ACCEPTED:
            descriptor = replace(descriptor, media_type=answer.media_type)
    elif answer.media_type:
        raise VerificationError(
            f"{what} came as {answer.media_type} and calls itself {plain_text(str(said))}", hint=_TWISTED
        )
    return Manifest(descriptor, answer.data)
