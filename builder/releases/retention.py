"""What may be deleted, and why everything else stays: decided from facts alone, nothing is asked or touched here.

The unit is an image, by digest: deleting a digest deletes every tag on it, so that it goes only when all of them may.
What stays takes along whatever it needs: children, who refers to it, signatures by their tags. What nobody can tell
the purpose of stays, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final, Literal

from builder.content import Digest
from builder.releases.collected import begun, leftovers
from builder.releases.holdings import Facts, releases_of, tied_to
from builder.releases.record import is_record_tag
from builder.releases.stages import Stage, rollback_candidates, settled, stages_of
from builder.words import plural

__all__ = ["Decision", "Drop", "Verdict", "decide"]

_DAY: Final = 86_400.0  # seconds


@dataclass(frozen=True, slots=True)
class Verdict:
    """One thing that people know by name. What stays has `reasons`; a release without any goes."""

    kind: Literal["release", "stage", "tag"]
    name: str
    digest: Digest
    reasons: tuple[str, ...] = ()
    time: str = ""


@dataclass(frozen=True, slots=True)
class Drop:
    """An image that goes, under `versions`: `manifests` in the order to delete them in, and the tags that go along.

    Without `digest` it is what a run that was cut off left. `size`: bytes that nothing else needs.
    """

    versions: tuple[str, ...]
    digest: Digest | None
    manifests: tuple[Digest, ...]
    tags: tuple[str, ...] = ()
    size: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """All of it: what is known by name, what goes (the oldest first), and the manifests that stay."""

    verdicts: tuple[Verdict, ...]
    drops: tuple[Drop, ...]
    keep: frozenset[Digest]

    @property
    def size(self) -> int:
        """Bytes that go."""
        return sum(drop.size for drop in self.drops)


def decide(facts: Facts) -> Decision:
    """What goes and what stays. Nothing goes but releases of the journal, and what belongs to one."""
    deciding = _Reasons(facts)
    deciding.collect()
    return _Consequences(facts, deciding).decision()


def _ago(time: str, now: float) -> str:
    days = int((now - _seconds(time)) / _DAY)
    return "today" if days < 1 else f"{plural(days, 'day')} ago"


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).replace(tzinfo=UTC).timestamp()


@dataclass
class _Reasons:
    """Why things stay: `why` by digest; `others` are tags and stages, as they are shown."""

    facts: Facts
    why: dict[Digest, list[str]] = field(default_factory=dict)
    others: list[Verdict] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.releases = releases_of(self.facts.journal)
        self.versions = {one.version for one in self.releases}
        self.begun = begun(self.facts.journal)

    def collect(self) -> None:
        """All of them."""
        self._stages()
        self._newest()
        self._tags()

    def say(self, digest: Digest | None, reason: str) -> None:
        """One reason more for `digest`."""
        if digest is not None and reason not in (said := self.why.setdefault(digest, [])):
            said.append(reason)

    def is_here(self, digest: Digest) -> bool:
        """Whether it is there, or was until a clean-up of ours began with it."""
        return digest in self.facts.nodes or digest in self.begun

    def _is_recent(self, time: str) -> bool:
        return self.facts.now - _seconds(time) < self.facts.policy.keep_days * _DAY

    def _stages(self) -> None:
        known = stages_of(self.facts.journal)
        for name in sorted(self.facts.stages | known.keys()):
            tag = self.facts.tags.get(name)
            if tag is not None:
                self.say(tag, f"{name} has it")
                self.others.append(Verdict("stage", name, tag, ("it is a stage",)))
            if name in known:
                self._moves(known[name], tag)
        for entry in self.facts.journal.entries:
            event = entry.event
            if event.kind == "approve" and self._is_recent(entry.time):
                self.say(event.digest, f"{event.by} approved it for {event.stage} {_ago(entry.time, self.facts.now)}")

    def _moves(self, stage: Stage, tag: Digest | None) -> None:
        """What a stage had and can have again."""
        policy, name = self.facts.policy, stage.name
        for move in stage.pending:
            self.say(move.digest, f"a {move.entry.event.kind} to {name} is under way, or was cut off")
            self.say(move.entry.event.previous, f"{name} goes back to it when what is under way fails")
        sure = settled(stage, tag)
        if sure.current is not None:
            if sure.current.digest != tag:
                self.say(sure.current.digest, f"{name} has it, as the journal says")
            self.say(sure.current.entry.event.previous, f"{name} had it just before")
        for move in rollback_candidates(sure, tag)[: policy.keep]:
            self.say(move.digest, f"{name} can go back to it")
        happened = [move for move in sure.moves if move.happened]
        good = dict.fromkeys(move.digest for move in reversed(happened) if move.was_good)
        for digest in list(good)[: policy.keep]:
            self.say(digest, f"one of the last {policy.keep} that were well in {name}")
        for move, following in pairwise(happened):
            if self._is_recent(following.entry.time):
                self.say(move.digest, f"{name} had it until {_ago(following.entry.time, self.facts.now)}")

    def _newest(self) -> None:
        policy, now = self.facts.policy, self.facts.now
        there = dict.fromkeys(one.digest for one in reversed(self.releases) if one.digest in self.facts.nodes)
        for digest in list(there)[: policy.keep]:
            self.say(digest, f"one of the newest {policy.keep}")
        for one in self.releases:
            if not self.is_here(one.digest):
                self.say(one.digest, "its image is gone, and no clean-up of lockship's took it")
            elif self._is_recent(one.time):
                self.say(one.digest, f"released {_ago(one.time, now)}: less than {policy.keep_days:g} days")

    def _tags(self) -> None:
        """Tags that are no release's or stage's, nor of what belongs to one: nobody here knows what they are for."""
        released = {(one.version, one.digest) for one in self.releases}
        known = self.facts.stages | stages_of(self.facts.journal).keys()
        for tag, digest in sorted(self.facts.tags.items()):
            if digest is None or tag in known or (tag, digest) in released:
                continue
            about = tied_to(tag, self.versions)
            if isinstance(about, frozenset) or (about is not None and self.is_here(about)):
                continue
            self.say(digest, f"the tag {tag} names it")
            self.others.append(Verdict("tag", tag, digest, (self._stranger(tag, digest),)))

    def _stranger(self, tag: str, digest: Digest) -> str:
        if tag in self.versions:
            return f"somebody moved it: it is not what was released as {tag}"
        if is_record_tag(tag):
            node = self.facts.nodes.get(digest)
            self.say(node.subject if node else None, f"the record {tag} is about it")
            return "the journal doesn't know that release: it is being made, or was cut off"
        return "no release, stage or part of one: lockship leaves it alone"


class _Consequences:
    """What follows: what is needed by what stays, and in which order the rest goes."""

    def __init__(self, facts: Facts, reasons: _Reasons) -> None:
        self._facts = facts
        self._reasons = reasons
        self._releases = reasons.releases
        self._ties = {tag: tied_to(tag, reasons.versions) for tag in facts.tags}
        self._signatures: dict[Digest, list[str]] = {}
        for tag, about in sorted(self._ties.items()):
            if isinstance(about, Digest):
                self._signatures.setdefault(about, []).append(tag)
        self._beside_of: dict[str, list[str]] = {}
        for tag, about in self._ties.items():
            for version in about if isinstance(about, frozenset) else ():
                self._beside_of.setdefault(version, []).append(tag)
        self._staying = {one.version for one in self._releases if one.digest in reasons.why}

    def decision(self) -> Decision:
        """All of it."""
        keep = self._closure([*self._reasons.why, *self._untagged(), *self._beside()])
        for one in self._releases:
            if one.digest in keep and one.digest not in self._reasons.why:
                self._reasons.say(one.digest, "something that stays needs it")
        drops = self._drops(keep)
        going = {drop.digest for drop in drops}
        verdicts = [
            Verdict("release", one.version, one.digest, tuple(self._reasons.why.get(one.digest, ())), one.time)
            for one in self._releases
            if one.digest in going or one.digest in self._reasons.why
        ]
        return Decision((*verdicts, *self._reasons.others), drops, keep)

    # what stays

    def _untagged(self) -> Iterator[Digest]:
        """What a layout lists without a tag: it stays, unless it is about something, or is a release's."""
        ours = {one.digest for one in self._releases} | self._reasons.begun | {*leftovers(self._facts.journal)}
        for digest in sorted(self._facts.listed - ours):
            node = self._facts.nodes.get(digest)
            if node is not None and (node.subject is None or not self._reasons.is_here(node.subject)):
                yield digest

    def _beside(self) -> Iterator[Digest]:
        """Records and models of versions that stay, whatever they say that they are about."""
        for tag, about in self._ties.items():
            digest = self._facts.tags[tag]
            if digest is not None and isinstance(about, frozenset) and about & self._staying:
                yield digest

    def _next(self, digest: Digest) -> Iterator[Digest]:
        """What goes where `digest` goes, unless something else needs it; children last."""
        for tag in self._signatures.get(digest, ()):
            if (found := self._facts.tags[tag]) is not None:
                yield found
        yield from self._facts.referrers.get(digest, ())
        if (node := self._facts.nodes.get(digest)) is not None:
            yield from node.children

    def _closure(self, roots: Iterable[Digest]) -> frozenset[Digest]:
        found: set[Digest] = set()
        waiting = [*roots]
        while waiting:
            digest = waiting.pop()
            if digest not in found:
                found.add(digest)
                waiting += self._next(digest)
        return frozenset(found)

    # what goes

    def _order(self, digest: Digest, seen: set[Digest]) -> Iterator[Digest]:
        """Who refers to it before it, it before its children: wherever it is cut off, nothing stays that is half."""
        if digest in seen:
            return
        seen.add(digest)
        node = self._facts.nodes.get(digest)
        children = node.children if node else ()
        for one in self._next(digest):
            if one not in children:
                yield from self._order(one, seen)
        yield digest
        for child in children:
            yield from self._order(child, seen)

    def _drops(self, keep: frozenset[Digest]) -> tuple[Drop, ...]:
        """The oldest first; what two of them need goes with the last."""
        orders: dict[Digest, dict[Digest, None]] = {}
        home: dict[Digest, Digest] = {}
        for one in self._releases:
            if one.digest in keep or one.digest in orders:
                continue
            orders[one.digest] = dict.fromkeys(found for found in self._order(one.digest, set()) if found not in keep)
            for found in orders[one.digest]:
                if (before := home.get(found)) is not None:
                    del orders[before][found]
                home[found] = one.digest
        blobs = {blob for digest in keep if (node := self._facts.nodes.get(digest)) for blob, _ in node.blobs}
        drops = [self._drop(digest, order, keep, blobs) for digest, order in orders.items()]
        left = [one for one in leftovers(self._facts.journal) if one not in keep and one not in home]
        drops.append(self._drop(None, dict.fromkeys(left), keep, blobs))
        return tuple(drop for drop in drops if drop.manifests or drop.tags)

    def _drop(
        self, digest: Digest | None, order: Mapping[Digest, None], keep: frozenset[Digest], counted: set[Digest]
    ) -> Drop:
        versions = frozenset(one.version for one in self._releases if one.digest == digest)
        beside, tags = [], [tag for found in order for tag in self._signatures.get(found, ())]
        for tag in self._tags_of(versions, digest):
            named = self._facts.tags[tag]
            node = self._facts.nodes.get(named) if named is not None else None
            if named is None or named in order:
                tags.append(tag)
            elif named not in keep and node is not None and (node.subject is None or node.subject in order):
                tags.append(tag)
                beside.append(named)
        there = tuple(one for one in dict.fromkeys([*beside, *order]) if one in self._facts.nodes)
        return Drop(tuple(sorted(versions)), digest, there, tuple(dict.fromkeys(tags)), self._size(there, counted))

    def _tags_of(self, versions: frozenset[str], digest: Digest | None) -> Iterator[str]:
        """Tags of the versions, their records and models."""
        for version in sorted(versions):
            if self._facts.tags.get(version) == digest:
                yield version
            for tag in self._beside_of.get(version, ()):
                about = self._ties[tag]
                if isinstance(about, frozenset) and not about & self._staying:
                    yield tag

    def _size(self, manifests: Iterable[Digest], counted: set[Digest]) -> int:
        """Bytes of `manifests` and of their blobs, but for those that were `counted`; they are, now."""
        size = 0
        for digest in manifests:
            node = self._facts.nodes[digest]
            size += node.size
            for blob, length in node.blobs:
                if blob not in counted:
                    counted.add(blob)
                    size += length
        return size
