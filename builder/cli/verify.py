"""`lockship verify`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from builder.cli.setup import context, open_project, optional_project, platforms
from builder.cli.terminal import Terminal
from builder.errors import UsageError, VerificationError
from builder.pipeline.auditing import audit_journal, audit_release, require_same_sources
from builder.pipeline.targets import opened_target
from builder.pipeline.trusting import trust_of
from builder.pipeline.verifying import verify
from builder.releases.record import read_record
from builder.words import human_size, plural

__all__ = ["journal", "package", "release", "run"]


def run(terminal: Terminal, path: Path, names: Sequence[str], *, offline: bool = False) -> None:
    """Build again and compare."""
    found = verify(open_project(path), context(terminal), platforms(names), offline=offline)
    document = {
        "digest": found.plan.descriptor.digest,
        "blobs": found.blobs,
        "size": found.size,
        "compared_with_store": found.stored,
    }
    where = "the lock and the store" if found.stored else "the lock (the store has no such version)"
    text = f"{found.plan.descriptor.digest}\nbuilt again: {found.blobs} blobs, {human_size(found.size)}, as in {where}"
    terminal.result("verify", document, text)


def release(
    terminal: Terminal,
    path: Path,
    repository: str | None,
    version: str,
    key: Path | None,
    *,
    rebuild: bool,
    offline: bool,
) -> None:
    """Check a release; its digest on stdout."""
    machine = context(terminal)
    project = None if repository is not None and path == Path() else optional_project(path)
    with opened_target(repository, project, machine) as target:
        found = audit_release(target, version, trust_of(project, machine, key), machine)
        for one in found.findings:
            terminal.note(f"{'ok ' if one.ok else 'BAD'} {one.what}: {one.detail}")
        found.require()
        read = read_record(target.store, version)
    if rebuild:
        if project is None or read is None:
            raise UsageError("--rebuild needs the project's sources", hint="check its commit out, and run this there")
        require_same_sources(project, machine, read[0])
        again = verify(project, machine, offline=offline)
        terminal.note(f"ok  sources: built again, {again.blobs} blobs, {human_size(again.size)}: the same digest")
    document = {**found.to_json(), "rebuilt": rebuild}
    terminal.result("verify-release", document, found.digest)


def journal(terminal: Terminal, path: Path, repository: str | None) -> None:
    """Check the journal; how many entries it has on stdout."""
    machine = context(terminal)
    project = None if repository is not None and path == Path() else optional_project(path)
    with opened_target(repository, project, machine) as target:
        count, problems = audit_journal(target)
    if problems:
        lines = "".join(f"\n  {one}" for one in problems)
        raise VerificationError(f"the journal of {target.name} does not hold:{lines}")
    document = {"store": target.name, "entries": count}
    terminal.result("verify-journal", document, f"{plural(count, 'entry', 'entries')}, none missing, none changed")


def package(terminal: Terminal, file: Path | None) -> None:
    """Check a package; how many files it has on stdout."""
    from builder.pipeline.releasepack import verify_package

    if file is None:
        raise UsageError("name the package", hint="lockship verify package churn-1.4.0.zip")
    found = verify_package(file)
    text = f"{found.name} {found.version}: {plural(len(found.files), 'file')}, each as its checksum says"
    terminal.result("verify-package", found.to_json(), text)
