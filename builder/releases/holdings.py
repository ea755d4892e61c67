"""What a store holds, as values: manifests and what they name, tags and what they are for, releases, a policy."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any, Final

from builder.content import Digest
from builder.releases.journal import Journal
from builder.releases.record import is_record_tag

__all__ = ["Facts", "Node", "Policy", "Release", "node_of", "releases_of", "tied_to"]

_OF_DIGEST: Final = re.compile(r"sha256-([0-9a-f]{64})\.(?:sig|att|sbom)")  # cosign's "Tag-based Discovery"
_MODEL: Final = ".onnx"
_RECORD: Final = ".release"


@dataclass(frozen=True, slots=True)
class Policy:
    """`keep` releases, the newest, and so many that a stage can go back to; each for `keep_days` at least."""

    keep: int = 10
    keep_days: float = 90


@dataclass(frozen=True, slots=True)
class Node:
    """A manifest that is there, of `size` bytes: the manifests it names, its blobs with their sizes, its subject."""

    digest: Digest
    size: int
    children: tuple[Digest, ...] = ()
    blobs: tuple[tuple[Digest, int], ...] = ()
    subject: Digest | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """A store at one moment.

    `tags` are all but the journal's; None is one whose name ties it to something and that was not asked for.
    `stages` are names of stages. `listed` stand in a layout without a tag. `now` is in seconds since 1970.
    """

    journal: Journal
    tags: Mapping[str, Digest | None]
    nodes: Mapping[Digest, Node]
    referrers: Mapping[Digest, tuple[Digest, ...]]
    stages: frozenset[str]
    policy: Policy
    now: float
    listed: frozenset[Digest] = frozenset()


@dataclass(frozen=True, slots=True)
class Release:
    """A release as the journal has it; `time` is RFC 3339, never before what was written before it."""

    version: str
    digest: Digest
    time: str


def node_of(digest: Digest, size: int, document: Mapping[str, Any]) -> Node:
    """The node of a manifest's document, which `parse_manifest` has checked."""
    config, subject = document.get("config"), document.get("subject")
    parts = {part["digest"]: part["size"] for part in [*([config] if config else []), *document.get("layers", [])]}
    return Node(
        digest,
        size,
        tuple(dict.fromkeys(Digest(child["digest"]) for child in document.get("manifests", []))),
        tuple((Digest(one), length) for one, length in parts.items()),
        Digest(subject["digest"]) if subject else None,
    )


def releases_of(journal: Journal) -> tuple[Release, ...]:
    """Every release, the oldest first; one that was made again counts from then."""
    found: dict[tuple[str, Digest], Release] = {}
    for entry in journal.entries:
        event = entry.event
        if event.kind == "release" and event.version and event.digest:
            found.pop((event.version, event.digest), None)
            found[event.version, event.digest] = Release(event.version, event.digest, entry.time)
    return tuple(found.values())


def tied_to(tag: str, versions: Container[str]) -> frozenset[str] | Digest | None:
    """What a tag belongs to by its name: a manifest whose signatures it holds, or versions (a record's, a model's).

    None for a name that says nothing of the kind, and for one that speaks of no version among `versions`.
    """
    if found := _OF_DIGEST.fullmatch(tag):
        return Digest.from_hex(found[1])
    if is_record_tag(tag):
        version = tag.removesuffix(_RECORD)
        return frozenset([version]) if version in versions else None
    if not tag.endswith(_MODEL):
        return None
    # "1.0.1.churn.onnx" may be of 1.0 as well as of 1.0.1: then it stays with either
    parts = tag.removesuffix(_MODEL).split(".")
    heads = (".".join(parts[:end]) for end in range(1, len(parts)))
    return frozenset(head for head in heads if head in versions) or None
