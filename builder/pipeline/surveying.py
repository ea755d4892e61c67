"""What a store holds, read with few requests: for decisions on what may go.

A registry is asked once for each tag that people may have moved, once for each image's list of referrers, and for
manifests that this machine hasn't read before: manifests never change. Tags that say themselves what they belong to
(records, models, signatures) are asked for only when something is to be deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from builder.content import Digest
from builder.parallel import Stop, each
from builder.pipeline.targets import Target
from builder.registry.client import Registry
from builder.registry.layout import Layout
from builder.registry.manifests import parse_manifest
from builder.registry.referrers import fallback_tag, read_entries
from builder.registry.store import Manifest, Store
from builder.releases.chronicle import Memory, read_journal
from builder.releases.collected import begun, finished, leftovers
from builder.releases.holdings import Facts, Node, Policy, node_of, releases_of, tied_to
from builder.releases.journal import Journal, is_journal_tag
from builder.releases.stages import stages_of

__all__ = ["Surveyor"]

_NEWLINE: Final = b"\n"


@dataclass
class Surveyor:
    """Reads `target`, and knows afterwards what it read; `stages` are names besides those of the journal.

    `lists` are the manifests in which a registry that keeps no lists of referrers has them, by subject.
    """

    target: Target
    policy: Policy
    stages: frozenset[str] = frozenset()
    nodes: dict[Digest, Node] = field(default_factory=dict)
    referrers: dict[Digest, tuple[Digest, ...]] = field(default_factory=dict)
    lists: dict[Digest, Digest] = field(default_factory=dict)
    _known: dict[Digest, bytes] = field(default_factory=dict)
    _fresh: list[bytes] = field(default_factory=list)
    _subjects: frozenset[Digest] | None = None
    _stop: Stop = field(default_factory=Stop)

    @property
    def memory(self) -> Memory:
        """Manifests that this machine read before."""
        file = self.target.memory.file
        return Memory(None if file is None else file.with_suffix(".manifests"))

    def survey(self, now: float) -> Facts:
        """Everything; raises VerificationError when the journal isn't whole, or a manifest is damaged."""
        store = self.target.store
        journal = read_journal(store, self.target.memory, stop=self._stop)
        journal.require_whole()
        facts = Facts(
            journal, {}, self.nodes, self.referrers, self.stages | stages_of(journal).keys(), self.policy, now
        )
        if isinstance(store, Layout):
            return self._layout(store, facts)
        self._known = self.memory.lines()
        self._subjects = store.listed_subjects() if isinstance(store, Registry) else None
        return self._registry(facts, {})

    def again(self, facts: Facts, now: float) -> Facts:
        """What changed since: the journal, tags that move, and tags that are new."""
        store = self.target.store
        journal = read_journal(store, self.target.memory, stop=self._stop)
        journal.require_whole()
        newer = replace(facts, journal=journal, now=now, stages=facts.stages | stages_of(journal).keys())
        if isinstance(store, Layout):
            return self._layout(store, newer)
        moving = newer.stages | {tag for tag in facts.tags if self._is_free(tag, journal)}
        return self._registry(newer, {tag: named for tag, named in facts.tags.items() if tag not in moving})

    def ask_tied(self, facts: Facts, gone: frozenset[Digest]) -> Facts:
        """The same with all tags asked for; manifests of those that go with `gone` are read, of others not."""
        names = [tag for tag, named in facts.tags.items() if named is None]
        versions = {one.version for one in releases_of(facts.journal)}
        going = {one.version for one in releases_of(facts.journal) if one.digest in gone}

        def goes(tag: str) -> bool:
            about = tied_to(tag, versions)
            return about in gone if isinstance(about, Digest) else bool(about and about & going)

        found = self._read_tags([tag for tag in names if goes(tag)], {})
        found |= self._resolve([tag for tag in names if not goes(tag)])
        return replace(facts, tags={**{tag: one for tag, one in facts.tags.items() if one is not None}, **found})

    def forget(self, gone: Iterable[Digest]) -> None:
        """These are no longer there."""
        for digest in gone:
            self.nodes.pop(digest, None)

    def remember(self, without: Iterable[Digest] = ()) -> None:
        """Keep what was read for the next time, but not what is gone."""
        gone = set(without)
        if not gone:
            self.memory.add(self._fresh)
        elif (file := self.memory.file) is not None:
            lines = [line for digest, line in self._known.items() if digest not in gone]
            _rewrite(file, lines)
        self._fresh = []

    # layouts

    def _layout(self, store: Layout, facts: Facts) -> Facts:
        """All is at hand: every manifest is read, so that every subject is known."""
        tags = {tag: named for tag, named in store.tags().items() if not is_journal_tag(tag)}
        ours = {entry.digest for entry in facts.journal.entries}
        self.nodes.clear()
        waiting = [*store.listed() - ours, *leftovers(facts.journal)]
        seen: set[Digest] = set()
        while waiting:
            digest = waiting.pop()
            if digest not in seen:
                seen.add(digest)
                if (found := store.manifest(digest)) is not None:
                    waiting += self._note(found).children
        referrers: dict[Digest, list[Digest]] = {}
        for digest in sorted(seen & self.nodes.keys()):
            if (subject := self.nodes[digest].subject) is not None:
                referrers.setdefault(subject, []).append(digest)
        self.referrers.clear()
        self.referrers |= {subject: tuple(found) for subject, found in referrers.items()}
        listed = store.listed() - set(tags.values()) - ours
        return replace(facts, tags=tags, listed=frozenset(one for one in listed if one in self.nodes))

    # registries

    def _registry(self, facts: Facts, assumed: Mapping[str, Digest | None]) -> Facts:
        store, journal = self.target.store, facts.journal
        names = [name for name in store.tag_names() if not is_journal_tag(name)]
        versions = {one.version for one in releases_of(journal)}
        tied = {name for name in names if tied_to(name, versions) is not None}
        tags: dict[str, Digest | None] = {name: assumed.get(name) for name in names}
        expected = {one.version: one.digest for one in releases_of(journal)}
        tags |= self._read_tags([name for name in names if name not in tied and name not in assumed], expected)
        over = finished(journal)
        asked = {one.digest for one in releases_of(journal)} - over | {*leftovers(journal)}
        self._read(sorted(asked - self.nodes.keys()), afresh=True)
        self._walk({*self.nodes, *(begun(journal) - over), *leftovers(journal)})
        here = self.nodes.keys() | begun(journal)
        strange = [name for name in tied if isinstance(about := tied_to(name, ()), Digest) and about not in here]
        tags |= self._read_tags([name for name in strange if tags[name] is None], {})
        return replace(facts, tags=tags)

    @staticmethod
    def _is_free(tag: str, journal: Journal) -> bool:
        """Whether a tag is neither a version nor part of one: people move it."""
        versions = {one.version for one in releases_of(journal)}
        return tag not in versions and tied_to(tag, versions) is None

    def _read_tags(self, names: Sequence[str], expected: Mapping[str, Digest]) -> dict[str, Digest | None]:
        """What tags name, with the manifests. Tags that are gone are not among them."""
        store = self.target.store

        def read(name: str) -> Digest | None:
            # where the manifest is likely to be known, its digest will do
            if expected.get(name) in self._known and (digest := store.resolve(name)) in self._known:
                self._recall(digest)
                return digest
            found = store.manifest(name)
            return None if found is None else self._note(found).digest

        found = each(names, read, self._stop, threads=store.parallel)
        return {name: digest for name, digest in zip(names, found, strict=True) if digest is not None}

    def _resolve(self, names: Sequence[str]) -> dict[str, Digest]:
        found = each(names, self.target.store.resolve, self._stop, threads=self.target.store.parallel)
        return {name: digest for name, digest in zip(names, found, strict=True) if digest is not None}

    def _read(self, digests: Sequence[Digest], *, afresh: bool = False) -> None:
        store: Store = self.target.store
        if not afresh:
            for digest in digests:
                if digest in self._known:
                    self._recall(digest)
        wanted = [digest for digest in digests if digest not in self.nodes]
        for found in each(wanted, store.manifest, self._stop, threads=store.parallel):
            if found is not None:
                self._note(found)

    def _walk(self, roots: set[Digest]) -> None:
        """Everything that `roots` lead to, and everything that refers to it."""
        asked = set(self.referrers)
        waiting = roots
        while waiting:
            children = {child for one in waiting if one in self.nodes for child in self.nodes[one].children}
            subjects = sorted(one for one in waiting if one not in asked)
            asked.update(subjects)
            found = each(subjects, self._referrers, self._stop, threads=self.target.store.parallel)
            self.referrers |= dict(zip(subjects, found, strict=True))
            new = children.union(*found) - asked
            self._read(sorted(new - self.nodes.keys()))
            waiting = new

    def _referrers(self, subject: Digest) -> tuple[Digest, ...]:
        store = self.target.store
        if self._subjects is None:
            return tuple(one.digest for one in store.referrers(subject))
        if subject not in self._subjects:
            return ()
        listed = store.manifest(fallback_tag(subject))
        if listed is None:
            return ()
        self.lists[subject] = listed.descriptor.digest
        return tuple(Digest(entry["digest"]) for entry in read_entries(listed.data) or ())

    def _note(self, found: Manifest) -> Node:
        digest, data = found.descriptor.digest, found.data
        document = parse_manifest(data)
        assert document is not None  # a store gives nothing else
        self.nodes[digest] = node_of(digest, len(data), document)
        if digest not in self._known and _NEWLINE not in data:
            self._known[digest] = data
            self._fresh.append(data)
        return self.nodes[digest]

    def _recall(self, digest: Digest) -> None:
        document = parse_manifest(self._known[digest])
        if document is not None:
            self.nodes[digest] = node_of(digest, len(self._known[digest]), document)


def _rewrite(file: Path, lines: Iterable[bytes]) -> None:
    from contextlib import suppress

    from builder.files import write_file

    with suppress(OSError):  # the next run reads it all again
        write_file(file, b"".join(line + _NEWLINE for line in lines))
