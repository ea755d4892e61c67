"""One page that says what a release is: its record, where it runs, what is attached, what it weighs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from builder.content import Descriptor
from builder.image.stored import read_release
from builder.pipeline.copying import missing
from builder.pipeline.targets import Target
from builder.releases.chronicle import read_journal
from builder.releases.page import page
from builder.releases.record import Record, read_record
from builder.releases.stages import settled, stages_of
from builder.words import human_size, plural

__all__ = ["Shown", "show"]


@dataclass(frozen=True, slots=True)
class Shown:
    """A record with what the store knows beside it.

    `stages` are those that have it now; `was_in` those that had it; `sizes` bytes and layers by platform.
    """

    record: Record
    stages: tuple[str, ...]
    was_in: tuple[str, ...]
    evidence: tuple[Descriptor, ...]
    sizes: Mapping[str, tuple[int, int]]
    approved: tuple[str, ...]

    def to_json(self) -> Mapping[str, Any]:
        """JSON values."""
        return {
            "release": self.record.to_json(),
            "stages": list(self.stages),
            "was_in": list(self.was_in),
            "evidence": [{"kind": one.artifact_type, "digest": one.digest, "size": one.size} for one in self.evidence],
            "sizes": {platform: {"bytes": size, "layers": count} for platform, (size, count) in self.sizes.items()},
            "approved": list(self.approved),
        }

    def lines(self) -> Iterator[str]:
        """For people."""
        yield page(self.record).rstrip()
        yield ""
        yield "## In the store"
        yield ""
        yield f"- Runs in: {', '.join(self.stages) or 'no stage'}"
        if self.was_in:
            yield f"- Was in: {', '.join(self.was_in)}"
        if self.approved:
            yield f"- Approved by: {', '.join(self.approved)}"
        for platform, (size, count) in self.sizes.items():
            yield f"- {platform}: {human_size(size)} in {plural(count, 'layer')}"
        for one in self.evidence:
            yield f"- Attached: {one.artifact_type} {one.digest}"


def show(target: Target, version: str) -> Shown:
    """All about the release `version` of `target`; raises StoreError when there is none."""
    read = read_record(target.store, version)
    if read is None:
        raise missing(target.store, version, target.name)
    record = read[0]
    journal = read_journal(target.store, target.memory)
    now, was = [], []
    for name, stage in stages_of(journal).items():
        tag = target.store.resolve(name)
        if tag == record.digest:
            now.append(name)
        elif any(move.digest == record.digest and move.happened for move in settled(stage, tag).moves):
            was.append(name)
    release = read_release(target.store, record.digest)
    sizes = {
        str(platform): (sum(part.size for part in image.parts), len(image.parts))
        for platform, image in (release.images.items() if release else ())
    }
    approved = [
        f"{one.event.by} ({one.event.stage}, {one.event.at})"
        for one in journal.entries
        if one.event.kind == "approve" and one.event.digest == record.digest
    ]
    evidence = target.store.referrers(record.digest)
    return Shown(record, tuple(now), tuple(was), evidence, sizes, tuple(approved))
