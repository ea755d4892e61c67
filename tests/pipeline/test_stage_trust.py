"""Who may let a release into a stage: keys, records and approvals that are wrong, forged or about something else."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builder.content import Digest
from builder.errors import LockshipError, RefusedError, UsageError, VerificationError
from builder.pipeline.approving import approve
from builder.pipeline.auditing import audit_journal
from builder.pipeline.identity import Actor
from builder.pipeline.preflight import Trust
from builder.registry.artifact import File, artifact, store_artifact
from builder.registry.reference import parse_repository
from builder.releases.chronicle import append
from builder.releases.events import Event, unsigned
from builder.releases.journal import Entry, entry_artifact, entry_tag
from builder.releases.keys import PrivateKey, generate
from builder.releases.page import page
from builder.releases.record import Record, read_record, record_artifact, record_tag
from builder.releases.signing import sign
from tests.support.releases import Yard, layout_yard, stamp

KEY, OTHER, ADA, GRACE = generate(), generate(), generate(), generate()
SIGNED = {"production": {"signed": True}, "staging": {}}
APPROVED = {
    "production": {"approvers": {"ada": "keys/ada.pub"}},
    "staging": {"approvers": {"grace": "keys/grace.pub"}},
    "open": {},
}
PEOPLE = {"ada": ADA.public.pem.decode(), "grace": GRACE.public.pem.decode()}


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return layout_yard(tmp_path)


def signed(yard: Yard, version: str, key: PrivateKey = KEY, **facts: Any) -> Record:
    """A release as `lockship release` leaves it: index and record are signed, and the journal names both."""
    signing = {"fingerprint": key.public.fingerprint, "key": key.public.pem.decode()}
    record = yard.release(version, signing=signing, **facts)
    for digest in (record.digest, recorded(yard, version)):
        sign(yard.store, digest, key, "demo")
    event = Event(
        "release", stamp(yard.clock), "ada", version=version, digest=record.digest,
        notes={"record": str(recorded(yard, version))},
    )  # fmt: skip
    append(yard.store, yard.journal(), event)
    return record


def recorded(yard: Yard, version: str) -> Digest:
    read = read_record(yard.store, version)
    assert read is not None
    return read[1].descriptor.digest


TRUST = Trust(KEY.public.pem, None, "cosign.pub")


def refused(yard: Yard, match: str, *, trust: Trust = TRUST, stage: str = "production", version: str = "1.0") -> None:
    """Neither the tag nor the journal changes, and what is wrong is named."""
    had, entries = yard.has(stage), len(yard.journal().entries)
    with pytest.raises(LockshipError, match=match) as caught:
        yard.promote(version, stage, trust=trust)
    assert caught.value.exit_code in (6, 7)
    assert (yard.has(stage), len(yard.journal().entries)) == (had, entries)


# keys


def test_the_right_key(yard: Yard) -> None:
    yard.stages = SIGNED
    signed(yard, "1.0")
    assert yard.promote("1.0", trust=TRUST).entry is not None


def test_the_wrong_key(yard: Yard) -> None:
    yard.stages = SIGNED
    signed(yard, "1.0", OTHER)
    refused(yard, "is signed, but not with " + KEY.public.fingerprint)


def test_no_signature_where_one_is_wanted(yard: Yard) -> None:
    yard.stages = SIGNED
    yard.release("1.0")
    refused(yard, r"not signed|is not signed, and the stage wants that")
    refused(yard, r"is not signed, and the stage wants that", trust=Trust())


def test_no_key_where_a_signature_is_wanted(yard: Yard) -> None:
    """The key that the release itself names is nobody's word but its own."""
    yard.stages = SIGNED
    signed(yard, "1.0")
    refused(yard, "no public key to check the signature with", trust=Trust())


def test_a_signature_that_was_put_under_another_release(yard: Yard) -> None:
    from builder.releases.signing import signature_tag

    yard.stages = SIGNED
    first, second = signed(yard, "1.0"), signed(yard, "1.1")
    found = yard.store.manifest(signature_tag(first.digest))
    assert found is not None
    yard.store.put_manifest(found.descriptor, found.data, tag=signature_tag(second.digest), move=True)
    refused(yard, "is about another manifest", version="1.1")


# records and tags


def again(yard: Yard, record: Record, **changes: Any) -> Record:
    """The record with other words in it, under its tag: whoever may push can do that."""
    other = record.model_copy(update=changes)
    store_artifact(yard.store, record_artifact(other, page(other)), tag=record_tag(record.version), move=True)
    return other


@pytest.mark.parametrize(
    "changes",
    [
        {"stages": {"production": {}, "staging": {}}},  # what it may enter
        {"approvers": {"mallory": OTHER.public.pem.decode()}},
        {"signing": None},
        {"by": "mallory"},
        {"signing": {"fingerprint": OTHER.public.fingerprint, "key": OTHER.public.pem.decode()}},
    ],
    ids=lambda one: next(iter(one)),
)
def test_a_record_with_other_words(yard: Yard, changes: dict[str, Any]) -> None:
    yard.stages = SIGNED
    again(yard, signed(yard, "1.0"), **changes)
    refused(yard, r"the journal says that 1\.0 is|is not signed")
    refused(yard, r"the journal says that 1\.0 is|is not signed", trust=Trust())


def test_the_record_of_another_version_under_the_tag(yard: Yard) -> None:
    yard.release("1.0")
    other = yard.release("1.1")
    store_artifact(yard.store, record_artifact(other, page(other)), tag=record_tag("1.0"), move=True)
    refused(yard, r"the record of 1\.0 is about 1\.1")


def test_a_record_about_another_image(yard: Yard) -> None:
    first, second = yard.release("1.0"), yard.release("1.1")
    again(yard, first, index=second.index, size=second.size)
    refused(yard, r"the tag 1\.0 names another image than the record")


def test_a_record_that_is_about_one_image_and_says_another(yard: Yard) -> None:
    first, second = yard.release("1.0"), yard.release("1.1")
    made = record_artifact(second.model_copy(update={"version": "1.0"}), "")
    forged = artifact(made.artifact_type, made.files, subject=first.subject)
    store_artifact(yard.store, forged, tag=record_tag("1.0"), move=True)
    refused(yard, "is about sha256:.*, not sha256:")


@pytest.mark.parametrize("text", [b"{}", b"[]", b"nonsense", b"\xff", b'{"schema": "dev.lockship.release/v9"}'])
def test_what_is_no_record(yard: Yard, text: bytes) -> None:
    record = yard.release("1.0")
    made = artifact(
        "application/vnd.lockship.release.v1", [File("release.json", "application/json", text)], subject=record.subject
    )
    store_artifact(yard.store, made, tag=record_tag("1.0"), move=True)
    refused(yard, "is not the record of a release|the record says")


def test_the_versions_tag_was_moved(yard: Yard) -> None:
    yard.release("1.0")
    other = yard.store.manifest(yard.release("1.1").digest)
    assert other is not None
    yard.store.put_manifest(other.descriptor, other.data, tag="1.0", move=True)
    refused(yard, r"the tag 1\.0 names another image than the record")


@pytest.mark.parametrize("stage", [{"unheard": "of"}, {"deploy": {"health": {"within": "long"}}}, [], "x"])
def test_a_stage_that_this_lockship_does_not_understand(yard: Yard, stage: Any) -> None:
    """A newer one wrote it, or somebody else: a sentence, and no crash."""
    record = yard.release("1.0")
    again(yard, record, stages={"production": stage})
    refused(yard, "what this lockship doesn't understand")


def test_a_stage_in_the_journal_that_this_lockship_does_not_understand(yard: Yard) -> None:
    for version in ("1.0", "1.1"):
        yard.release(version)
    record = read_record(yard.store, "1.0")
    assert record is not None
    event = Event(
        "promote", stamp(yard.clock), "ada", stage="production", version="1.0", digest=record[0].digest,
        notes={"stage": {"unheard": "of"}},
    )  # fmt: skip
    moved = append(yard.store, yard.journal(), event)
    append(yard.store, yard.journal(), Event("moved", stamp(yard.clock), "ada", stage="production", of=moved.digest))
    yard.promote("1.1")
    with pytest.raises(VerificationError, match=r"the journal .* doesn't understand") as caught:
        yard.rollback()
    assert "newest lockship" in str(caught.value.hint)


def test_a_release_that_was_deleted_and_made_again(yard: Yard) -> None:
    """What counts is what was written down last: the record says when it was made, and is another one."""
    yard.stages = SIGNED
    first = signed(yard, "1.0")
    made = again(yard, first, at="2026-02-02T00:00:00Z")
    sign(yard.store, recorded(yard, "1.0"), KEY, "demo")
    refused(yard, r"the journal says that 1\.0 is")
    notes = {"digests": {first.index: "1.0"}, "manifests": []}
    begun = append(yard.store, yard.journal(), Event("collect", stamp(yard.clock), "ada", notes=notes))
    append(yard.store, yard.journal(), Event("collect", stamp(yard.clock), "ada", of=begun.digest))
    event = Event(
        "release", stamp(yard.clock), "ada", version="1.0", digest=made.digest,
        notes={"record": str(recorded(yard, "1.0"))},
    )  # fmt: skip
    append(yard.store, yard.journal(), event)
    assert yard.promote("1.0", trust=TRUST).entry is not None


# approvals


def approvable(yard: Yard) -> None:
    yard.stages = APPROVED
    for version in ("1.0", "1.1"):
        yard.release(version, approvers=PEOPLE)


def say(yard: Yard, key: PrivateKey, version: str = "1.0", stage: str = "production", by: str = "ada") -> Entry:
    return approve(yard.target, version, stage, Actor(by, "", "here", 1), yard.clock, key.sign)


def test_an_approval(yard: Yard) -> None:
    approvable(yard)
    refused(yard, r"nobody approved 1\.0 for production: ada may, with `lockship approve`", trust=Trust())
    say(yard, ADA)
    found = yard.propose("promote", "production", "1.0").checks.findings
    assert "approved by ada" in [one.text for one in found]
    yard.promote("1.0")


def copied(yard: Yard, entry: Entry, change: Callable[[Event], Event], signature: str | None) -> None:
    """Somebody writes what an approval said, with a word changed."""
    made = entry_artifact(change(entry.event), yard.journal().heads, signature)
    store_artifact(yard.store, made, tag=entry_tag(entry.event, made.descriptor.digest))


def test_an_approval_by_another_key(yard: Yard) -> None:
    approvable(yard)
    say(yard, OTHER)
    refused(yard, "nobody approved", trust=Trust())


def test_an_approver_of_another_stage(yard: Yard) -> None:
    """Grace may say so for staging; that her key is known makes nothing of her word about production."""
    approvable(yard)
    say(yard, GRACE, by="grace")
    refused(yard, "nobody approved", trust=Trust())
    refused(yard, "nobody approved", trust=Trust(None, {name: pem.encode() for name, pem in PEOPLE.items()}))


def test_an_approval_of_another_release_or_for_another_stage(yard: Yard) -> None:
    approvable(yard)
    say(yard, ADA, "1.1")
    say(yard, ADA, "1.0", "staging")
    refused(yard, "nobody approved", trust=Trust())


def test_an_approval_with_a_word_changed(yard: Yard) -> None:
    approvable(yard)
    digest = yard.store.resolve("1.0")
    for entry, change in (
        (say(yard, ADA, "1.1"), lambda event: replace(event, digest=digest, version="1.0")),
        (say(yard, ADA, "1.0", "staging"), lambda event: replace(event, stage="production")),
    ):
        for signature in (entry.signature, None, "", "no base64", base64.b64encode(b"x").decode()):
            copied(yard, entry, change, signature)
            refused(yard, "nobody approved", trust=Trust())


def test_an_approval_of_another_kind_of_event(yard: Yard) -> None:
    approvable(yard)
    event = Event(
        "release", stamp(yard.clock), "ada", stage="production", version="1.0", digest=yard.store.resolve("1.0")
    )
    append(yard.store, yard.journal(), event, lambda data: base64.b64encode(ADA.sign(data)).decode())
    refused(yard, "nobody approved", trust=Trust())


def test_an_approval_from_another_repository(yard: Yard, tmp_path: Path) -> None:
    """The same release may be in a repository where nobody minds what is approved."""
    sandbox = layout_yard(tmp_path / "sandbox")
    for one in (yard, sandbox):
        approvable(one)
    sandbox.target = replace(sandbox.target, repository=parse_repository("registry.example.com/sandbox/demo"))
    entry = say(sandbox, ADA)
    copied(yard, entry, lambda event: event, entry.signature)
    refused(yard, "nobody approved", trust=Trust())
    # the same repository by another name of its host is the same
    yard.target = replace(yard.target, repository=parse_repository("mirror.example.com:5000/sandbox/demo"))
    yard.promote("1.0")


def test_an_approval_is_signed_over_what_it_says(yard: Yard) -> None:
    approvable(yard)
    entry = say(yard, ADA)
    assert entry.signature is not None
    assert ADA.public.accepts(base64.b64decode(entry.signature), unsigned(entry.event))
    assert json.loads(unsigned(entry.event))["notes"] == {"repository": "demo"}


def test_an_approval_for_a_stage_that_nobody_declared(yard: Yard) -> None:
    approvable(yard)
    with pytest.raises(UsageError, match="no stage 'prodution'") as caught:
        say(yard, ADA, stage="prodution")
    assert "open, production, staging" in str(caught.value.hint)


# journals that are not whole


def test_a_rollback_asks_a_journal_that_is_whole_or_a_person(yard: Yard) -> None:
    for version in ("1.0", "1.1"):
        yard.release(version)
        yard.promote(version)
    yard.store.delete(yard.journal().entries[1].digest)
    yard.target = replace(yard.target, memory=type(yard.target.memory)())
    with pytest.raises(VerificationError, match="the journal is not whole") as caught:
        yard.rollback()
    assert "--to" in str(caught.value.hint)
    moved = yard.rollback(version="1.0")
    assert yard.has() == yard.store.resolve("1.0")
    (warning,) = [one for one in moved.proposal.checks.findings if one.about == "journal"]
    assert warning.level == "warn" and "is gone" in warning.text


def test_what_a_machine_remembers_proves_nothing(yard: Yard, tmp_path: Path) -> None:
    yard.release("1.0")
    yard.promote("1.0")
    (first, *_) = yard.journal().entries
    assert audit_journal(yard.target) == (3, ())
    (tmp_path / "store/blobs/sha256" / first.digest.hex).unlink()
    assert not yard.journal().problems, "it was read before"
    (problem, *_) = audit_journal(yard.target)[1]
    assert f"the entry {first.digest} is gone" in problem


def test_refusals_are_refusals(yard: Yard) -> None:
    approvable(yard)
    with pytest.raises(RefusedError) as caught:
        yard.promote("1.0")
    assert caught.value.exit_code == 7
