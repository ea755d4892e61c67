"""Who refers to a manifest: the registry's own list, or the fallback tag where it keeps none.

After the OCI distribution specification v1.1, "Listing Referrers" and "Referrers Tag Schema".
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any, Final, Protocol

from builder.content import MEDIA_INDEX, Descriptor, Digest
from builder.errors import StoreError
from builder.registry.manifests import is_descriptor, parse_manifest, referrers_index, to_descriptor
from builder.registry.store import Manifest

__all__ = ["Fallback", "Tags", "fallback_tag", "is_fallback_tag", "read_entries"]

_TRIES: Final = 8  # how often the fallback tag is written before somebody else is too quick for us

Entries = list[dict[str, Any]]


class Tags(Protocol):
    """What the fallback needs of a repository."""

    def manifest(self, reference: Digest | str) -> Manifest | None:
        """The manifest with this digest or tag."""

    def resolve(self, tag: str) -> Digest | None:
        """What a tag names."""

    def has_manifest(self, digest: Digest) -> bool:
        """Whether the manifest is there."""

    def put(self, reference: str, media_type: str, data: bytes) -> object:
        """Store a manifest under a tag or digest."""


def fallback_tag(subject: Digest) -> str:
    """The tag under which referrers of `subject` are listed."""
    return f"sha256-{subject.hex}"


def is_fallback_tag(tag: str) -> bool:
    """Whether a tag is such a list, and nothing that people gave."""
    return re.fullmatch(r"sha256-[0-9a-f]{64}", tag) is not None


def read_entries(data: bytes) -> Entries | None:
    """The entries of a referrers list, or None when `data` is none."""
    document = parse_manifest(data)
    if document is None or not isinstance(document.get("manifests"), list):
        return None
    return [entry for entry in document["manifests"] if is_descriptor(entry)]


class Fallback:
    """The lists under fallback tags. A registry has no compare-and-swap: what was written is read again.

    Two writers in the same instant may still lose an entry; putting the referrer again brings it back.
    """

    def __init__(self, store: Tags, wait: Callable[[int], None]) -> None:
        self._store = store
        self._wait = wait
        self._lock = threading.Lock()

    def list(self, subject: Digest) -> tuple[Descriptor, ...]:
        """The referrers of `subject` that its tag lists."""
        return tuple(to_descriptor(entry) for entry in self._read(subject)[1])

    def add(self, subject: Digest, referrer: Descriptor) -> None:
        """List `referrer`, unless it is."""
        entry = referrer.to_json()

        def change(entries: Entries) -> Entries:
            return [one for one in entries if one["digest"] != referrer.digest] + [entry]

        self._update(subject, change, lambda entries: any(one["digest"] == referrer.digest for one in entries))

    def remove(self, subject: Digest, referrer: Digest) -> None:
        """No longer list `referrer`."""

        def change(entries: Entries) -> Entries:
            return [one for one in entries if one["digest"] != referrer]

        self._update(subject, change, lambda entries: all(one["digest"] != referrer for one in entries))

    def _read(self, subject: Digest) -> tuple[Digest | None, Entries]:
        found = self._store.manifest(fallback_tag(subject))
        if found is None:
            return None, []
        entries = read_entries(found.data)
        if entries is None:
            raise StoreError(
                f"the tag {fallback_tag(subject)} is no list of referrers",
                hint="tags of that form are reserved for them (OCI distribution specification): delete it",
            )
        return found.descriptor.digest, entries

    def _update(self, subject: Digest, change: Callable[[Entries], Entries], done: Callable[[Entries], bool]) -> None:
        tag = fallback_tag(subject)
        with self._lock:
            for number in range(_TRIES):
                before, entries = self._read(subject)
                if done(entries):
                    return
                # somebody may have written since: the nearer this is to our own writing, the smaller the gap
                if self._store.resolve(tag) == before:
                    self._write(tag, change(entries))
                    if done(self._read(subject)[1]):
                        return
                self._wait(number + 1)
        raise StoreError(
            f"the list of what refers to {subject} changes all the time: others write to it",
            hint="run the same command again",
        )

    def _write(self, tag: str, entries: Entries) -> None:
        try:
            self._store.put(tag, MEDIA_INDEX, referrers_index(entries))
        except StoreError:
            # a registry that looks refuses a list with what was deleted behind its back
            left = [entry for entry in entries if self._store.has_manifest(Digest(entry["digest"]))]
            if left == entries:
                raise
            self._store.put(tag, MEDIA_INDEX, referrers_index(left))
