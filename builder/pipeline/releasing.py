"""One command for CI: check, convert, build, verify, attest, record. Run again, it goes on where it stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack

from builder.content import Digest
from builder.errors import ProjectError, RefusedError, UsageError, VerificationError
from builder.models.sources import converted_models
from builder.parallel import Stop
from builder.pipeline.building import build_prepared
from builder.pipeline.checking import check
from builder.pipeline.context import Context
from builder.pipeline.evidence import Circumstances, attach, evidence_of
from builder.pipeline.identity import Actor, Clock, actor, now, wall_clock
from builder.pipeline.makers import LOCAL, Makers
from builder.pipeline.models import artifacts, tag_models
from builder.pipeline.planning import Prepared, prepare, resolve_version
from builder.pipeline.recording import code_of, lock_files, record_for
from builder.pipeline.stores import open_store, shared_repositories
from builder.pipeline.targets import LAYOUT, Target, opened_target
from builder.pipeline.wholeness import require_whole
from builder.project import Project
from builder.registry.artifact import Stored, store_artifact
from builder.registry.layout import Layout
from builder.registry.reference import Repository
from builder.releases.chronicle import append, pack, read_journal
from builder.releases.collected import begun
from builder.releases.events import Event
from builder.releases.page import page
from builder.releases.provenance import Resource
from builder.releases.record import Git, Record, read_record, record_artifact, record_tag
from builder.releases.tags import is_version
from builder.words import listed

if TYPE_CHECKING:
    from builder.releases.keys import PrivateKey

__all__ = ["ALLOWED", "Checked", "Released", "checked", "finish", "release", "require_registry"]

ALLOWED: Final = {
    "dirty": "files that differ from the commit",
    "unpushed": "a commit that no remote has",
    "no-git": "code that is in no git repository",
    "unsigned": "no signature, where [signing] names a key",
}
"""What `release` refuses unless it is allowed by name."""


@dataclass(frozen=True, slots=True)
class Released:
    """A release: its record, the store's name, bytes that were sent, and whether all of it was there before."""

    record: Record
    store: str
    there: bool
    sent: int = 0
    warnings: tuple[str, ...] = ()


@dataclass
class _Run:
    """One release on its way: where it goes, who does it, and how long each step took."""

    project: Project
    context: Context
    target: Target
    actor: Actor
    clock: Clock
    key: PrivateKey | None
    allow: frozenset[str]
    stop: Stop
    makers: Makers
    begun: str
    steps: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure a step."""
        begun = time.monotonic()
        self.context.progress.note(f"{name} …")
        yield
        self.steps[name] = round(time.monotonic() - begun, 3)


@dataclass(frozen=True, slots=True)
class Checked:
    """A release that passed every check, with its models converted and its image planned; nothing of it is stored."""

    run: _Run
    prepared: Prepared
    code: Git | None
    prior: tuple[Record, Stored] | None


class How(TypedDict, total=False):
    """What else may be said of a release: where it goes, what is allowed, who signs, and who makes layers."""

    repository: str | None
    allow: Sequence[str]
    key: PrivateKey | None
    clock: Clock
    makers: Makers


def release(project: Project, context: Context, **how: Unpack[How]) -> Released:
    """Make the project's version a release in its store; a no-op when it is one, with the same content.

    What an earlier run has done, cut off or not, stays as it is. `makers` make the layers that nobody has. Raises
    RefusedError when the version is there with other content, or when the code could not be told again later and
    nobody allowed that; StaleLockError, ModelError, StoreError and VerificationError as the steps do.
    """
    with checked(project, context, **how) as one:
        return finish(one)


@contextmanager
def checked(
    project: Project,
    context: Context,
    *,
    repository: str | None = None,
    allow: Sequence[str] = (),
    key: PrivateKey | None = None,
    clock: Clock = wall_clock,
    makers: Makers = LOCAL,
    stop: Stop | None = None,
) -> Iterator[Checked]:
    """See `release`: its first half, which refuses. While the context lasts the store is open; it heeds `stop`."""
    if unknown := set(allow) - ALLOWED.keys():
        raise UsageError(f"nothing to allow: {', '.join(sorted(unknown))}", hint=f"there are: {', '.join(ALLOWED)}")
    if makers is not LOCAL:
        require_registry(project, repository)
    stop = stop or Stop()
    with opened_target(repository, project, context, push=True, stop=stop) as target:
        whoever = actor(context.environ, project.root)
        yield _check(_Run(project, context, target, whoever, clock, key, frozenset(allow), stop, makers, now(clock)))


def require_registry(project: Project, repository: str | None) -> None:
    """Raises UsageError unless releases go to a registry, which a cluster's workers can reach."""
    where = repository or project.store.repository
    if where is None or where.startswith(LAYOUT):
        raise UsageError(
            f"{where or project.name}: a cluster's workers can't write into a layout: it is a folder of this machine",
            hint="name a registry: repository under [store], or --repository; or release without --scheduler",
        )


def _check(run: _Run) -> Checked:
    project = run.project = resolve_version(run.project, run.context)
    version = str(project.version)
    _refuse_version(project, version)
    with run.step("check"):
        check(project)
        _refuse_unsigned(run)
        code = code_of(project, run.context, run.allow)
    if converted_models(project):
        with run.step("convert"):
            _convert(run)
            code = _code_after(run)
    with run.step("plan"):
        prepared = prepare(project, run.context)
        run.warnings += prepared.warnings
        prior = read_record(run.target.store, version)
        _refuse_other(run, prepared, prior[0] if prior else None)
    return Checked(run, prepared, code, prior)


def finish(it: Checked) -> Released:
    """See `release`: its second half, which builds, verifies, attests and records."""
    run, prepared, prior = it.run, it.prepared, it.prior
    with run.step("build"):
        sent = _build(run, prepared)
    with run.step("verify"):
        require_whole(run.target.store, prepared.plan.descriptor.digest, run.target.name)
    if prior is None:
        record = _record(run, prepared, it.code)
        subject = record_artifact(record, page(record))
        _attest(run, prepared, record)
        store_artifact(run.target.store, subject, tag=record_tag(record.version))
        recorded = subject.descriptor
    else:
        record, recorded = prior[0], prior[1].descriptor
        _attest(run, prepared, record)
    _sign_record(run, recorded.digest)
    written = _journal(run, record, recorded.digest)
    return Released(record, run.target.name, prior is not None and not written, sent, tuple(run.warnings))


def _refuse_version(project: Project, version: str) -> None:
    record_tag(version)
    if not is_version(version):
        raise ProjectError(f"no release may be called {version!r}: tags like that have a meaning", file=project.file)
    if version in project.stages:
        raise ProjectError(
            f"{version!r} is a stage, and the tag of a stage moves", hint="rename one of the two", file=project.file
        )


def _refuse_unsigned(run: _Run) -> None:
    if run.project.signing is not None and run.key is None and "unsigned" not in run.allow:
        raise RefusedError(
            "the project's releases are signed, and there is no private key",
            hint="give --key FILE, or LOCKSHIP_SIGNING_KEY; or release anyway with --allow unsigned",
        )
    if run.project.signing is not None and run.key is not None:
        from builder.releases.keys import read_public

        wanted = read_public(run.project.path(run.project.signing.key))
        if wanted.fingerprint != run.key.public.fingerprint:
            raise RefusedError(
                f"the private key is {run.key.public.fingerprint}, not that of {run.project.signing.key}, which is "
                f"{wanted.fingerprint}",
                hint="give the key that belongs to it, or change [signing] key",
            )


def _refuse_other(run: _Run, prepared: Prepared, prior: Record | None) -> None:
    """A version is what it was the first time."""
    plan, target = prepared.plan, run.target
    version = plan.facts.version
    found = target.store.resolve(version)
    if found == plan.descriptor.digest:
        return
    if found is None and prior is None:
        journal = read_journal(target.store, target.memory, stop=run.stop)
        made = [
            one.event.digest for one in journal.entries if one.event.kind == "release" and one.event.version == version
        ]
        if not made or plan.descriptor.digest in made:
            return
        raise RefusedError(
            f"{target.name} had {version} before it was cleaned up: it was {made[-1]}, this would be "
            f"{plan.descriptor.digest}",
            hint="a release never changes, not even one that is gone: give this one a version of its own",
        )
    if found is not None and prior is None and isinstance(target.store, Layout):
        return  # somebody's `lockship build`, which was no release
    raise RefusedError(
        f"{target.name} has {version} already: it is {prior.index if prior else found}, "
        f"this would be {plan.descriptor.digest}",
        hint=f"a release never changes: give this one a version of its own; `lockship why {version}` says what differs",
    )


def _code_after(run: _Run) -> Git | None:
    """The commit once more: what a conversion wrote may not be what was committed."""
    try:
        return code_of(run.project, run.context, run.allow)
    except RefusedError as error:
        files = [model.files(name).onnx for name, model in converted_models(run.project)]
        raise RefusedError(
            f"converting wrote {listed(files)} and what belongs to it, and git has other files there",
            hint="commit them, or leave them to .gitignore: a release makes them again, the same",
        ) from error


def _convert(run: _Run) -> None:
    from builder.pipeline.converting import convert

    for one in convert(run.project, run.context):
        run.warnings += [f"{one.name}: {notice}" for notice in one.notices]


def _build(run: _Run, prepared: Prepared) -> int:
    store, plan = run.target.store, prepared.plan
    if store.resolve(plan.facts.version) == plan.descriptor.digest:
        tag_models(artifacts(prepared), store)  # the run before may have been cut off there
        return 0
    near, shared = None, tuple[Repository, ...]()
    if run.target.repository is not None:
        shared = shared_repositories(run.project, run.target.repository)
        # from a cluster, bytes go to the registry straight from where they are made
        near = open_store(run.project) if run.makers is LOCAL else None
    built = build_prepared(
        prepared, run.context, store,
        move=run.target.repository is None, near=near, shared=shared, stop=run.stop, makers=run.makers,
    )  # fmt: skip
    return int(getattr(store, "sent", 0)) + built.sent_by_others


def _record(run: _Run, prepared: Prepared, code: Git | None) -> Record:
    data: Sequence[Mapping[str, Any]] = ()
    database: Mapping[str, Any] | None = None
    if run.project.data or run.project.database is not None:
        from builder.pipeline.stating import state_data, state_database

        with run.step("observe"):
            data = state_data(run.project, run.context)
            database = state_database(run.project, run.context)
    signing = None
    if run.key is not None:
        signing = {"fingerprint": run.key.public.fingerprint, "key": run.key.public.pem.decode()}
    return record_for(
        prepared,
        run.context,
        code=code,
        actor=run.actor,
        at=now(run.clock),
        steps=run.steps,
        allowed=sorted(run.allow),
        data=data,
        database=database,
        signing=signing,
        before=_before(run),
    )


def _before(run: _Run) -> Record | None:
    """The release that was made last, if its record can be read."""
    journal = read_journal(run.target.store, run.target.memory, stop=run.stop)
    made = [one.event.version for one in journal.entries if one.event.kind == "release"]
    try:
        read = read_record(run.target.store, made[-1]) if made and made[-1] else None
    except VerificationError:
        return None
    return read[0] if read is not None else None


def _attest(run: _Run, prepared: Prepared, record: Record) -> None:
    """Evidence beside the index, and signatures over both; what an earlier run left of it stays."""
    circumstances = Circumstances(run.actor.where, run.begun, now(run.clock))
    data = [
        Resource({"sha256": Digest(one["digest"]).hex}, str(one.get("name", "")))
        for one in record.data
        if isinstance(one.get("digest"), str)
    ]
    made = evidence_of(prepared, lock_files(run.project), circumstances, key=run.key, data=data)
    with run.step("attest"):
        attach(
            run.target.store, record.digest, made, reference=run.target.signed_as(run.project.name), key=run.key,
            stop=run.stop,
        )  # fmt: skip


def _sign_record(run: _Run, recorded: Digest) -> None:
    if run.key is not None:
        from builder.releases.signing import sign

        sign(run.target.store, recorded, run.key, run.target.signed_as(run.project.name))


def _journal(run: _Run, record: Record, recorded: Digest) -> bool:
    """Write it down, once; whether it had to be."""
    journal = read_journal(run.target.store, run.target.memory, stop=run.stop)
    for problem in journal.problems:
        run.context.progress.warn(f"the journal is not whole: {problem}")
    known = any(one.event.kind == "release" and one.event.digest == record.digest for one in journal.entries)
    if known and record.digest not in begun(journal):  # one that was deleted and made again counts from now
        return False
    event = Event(
        "release", now(run.clock), run.actor.by, run.actor.where, version=record.version, digest=record.digest,
        notes={"record": str(recorded), "steps": run.steps, "allowed": list(record.allowed)},
    )  # fmt: skip
    append(run.target.store, journal, event)
    pack(run.target.store, journal, run.target.memory)
    return True
