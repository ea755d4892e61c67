"""``python -m bench.collect``: clean-ups of 100, 300 and 1,000 releases and a history of 10,000 entries, as Markdown.

The stores are written straight to the disk, as the same content would lie there had it been pushed: a small one is
pushed as well, through the ordinary client, and compared file by file before anything is measured. The registry is
Debian's ``docker-registry`` on this machine, its deletions switched on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from builder.content import (
    MEDIA_CONFIG,
    MEDIA_INDEX,
    MEDIA_LAYER_GZIP,
    MEDIA_MANIFEST,
    Descriptor,
    Digest,
    canonical_json,
)
from builder.registry.artifact import EMPTY, Artifact, File, artifact
from builder.registry.layout import Layout
from builder.registry.manifests import describe, parse_manifest, referrers_index
from builder.registry.store import Store
from builder.releases.chronicle import _LINES as LINES
from builder.releases.chronicle import _PACK_TAG as PACK_TAG
from builder.releases.chronicle import _PACK_TYPE as PACK_TYPE
from builder.releases.chronicle import PACK
from builder.releases.events import Event
from builder.releases.journal import entry_artifact, entry_tag
from builder.releases.page import page
from builder.releases.record import Record, record_artifact, record_tag
from builder.releases.signing import signature_tag

_DAY = 86_400.0
_EVIDENCE = ("application/vnd.cyclonedx+json", "application/vnd.in-toto+json", "application/vnd.lockship.lock.v1")


@dataclass
class Content:
    """What a store is to hold; manifests in the order to push them in, with their tags."""

    blobs: dict[Digest, bytes] = field(default_factory=dict)
    manifests: dict[Digest, bytes] = field(default_factory=dict)
    tags: dict[str, Digest] = field(default_factory=dict)
    heads: tuple[Digest, ...] = ()
    lines: list[bytes] = field(default_factory=list)

    def blob(self, data: bytes, kind: str = MEDIA_LAYER_GZIP) -> Descriptor:
        """Add a blob."""
        descriptor = Descriptor(kind, Digest.of(data), len(data))
        self.blobs[descriptor.digest] = data
        return descriptor

    def manifest(self, document: Mapping[str, Any], tag: str | None = None) -> Descriptor:
        """Add a manifest."""
        data = canonical_json(document)
        self.manifests[Digest.of(data)] = data
        if tag is not None:
            self.tags[tag] = Digest.of(data)
        return Descriptor(document["mediaType"], Digest.of(data), len(data))

    def artifact(self, made: Artifact, tag: str | None = None) -> Descriptor:
        """Add a small artifact."""
        self.blobs[EMPTY.digest] = b"{}"
        for file in made.files:
            self.blobs[file.descriptor.digest] = file.data
        self.manifests[made.descriptor.digest] = made.manifest
        if tag is not None:
            self.tags[tag] = made.descriptor.digest
        return made.descriptor

    def journal(self, event: Event) -> Digest:
        """Add an entry behind the last."""
        made = entry_artifact(event, self.heads)
        self.artifact(made, entry_tag(event, made.descriptor.digest))
        self.heads = (made.descriptor.digest,)
        self.lines.append(made.manifest)
        if len(self.lines) == PACK:  # as `lockship release` does it
            packed = artifact(PACK_TYPE, [File(LINES, "application/jsonl", b"".join(f + b"\n" for f in self.lines))])
            self.artifact(packed, f"{PACK_TAG}{packed.descriptor.digest.hex}")
            self.lines.clear()
        return made.descriptor.digest


def content(releases: int, entries: int, *, signed: bool) -> Content:
    """`releases`, one a day, the last 100 days ago, each promoted to staging; about `entries` in the journal."""
    made = Content()
    base = made.blob(b"the base image" * 1000)
    begun = time.time() - (100 + releases) * _DAY
    had: Digest | None = None
    for number in range(releases):
        index = _release(made, f"1.{number}.0", base, signed=signed)
        when = begun + number * _DAY
        made.journal(Event("release", _stamp(when), "ci", version=f"1.{number}.0", digest=index, notes={"steps": {}}))
        rounds = max(1, -(-(entries - releases) // (2 * releases)))
        for _ in range(rounds):
            _promote(made, "staging", f"1.{number}.0", index, had, when + 60)
            had = index
    made.tags |= {"staging": made.tags[f"1.{releases - 1}.0"]}
    return made


def _promote(made: Content, stage: str, version: str, index: Digest, had: Digest | None, when: float) -> None:
    event = Event("promote", _stamp(when), "ci", stage=stage, version=version, digest=index, previous=had)
    action = made.journal(event)
    made.journal(Event("moved", _stamp(when + 1), "ci", stage=stage, of=action))


def _release(made: Content, version: str, base: Descriptor, *, signed: bool) -> Digest:
    """An image for one platform of two layers, its record, SBOM, provenance and lock, and signatures of all of it."""
    layer = made.blob(f"code of {version}".encode() * 200)
    config = made.blob(canonical_json({"os": "linux", "architecture": "amd64", "version": version}), MEDIA_CONFIG)
    parts = {"config": config.to_json(), "layers": [base.to_json(), layer.to_json()]}
    image = made.manifest({"schemaVersion": 2, "mediaType": MEDIA_MANIFEST, **parts})
    children = [{**image.to_json(), "platform": {"os": "linux", "architecture": "amd64"}}]
    index = made.manifest({"schemaVersion": 2, "mediaType": MEDIA_INDEX, "manifests": children}, version)
    record = Record(
        name="churn", version=version, index=index.digest, media_type=index.media_type, size=index.size,
        images={"linux/amd64": str(image.digest)}, by="ci", at="2026-01-01T00:00:00Z", tool="lockship",
    )  # fmt: skip
    subjects = [index, made.artifact(record_artifact(record, page(record)), record_tag(version))]
    for kind in _EVIDENCE:
        file = File("evidence.json", kind, canonical_json({"about": version, "kind": kind, "text": "x" * 2000}))
        subjects.append(made.artifact(artifact(kind, [file], subject=index)))
    for one in subjects if signed else ():
        kind = "application/vnd.dev.cosign.simplesigning.v1+json"
        text = File("", kind, str(one.digest).encode())
        made.artifact(artifact("application/vnd.example", [text]), signature_tag(one.digest))
    return index.digest


def _stamp(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# three ways to a store


def push(made: Content, store: Store) -> None:
    """As anybody does."""
    tags: dict[Digest, list[str]] = {}
    for tag, digest in made.tags.items():
        tags.setdefault(digest, []).append(tag)
    for digest, data in made.blobs.items():
        store.write_blob(Descriptor("application/octet-stream", digest, len(data)), [data])
    for digest, data in made.manifests.items():
        document = parse_manifest(data)
        assert document is not None
        names: Sequence[str | None] = tags.get(digest) or [None]
        for name in names:
            store.put_manifest(describe(document, data), data, tag=name)


def write_layout(made: Content, folder: Path) -> None:
    """Straight to the disk."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for digest, data in {**made.blobs, **made.manifests}.items():
        (blobs / digest.hex).write_bytes(data)
        (blobs / digest.hex).chmod(0o444)
    entries = []
    named = set(made.tags.values())
    for tag, digest in made.tags.items():
        entry = _described(made, digest)
        entries.append(
            entry | {"annotations": {**entry.get("annotations", {}), "org.opencontainers.image.ref.name": tag}}
        )
    for digest, data in made.manifests.items():
        if digest not in named and "subject" in json.loads(data):
            entries.append(_described(made, digest))
    entries.sort(
        key=lambda one: (one.get("annotations", {}).get("org.opencontainers.image.ref.name", ""), one["digest"])
    )
    index = {"schemaVersion": 2, "mediaType": MEDIA_INDEX, "manifests": entries}
    (folder / "index.json").write_bytes(canonical_json(index))
    (folder / "oci-layout").write_bytes(canonical_json({"imageLayoutVersion": "1.0.0"}))
    (folder / ".tmp").mkdir()


def write_registry(made: Content, storage: Path, name: str) -> None:
    """Straight into the storage of Distribution 2: blobs, and links to them from the repository."""
    root = storage / "docker/registry/v2"
    repository = root / "repositories" / name
    tags, manifests = dict(made.tags), dict(made.manifests)
    for subject, entries in _lists(made).items():
        data = referrers_index(entries)
        manifests[Digest.of(data)] = data
        tags[f"sha256-{subject.hex}"] = Digest.of(data)
    for digest, data in {**made.blobs, **manifests}.items():
        _write(root / "blobs/sha256" / digest.hex[:2] / digest.hex / "data", data)
    for digest in made.blobs:
        _write(repository / "_layers/sha256" / digest.hex / "link", digest.encode())
    for digest in manifests:
        _write(repository / "_manifests/revisions/sha256" / digest.hex / "link", digest.encode())
    for tag, digest in tags.items():
        _write(repository / "_manifests/tags" / tag / "current/link", digest.encode())
        _write(repository / "_manifests/tags" / tag / "index/sha256" / digest.hex / "link", digest.encode())


def _lists(made: Content) -> dict[Digest, list[dict[str, Any]]]:
    found: dict[Digest, list[dict[str, Any]]] = {}
    for digest, data in made.manifests.items():
        if (subject := json.loads(data).get("subject")) is not None:
            found.setdefault(Digest(subject["digest"]), []).append(_described(made, digest))
    return found


def _described(made: Content, digest: Digest) -> dict[str, Any]:
    document = parse_manifest(made.manifests[digest])
    assert document is not None
    return describe(document, made.manifests[digest]).to_json()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def files(folder: Path) -> dict[str, bytes]:
    """All files below `folder` but locks, as far as they count."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".") and "_uploads" not in path.parts
    }


def require_same(folder: Path) -> str:
    """Raise when writing and pushing don't come to the same; how many files were compared, in words."""
    from tests.registry.conftest import open_registry
    from tests.support.registry import serve_registry

    made = content(3, 0, signed=True)
    write_layout(made, folder / "written")
    push(made, Layout(folder / "pushed"))
    counts = []
    left, right = files(folder / "written"), files(folder / "pushed")
    assert left == right, left.keys() ^ right.keys()
    counts.append(len(left))
    write_registry(made, folder / "storage", "ml/churn")
    with serve_registry(folder / "server") as server, open_registry(server, "ml/churn") as opened:
        push(made, opened)
        inner = "docker/registry/v2/repositories/ml/churn"
        left, right = files(folder / "storage" / inner), files(server.folder / "storage" / inner)
    # a list of referrers grows with each push: its former states are left behind, and nothing names them
    missing = {name for name in left if right.get(name) != left[name]}
    more = {
        name for name in right.keys() - left.keys() if "/tags/sha256-" not in f"/{name}" and "revisions" not in name
    }
    assert not missing and not more, (sorted(missing)[:3], sorted(more)[:3])
    counts.append(len(left))
    return f"{counts[0]} files of a layout and {counts[1]} of a registry are as pushing leaves them"


# what is measured


@dataclass(frozen=True)
class Took:
    """One run of the command line: seconds of the whole process, and its document."""

    seconds: float
    document: dict[str, Any]


def call(environ: Mapping[str, str], *words: str) -> Took:
    """Run lockship."""
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "builder", *words, "--json"], env=environ, capture_output=True, text=True, check=False
    )
    seconds = time.monotonic() - begun
    if done.returncode:
        raise SystemExit(f"lockship {' '.join(words)}: exit {done.returncode}\n{done.stderr}")
    return Took(seconds, json.loads(done.stdout))


def rounds(where: str, environ: Mapping[str, str], size: int, *, everything: bool) -> Iterator[tuple[str, Took]]:
    """The first look, another, a clean-up of the ten oldest, and with `everything` one of all that may go."""
    target = ("--repository", where)
    yield "first look", call(environ, "gc", *target)
    yield "another look", call(environ, "gc", *target)
    yield "--apply, ten go", call(environ, "gc", *target, "--keep", str(size - 10), "--apply", "--yes")
    if everything:
        yield "--apply, all go", call(environ, "gc", *target, "--apply", "--yes")


def main(arguments: Sequence[str]) -> None:
    """Measure, print."""
    from tests.support.registry import serve_registry

    parser = argparse.ArgumentParser(prog="bench.collect", description=__doc__)
    parser.add_argument("--sizes", default="100,300,1000", help="numbers of releases [default: 100,300,1000]")
    parser.add_argument("--entries", type=int, default=10_000, help="entries of the long journal [default: 10000]")
    parser.add_argument("--signed", action="store_true", help="with five signatures for each release")
    options = parser.parse_args(arguments)
    print("| store | releases | tags | gone | step | seconds | requests |\n|---|--:|--:|--:|---|--:|--:|")
    with tempfile.TemporaryDirectory(prefix="lockship-bench-") as name:
        folder = Path(name)
        compared = require_same(folder / "same")
        for size in map(int, options.sizes.split(",")):
            made = content(size, 3 * size, signed=options.signed)
            here = folder / str(size)
            write_layout(made, here / "layout")
            environ = {**os.environ, "LOCKSHIP_CACHE": str(here / "cache")}
            report("layout", size, made, rounds(f"oci:{here / 'layout'}", environ, size, everything=True))
            write_registry(made, here / "server/storage", "ml/churn")
            with serve_registry(here / "server") as server:
                # Distribution reads all tags for each deletion: beyond a hundred releases that is all one would measure
                some = rounds(f"{server.host}/ml/churn", environ, size, everything=size <= 100)
                report("registry", size, made, some)
        print(f"\n{compared}.\n\n| store | entries | step | seconds |\n|---|--:|---|--:|")
        made = content(1000, options.entries, signed=False)
        count = sum(tag.startswith("journal.") for tag in made.tags)
        environ = {**os.environ, "LOCKSHIP_CACHE": str(folder / "history-cache")}
        write_layout(made, folder / "long")
        write_registry(made, folder / "server/storage", "ml/churn")
        with serve_registry(folder / "server") as server:
            for store, where in (("layout", f"oci:{folder / 'long'}"), ("registry", f"{server.host}/ml/churn")):
                for step in ("first history", "another"):
                    took = call(environ, "history", "--repository", where)
                    print(f"| {store} | {count:,} | {step} | {took.seconds:.1f} |", flush=True)


def report(store: str, size: int, made: Content, found: Iterator[tuple[str, Took]]) -> None:
    """Lines of the table."""
    for step, took in found:
        gone = sum(len(one["versions"]) for one in took.document["goes"])
        requests = took.document["requests"]
        row = (store, f"{size:,}", f"{len(made.tags):,}", str(gone), step, f"{took.seconds:.1f}", f"{requests:,}")
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
