"""What stays and what goes: by rule, and in random histories, where nothing that is needed is ever lost."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from builder.content import Digest
from builder.errors import RefusedError
from builder.pipeline.collecting import collect, plan_collection
from builder.pipeline.wholeness import require_whole
from builder.registry.layout import Layout
from builder.releases.collected import begun, finished, leftovers, notes_of
from builder.releases.events import Event
from builder.releases.holdings import Facts, Node, Policy, tied_to
from builder.releases.journal import Journal, entry_artifact, parse_entry
from builder.releases.record import read_record
from builder.releases.retention import Decision, decide
from builder.releases.stages import rollback_candidates, settled, stages_of
from tests.support.releases import Yard, layout_yard

DAY = 86_400
START = 1_700_000_000.0


def digest(text: str) -> Digest:
    return Digest.of(text.encode())


def stamp(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Model:
    """A store that exists in thought alone: a journal, tags, manifests of one layer each."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.journal = Journal()
        self.tags: dict[str, Digest | None] = {}
        self.nodes: dict[Digest, Node] = {}
        self.referrers: dict[Digest, tuple[Digest, ...]] = {}
        self.policy = policy or Policy(2, 10)
        self.now = START

    def write(self, event: Event) -> Digest:
        entry = parse_entry(entry_artifact(event, self.journal.heads).manifest)
        self.journal = self.journal.with_entry(entry)
        return entry.digest

    def release(self, version: str, image: str | None = None, children: tuple[str, ...] = ()) -> Digest:
        made = digest(image or version)
        own = tuple(digest(child) for child in children)
        for child in own:
            self.nodes[child] = Node(child, 10, blobs=((digest(f"layer of {child}"), 1000),))
        self.nodes[made] = Node(made, 10, own, ((digest(f"layer of {made}"), 1000),))
        record = digest(f"record of {version}")
        self.nodes[record] = Node(record, 5, subject=made)
        self.referrers[made] = (*self.referrers.get(made, ()), record)
        self.tags |= {version: made, f"{version}.release": record}
        self.write(Event("release", stamp(self.now), "ada", version=version, digest=made))
        return made

    def promote(self, version: str, stage: str = "production", outcome: Any = "moved", **more: Any) -> None:
        had, made = self.tags.get(stage), self.tags[version]
        kind: Any = more.pop("kind", "promote")
        event = Event(
            kind,
            stamp(self.now),
            "ada",
            stage=stage,
            version=version,
            digest=made,
            previous=had,
            notes=more,
        )
        action = self.write(event)
        if outcome is None:
            return
        if outcome != "abandoned":
            self.tags[stage] = made
        self.write(Event(outcome, stamp(self.now), "ada", stage=stage, of=action))

    def decide(self) -> Decision:
        stages = frozenset(stages_of(self.journal))
        facts = Facts(self.journal, self.tags, self.nodes, self.referrers, stages, self.policy, self.now)
        return decide(facts)

    def going(self) -> list[str]:
        return [version for drop in self.decide().drops for version in drop.versions]

    def why(self, version: str) -> tuple[str, ...]:
        return next(one.reasons for one in self.decide().verdicts if one.kind == "release" and one.name == version)


@pytest.fixture
def model() -> Model:
    """Six old releases."""
    made = Model()
    for number in range(6):
        made.release(f"1.{number}")
    made.now += 100 * DAY
    return made


def test_the_newest_stay(model: Model) -> None:
    assert model.going() == ["1.0", "1.1", "1.2", "1.3"]
    assert model.why("1.5") == ("one of the newest 2",)


def test_the_young_stay(model: Model) -> None:
    model.release("2.0")
    model.release("2.1")
    model.release("2.2")
    assert model.why("2.0") == ("released today: less than 10 days",)
    model.now += 10 * DAY
    assert model.going() == ["1.0", "1.1", "1.2", "1.3", "1.4", "1.5", "2.0"]


def test_what_a_stage_has_and_had_stays(model: Model) -> None:
    model.promote("1.0")
    model.promote("1.2")
    model.promote("1.3")
    model.now += 100 * DAY
    assert model.why("1.3")[0] == "production has it"
    assert "production can go back to it" in model.why("1.2")
    assert "production can go back to it" in model.why("1.0")
    assert model.going() == ["1.1"]


def test_the_way_back_goes_past_what_was_left(model: Model) -> None:
    """Rolled back from 1.3 to 1.2: the next rollback leads to 1.1, which is none of the last that were well."""
    for version in ("1.1", "1.2", "1.3"):
        model.promote(version)
    model.promote("1.2", kind="rollback")
    model.now += 100 * DAY
    assert model.why("1.1") == ("production can go back to it",)
    assert model.going() == ["1.0"]


def test_only_so_many_rollback_targets(model: Model) -> None:
    for version in ("1.0", "1.1", "1.2", "1.3"):
        model.promote(version)
    assert model.why("1.0") == ("production had it until today",)
    model.now += 20 * DAY
    assert model.going() == ["1.0"]


def test_what_is_under_way_stays(model: Model) -> None:
    model.promote("1.2")
    model.promote("1.0", outcome=None)
    assert any("under way" in reason for reason in model.why("1.0"))
    assert any("under way fails" in reason for reason in model.why("1.2"))


def test_what_was_approved_lately_stays(model: Model) -> None:
    approved = Event("approve", stamp(model.now), "grace", stage="production", version="1.0", digest=digest("1.0"))
    model.write(approved)
    assert model.why("1.0") == ("grace approved it for production today",)
    model.now += 10 * DAY
    assert "1.0" in model.going()


def test_where_it_would_go_back_to_by_itself_stays(model: Model) -> None:
    """A release that never was well, and that the stage had when another came."""
    model.promote("1.0", outcome="unhealthy", watched=True)
    model.promote("1.1", outcome="moved", watched=True)
    model.now += 20 * DAY
    assert "production had it just before" in model.why("1.0")


def test_a_digest_with_a_second_tag(model: Model) -> None:
    model.tags["blessed"] = digest("1.0")
    assert model.why("1.0") == ("the tag blessed names it",)
    assert "1.0" not in model.going()
    [tag] = [one for one in model.decide().verdicts if one.kind == "tag"]
    assert tag.name == "blessed" and "leaves it alone" in tag.reasons[0]


def test_two_versions_of_one_digest_go_together(model: Model) -> None:
    model.now -= 100 * DAY
    old = Model()
    old.release("0.1", "same")
    old.release("0.2", "same")
    for number in range(2):
        old.release(f"1.{number}")
    old.now += 100 * DAY
    [drop] = old.decide().drops
    assert drop.versions == ("0.1", "0.2")
    assert {"0.1", "0.2", "0.1.release", "0.2.release"} == set(drop.tags)
    old.promote("0.1")
    assert old.going() == [] and "production has it" in old.why("0.2")


def test_what_two_releases_share_stays_with_one_of_them() -> None:
    model = Model()
    model.release("1.0", children=("shared", "own"))
    model.release("1.1", children=("shared",))
    model.release("1.2")
    model.now += 100 * DAY
    [drop] = model.decide().drops
    assert drop.versions == ("1.0",)
    assert digest("shared") not in drop.manifests and digest("own") in drop.manifests
    assert drop.size == 5 + 10 + 1000 + 10 + 1000


def test_what_two_that_go_share_goes_with_the_last() -> None:
    model = Model()
    model.release("1.0", children=("shared",))
    model.release("1.1", children=("shared",))
    for number in range(2):
        model.release(f"2.{number}")
    model.now += 100 * DAY
    first, second = model.decide().drops
    assert digest("shared") not in first.manifests and digest("shared") in second.manifests


def test_the_order_is_referrers_index_children(model: Model) -> None:
    made = model.release("3.0", children=("child",))
    signature = digest("signature of the record")
    model.nodes[signature] = Node(signature, 3)
    model.tags[f"sha256-{digest('record of 3.0').hex}.sig"] = signature
    for number in range(2):
        model.release(f"4.{number}")
    model.now += 100 * DAY
    drop = next(one for one in model.decide().drops if one.digest == made)
    assert list(drop.manifests) == [signature, digest("record of 3.0"), made, digest("child")]


def test_signatures_stay_with_what_they_are_about(model: Model) -> None:
    for version in ("1.0", "1.5"):
        signature = digest(f"signature of {version}")
        model.nodes[signature] = Node(signature, 3)
        model.tags[f"sha256-{digest(version).hex}.sig"] = signature
    found = model.decide()
    assert digest("signature of 1.5") in found.keep
    assert digest("signature of 1.0") in found.drops[0].manifests


def test_a_signature_of_something_unknown_stays(model: Model) -> None:
    stranger = digest("stranger")
    model.nodes[stranger] = Node(stranger, 3)
    tag = f"sha256-{digest('elsewhere').hex}.sig"
    model.tags[tag] = stranger
    found = model.decide()
    assert stranger in found.keep and tag in [one.name for one in found.verdicts]


def test_a_record_without_a_journal_entry_keeps_its_image(model: Model) -> None:
    made = model.release("9.0")
    model.release("9.1")
    model.journal = Journal(tuple(one for one in model.journal.entries if one.event.version != "9.0"))
    found = model.decide()
    assert made in found.keep
    assert any("being made" in reason for one in found.verdicts for reason in one.reasons if one.name == "9.0.release")


def test_a_tag_that_somebody_moved_is_not_the_release(model: Model) -> None:
    other = digest("other")
    model.nodes[other] = Node(other, 3)
    model.tags["1.0"] = other
    found = model.decide()
    assert other in found.keep
    assert any("somebody moved it" in reason for one in found.verdicts if one.name == "1.0" for reason in one.reasons)
    drop = next(one for one in found.drops if one.versions == ("1.0",))
    assert "1.0" not in drop.tags and other not in drop.manifests


def test_an_image_that_somebody_else_deleted_keeps_its_record(model: Model) -> None:
    del model.nodes[digest("1.0")]
    assert model.why("1.0") == ("its image is gone, and no clean-up of lockship's took it",)
    assert digest("record of 1.0") in model.decide().keep


def test_what_a_clean_up_left_goes(model: Model) -> None:
    gone, left = digest("1.0"), digest("child of 1.0")
    model.write(Event("collect", stamp(model.now), "ada", notes=notes_of({gone: "1.0"}, [gone, left])))
    del model.nodes[gone]
    model.nodes[left] = Node(left, 7)
    assert gone in begun(model.journal) and left in leftovers(model.journal) and gone not in finished(model.journal)
    found = model.decide()
    assert [drop.manifests for drop in found.drops if drop.digest is None] == [(left,)]
    assert [drop.manifests for drop in found.drops if drop.digest == gone] == [(digest("record of 1.0"),)]
    entry = model.journal.entries[-1].digest
    model.write(Event("collect", stamp(model.now), "ada", of=entry))
    assert leftovers(model.journal) == () and gone in finished(model.journal)


def test_a_clock_that_goes_back_makes_nothing_older(model: Model) -> None:
    model.now -= 2000 * DAY
    model.release("5.0")  # on a machine that thinks it is years ago
    for number in range(2):
        model.release(f"6.{number}")
    model.now += 2000 * DAY
    assert model.journal.entries[-3].clock_went_back
    model.journal = replace(model.journal)
    at = datetime.fromisoformat(model.journal.entries[-3].time).timestamp()
    assert at >= START
    model.now = at + 9 * DAY
    assert "5.0" not in model.going()


@pytest.mark.parametrize(
    ("tag", "about"),
    [
        ("1.0.release", {"1.0"}),
        ("1.0.1.release", {"1.0.1"}),
        ("2.0.release", None),
        ("1.0.1.churn.onnx", {"1.0", "1.0.1"}),
        ("1.0.churn.onnx", {"1.0"}),
        ("latest", None),
        (f"sha256-{'a' * 64}.sig", "sha256:" + "a" * 64),
        (f"sha256-{'a' * 64}.att", "sha256:" + "a" * 64),
        (f"sha256-{'a' * 63}.sig", None),
    ],
)
def test_what_a_tag_belongs_to(tag: str, about: object) -> None:
    assert tied_to(tag, {"1.0", "1.0.1"}) == about


STAGES = ("staging", "production")


class Histories(RuleBasedStateMachine):
    """A real layout with small images: whatever is done to it, what a stage needs is whole afterwards."""

    @initialize(keep=st.integers(1, 3), days=st.sampled_from([0, 1, 30]))
    def begin(self, keep: int, days: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="lockship-histories-")
        self.yard: Yard = layout_yard(Path(self._folder.name))
        self.policy = Policy(keep, days)
        self.count = 0
        self.alive: set[str] = set()

    def teardown(self) -> None:
        if hasattr(self, "_folder"):
            self._folder.cleanup()

    @rule()
    def release(self) -> None:
        self.count += 1
        self.yard.release(f"1.{self.count}")
        self.alive.add(f"1.{self.count}")

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), stage=st.sampled_from(STAGES))
    def promote(self, data: st.DataObject, stage: str) -> None:
        self.yard.promote(data.draw(st.sampled_from(sorted(self.alive))), stage)

    @rule(stage=st.sampled_from(STAGES))
    def rollback(self, stage: str) -> None:
        had = stages_of(self.yard.journal()).get(stage)
        candidates = rollback_candidates(settled(had, self.yard.has(stage)), self.yard.has(stage)) if had else ()
        if not candidates:
            with pytest.raises(RefusedError, match="nothing to roll back to"):
                self.yard.rollback(stage)
        elif candidates[0].version in self.alive:
            assert self.yard.rollback(stage).proposal.record.version == candidates[0].version
        else:  # only what lies behind the policy's horizon may be gone
            known = [move.version for move in candidates]
            assert not set(known[: self.policy.keep]) - self.alive, known

    @rule(seconds=st.sampled_from([-400 * DAY, -DAY, DAY, 40 * DAY, 400 * DAY]))
    def jump(self, seconds: int) -> None:
        self.yard.clock.now += seconds

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def point_a_tag_at_it(self, data: st.DataObject) -> None:
        version = data.draw(st.sampled_from(sorted(self.alive)))
        found = self.yard.store.manifest(version)
        assert found is not None
        self.yard.store.put_manifest(found.descriptor, found.data, tag="blessed", move=True)

    @rule()
    def gc(self) -> None:
        yard = self.yard
        needed = dict(self._needed())
        blessed = yard.store.resolve("blessed")
        plan = plan_collection(yard.target, self.policy, yard.clock, grace=-5)
        done = collect(yard.target, yard.context, plan, yard.machine(), grace=-5)
        assert not set(done.versions) & needed.keys()
        self.alive -= set(done.versions)
        assert len(self.alive) >= min(self.count, self.policy.keep)
        if blessed is not None:
            require_whole(yard.store, blessed, "blessed")
        again = plan_collection(yard.target, self.policy, yard.clock, grace=-5)
        assert not again.later.blobs or again.decision.drops  # nothing without an owner is left

    def _needed(self) -> Iterator[tuple[str, Digest]]:
        """Versions that must not go: what stages have, and the first that they can go back to."""
        for name, stage in stages_of(self.yard.journal()).items():
            tag = self.yard.has(name)
            sure = settled(stage, tag)
            for move in [one for one in sure.moves if one.happened and one.digest == tag]:
                yield move.version, move.digest
            for move in rollback_candidates(sure, tag)[: self.policy.keep]:
                if move.version in self.alive:
                    yield move.version, move.digest

    @invariant()
    def all_that_is_needed_is_whole(self) -> None:
        if not hasattr(self, "yard"):
            return
        for version, wanted in self._needed():
            assert self.yard.store.resolve(version) == wanted
            require_whole(self.yard.store, wanted, version)
        for version in self.alive:
            read = read_record(self.yard.store, version)
            assert read is not None
            require_whole(self.yard.store, read[0].digest, version)
        assert self.yard.journal().problems == ()
        assert isinstance(self.yard.store, Layout)


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=12, stateful_step_count=18, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip


class Thoughts(RuleBasedStateMachine):
    """The same in thought alone: many more histories, with outcomes of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model(Policy(2, 5))
        self.count = 0

    @rule(shared=st.booleans())
    def release(self, shared: bool) -> None:
        self.count += 1
        image = f"image {(self.count + 1) // 2}" if shared else None
        self.model.release(f"1.{self.count}", image, ("child", f"child {self.count % 3}"))

    @precondition(lambda self: self._there())
    @rule(
        data=st.data(),
        stage=st.sampled_from(STAGES),
        outcome=st.sampled_from(["moved", "healthy", "unhealthy", "abandoned", None]),
        kind=st.sampled_from(["promote", "rollback", "return"]),
        watched=st.booleans(),
    )
    def move(self, data: st.DataObject, stage: str, outcome: str | None, kind: str, watched: bool) -> None:
        version = data.draw(st.sampled_from(self._there()))
        self.model.promote(version, stage, outcome, kind=kind, watched=watched)

    @rule(days=st.integers(-50, 50))
    def jump(self, days: int) -> None:
        self.model.now += days * DAY

    @rule()
    def gc(self) -> None:
        model = self.model
        found = model.decide()
        for drop in found.drops:
            assert drop.digest is not None
            for name, stage in stages_of(model.journal).items():
                tag = model.tags.get(name)
                assert drop.digest != tag
                sure = settled(stage, tag)
                assert drop.digest not in [one.digest for one in rollback_candidates(sure, tag)[: model.policy.keep]]
                assert drop.digest not in [one.digest for one in stage.pending]
            for manifest in drop.manifests:
                model.nodes.pop(manifest, None)
                model.tags = {tag: named for tag, named in model.tags.items() if named != manifest}
        gone = {drop.digest: "x" for drop in found.drops if drop.digest}
        if gone:
            manifests = [one for drop in found.drops for one in drop.manifests]
            entry = model.write(Event("collect", stamp(model.now), "ada", notes=notes_of(gone, manifests)))
            model.write(Event("collect", stamp(model.now), "ada", of=entry))
        for name in stages_of(model.journal):
            if (named := model.tags.get(name)) is not None:
                self._whole(named)

    def _there(self) -> list[str]:
        return sorted(tag for tag in self.model.tags if tag.startswith("1.") and not tag.endswith(".release"))

    def _whole(self, made: Digest) -> None:
        for child in self.model.nodes[made].children:
            assert child in self.model.nodes

    @invariant()
    def what_is_tagged_is_whole(self) -> None:
        for version in self._there():
            made = self.model.tags[version]
            assert made is not None and made in self.model.nodes
            self._whole(made)


TestThoughts = Thoughts.TestCase
TestThoughts.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
